"""The master put together, over twins: burn-all, restarts in the middle, refusals, failed trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.link import messages as m
from firmware_mgr.master.documents import Admission
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.lifecycle import CardState, OperationState
from firmware_mgr.model.software import SoftwareSet
from tests.master.rack_twin import BOARD, IMAGE, NEW_IMAGE, PACKAGE, SET, Rack, TwinCard, burned


def kinds(messages: list[m.FromMaster]) -> list[str]:
    return [message.TYPE for message in messages]


async def serve(rack: Rack, *cards: TwinCard) -> None:
    """Take cards through a whole burn-all."""
    operation = await rack.master.burn_all(None, False)
    for card in cards:
        card.source = m.BootSource.NETBOOT
        await card.hello()
        await card.burn()
    await rack.settle()
    for card in cards:
        card.source = m.BootSource.A
        card.running = None
        assert "run" in kinds(await card.hello())
        await card.run()
    assert rack.master.desk.operations[operation.id].state is OperationState.DONE


async def test_burn_all_resets_nobody_before_all_have_stored(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        first, second = TwinCard(rack, 1), TwinCard(rack, 2)
        operation = await rack.master.burn_all(None, False)
        await rack.settle()
        assert rack.hands.cycles == [(1, True), (2, True)]
        assert kinds(await first.hello()) == ["welcome", "burn"]
        assert kinds(await first.burn()) == ["hold"]
        assert rack.hands.cycles == [(1, True), (2, True)]
        assert not rack.master.desk.operations[operation.id].ready_for_use
        await second.hello()
        await second.burn()
        await rack.settle()
        assert rack.hands.cycles[2:] == [(1, False), (2, False)]
        done = rack.master.desk.operations[operation.id]
        assert done.ready_for_use and done.state is OperationState.WARM_BOOTING


async def test_a_whole_burn_all_ends_with_every_card_in_service(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        await serve(rack, TwinCard(rack, 1), TwinCard(rack, 2))
        assert rack.state(1) == rack.state(2) == "in service"
        entries = await rack.master.burn_log.entries()
        assert [str(entry.burned.slot) for entry in entries] == ["1", "2"]


async def test_a_master_that_dies_at_each_step_goes_on_where_it_was(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        operation = await rack.master.burn_all(None, False)
        await rack.restart()
        assert kinds(await card.hello()) == ["welcome", "burn"]
        await rack.restart()
        assert kinds(await card.hello()) == ["welcome", "burn"]
        await card.burn()
        await rack.restart()
        assert rack.state(1) == "booting"
        card.source = m.BootSource.A
        assert kinds(await card.hello()) == ["welcome", "run"]
        await rack.restart()
        card.running = None
        assert kinds(await card.hello()) == ["welcome", "run"]
        await card.run()
        done = rack.master.desk.operations[operation.id]
        assert done.state is OperationState.DONE and done.masters == 5
        assert done.cards[SlotId(1)].boot_written == 10


async def test_what_is_not_there_is_said_before_anything_is_touched(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        rack.master.roster.images.clear()
        with pytest.raises(UsageError, match="no boot image for this board"):
            await rack.master.burn_all(None, False)
        with pytest.raises(UsageError, match="no such slot"):
            await rack.master.burn_all([SlotId(9)], False)
        assert rack.hands.cycles == [] and rack.master.desk.operations == {}


async def test_a_card_in_an_operation_is_not_taken_into_another(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.burn_all(None, False)
        with pytest.raises(UsageError, match="another operation"):
            await rack.master.burn_all(None, False)


async def test_another_key_in_a_pinned_slot_is_refused_with_both_sides_until_approved(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await serve(rack, card)
        await card.lose()
        stranger = TwinCard(rack, 1, "f" * 64)
        (refused,) = await stranger.hello()
        assert isinstance(refused, m.Refused)
        assert refused.error["where"] == "slot 1"
        assert refused.error["expected"].startswith("key 000") and refused.error["found"] == f"key {'f' * 16}"
        await rack.master.approve(SlotId(1))
        assert kinds(await stranger.hello()) == ["welcome", "burn"]


async def test_burn_all_renews_a_key_when_asked_and_says_so(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await serve(rack, TwinCard(rack, 1))
        operation = await rack.master.burn_all(None, True)
        stranger = TwinCard(rack, 1, "f" * 64)
        assert kinds(await stranger.hello()) == ["welcome", "burn"]
        assert rack.master.desk.operations[operation.id].cards[SlotId(1)].key == "renewed"


async def test_a_card_that_speaks_for_another_slot_is_refused(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        card = TwinCard(rack, 1)
        card.address = str(rack.settings.card_address(SlotId(2)))
        (refused,) = await card.hello()
        assert isinstance(refused, m.Refused) and refused.error["expected"] == "slot 1"


async def test_a_newer_protocol_is_refused_by_name(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await card.hello()
        assert card.link is not None and rack.master.roster.get(SlotId(1)).hello is not None
        hello = replace(rack.master.roster.get(SlotId(1)).hello, protocol=9)  # type: ignore[type-var]
        with pytest.raises(PeerError, match="another protocol"):
            rack.master.conversation._check_hello(card.link, hello)  # type: ignore[arg-type]


async def test_an_image_whose_trial_cuts_used_up_is_run_when_it_comes_up_at_last(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        card.flash, card.sets = burned(SET, "a", trial="a", tries_a=0, tries_b=0, why="netboot"), (SET,)
        await rack.master.want(SlotId(1), "1", None)
        assert kinds(await card.hello()) == ["welcome", "burn"]  # there is nothing else: once more
        assert rack.master.roster.get(SlotId(1)).record.rejected == (IMAGE.digest,)
        await card.burn()
        await rack.settle()
        card.source, card.running = m.BootSource.A, None
        card.flash = burned(SET, "a", trial="a", tries_a=1, tries_b=0, why="trial")
        assert (await card.hello())[-1] == m.Run(SET.digest)
        await card.run()
        assert rack.state(1) == "in service"
        assert rack.master.roster.get(SlotId(1)).record.rejected == ()


async def test_an_image_that_fails_its_second_trial_too_is_not_run(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        failed = burned(SET, "a", trial="a", tries_a=0, tries_b=0, why="netboot")
        card.flash, card.sets = failed, (SET,)
        await rack.master.want(SlotId(1), "1", None)
        assert kinds(await card.hello()) == ["welcome", "burn"]
        await card.burn()
        await rack.settle()
        card.flash, card.running = failed, None
        assert kinds(await card.hello()) == ["welcome", "hold"]


async def test_a_new_image_that_fails_its_trial_ends_on_the_old_one_and_is_not_tried_again(
    tmp_path: Path,
) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await serve(rack, card)
        await rack.add(NEW_IMAGE)
        await rack.master.want(SlotId(1), "2", None)
        new = SoftwareSet(NEW_IMAGE.ref, (PACKAGE.ref,))
        card.running = None
        assert kinds(await card.hello()) == ["welcome", "burn"]
        card.flash = both = replace(
            burned(SET, "a", trial="b", tries_a=2, tries_b=0, why="boot"), boot_b=burned(new, "b").boot_b
        )
        card.sets = (new, SET)
        told = await card.hello()
        assert told[-1] == m.Run(SET.digest)
        await card.run()
        assert rack.state(1) == "in service"
        record = rack.master.roster.get(SlotId(1)).record
        assert record.rejected == (NEW_IMAGE.digest,) and record.wanted == new
        # The next boot says nothing of a trial any more, and the image is still known to be bad here.
        card.flash = replace(both, control=m.ControlReport(m.AreaState.GOOD, m.AreaState.GOOD, "a"))
        card.running = None
        assert (await card.hello())[-1] == m.Run(SET.digest)
        assert rack.master.roster.netboot_image(rack.master.roster.get(SlotId(1))).version == "1"  # type: ignore[union-attr]


async def test_a_card_that_does_not_come_is_cycled_then_netbooted_then_given_up(tmp_path: Path) -> None:
    async with Rack(
        tmp_path, slots=1, tries_from_flash=1, tries=2, booting=10.0, reset=10.0, lost=10.0
    ) as rack:
        card = TwinCard(rack, 1)
        await serve(rack, card)
        before = len(rack.hands.cycles)
        await card.lose()
        for _ in range(4):
            rack.clock.now += 100.0
            await rack.master.engine.call(rack.master.engine._check_deadlines)
            await rack.settle()
        assert rack.hands.cycles[before:] == [(1, False), (1, True)]
        assert rack.state(1) == "failed" and "given up after 2 power cycles" in rack.reason(1)


async def test_a_card_of_a_slow_board_is_waited_for_as_long_as_its_board_file_says(tmp_path: Path) -> None:
    rack = Rack(tmp_path, slots=1, lost=10.0, booting=60.0)
    rack.boards[BOARD.name] = replace(BOARD, needs={CardState.BOOTING: 200.0})
    async with rack:
        card = TwinCard(rack, 1)
        await serve(rack, card)
        before = len(rack.hands.cycles)
        await card.lose()
        for seconds, cycles in ((20.0, 1), (190.0, 1), (20.0, 2)):
            rack.clock.now += seconds
            await rack.master.engine.call(rack.master.engine._check_deadlines)
            await rack.settle()
            assert len(rack.hands.cycles) - before == cycles


async def test_a_card_that_stays_silent_is_netbooted_with_what_last_worked(tmp_path: Path) -> None:
    """The wanted image may be what dies, and a card that dies as it is netbooted cannot say so."""
    async with Rack(tmp_path, slots=1, lost=10.0, booting=10.0) as rack:
        card = TwinCard(rack, 1)
        await serve(rack, card)
        await rack.add(NEW_IMAGE)
        await rack.master.want(SlotId(1), "2", None)
        await card.lose()
        served = []
        for _ in range(5):
            rack.clock.now += 100.0
            await rack.master.engine.call(rack.master.engine._check_deadlines)
            await rack.settle()
            image = rack.master.roster.netboot_image(rack.master.roster.get(SlotId(1)))
            served.append(None if image is None else image.version)
        assert served == ["2", "2", "2", "1", "1"]


async def test_a_card_that_refuses_an_order_fails_with_its_own_words(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        operation = await rack.master.burn_all(None, False)
        await card.hello()
        await card.report(
            m.Failed(
                "burn",
                {
                    "what": "signed by an unknown key",
                    "expected": "aa",
                    "found": "bb",
                    "where": "package web 1.0",
                },
            )
        )
        assert (
            rack.reason(1) == "burn failed: package web 1.0: signed by an unknown key: expected aa, found bb"
        )
        assert rack.master.desk.operations[operation.id].state is OperationState.FAILED


async def test_a_repeated_stored_report_is_harmless(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        card = TwinCard(rack, 1)
        await rack.master.burn_all(None, False)
        await card.hello()
        await card.burn()
        await card.burn()
        assert rack.state(1) == "stored" and rack.hands.cycles == [(1, True), (2, True)]


async def test_the_network_may_go_for_a_while_and_no_card_in_service_is_touched(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        first, second = TwinCard(rack, 1), TwinCard(rack, 2)
        await serve(rack, first, second)
        before = len(rack.hands.cycles)
        await first.lose()
        await second.lose()
        rack.clock.now += 120.0
        await rack.master.engine.call(rack.master.engine._check_deadlines)
        await rack.settle()
        assert len(rack.hands.cycles) == before and rack.state(1) == rack.state(2) == "lost"
        assert kinds(await first.hello())[-1] == "run"


async def test_a_wish_for_a_card_in_service_waits_for_its_next_boot(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await serve(rack, card)
        await rack.add(NEW_IMAGE)
        await rack.master.want(SlotId(1), "2", None)
        assert kinds(await card.hello()) == ["welcome"]
        assert rack.state(1) == "in service" and "next boot" in rack.reason(1)
        assert rack.master.roster.get(SlotId(1)).record.last_good == SET
        card.running = None
        assert kinds(await card.hello()) == ["welcome", "burn"]


async def test_a_burn_all_takes_what_was_added_since_the_last_one(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await serve(rack, TwinCard(rack, 1))
        await rack.add(NEW_IMAGE)
        await rack.master.burn_all(None, False)
        wanted = rack.master.roster.get(SlotId(1)).record.wanted
        assert wanted is not None and wanted.boot_image == NEW_IMAGE.ref


async def test_a_burn_all_keeps_to_what_the_user_wished(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.add(NEW_IMAGE)
        await rack.master.want(SlotId(1), "1", None)
        await rack.master.burn_all(None, False)
        wanted = rack.master.roster.get(SlotId(1)).record.wanted
        assert wanted is not None and wanted.boot_image.version == "1"


async def test_a_wish_in_the_middle_of_an_operation_is_refused(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.burn_all(None, False)
        with pytest.raises(UsageError, match="in an operation"):
            await rack.master.want(SlotId(1), "1", None)


async def test_the_boot_that_a_power_cycle_ends_does_not_count(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await serve(rack, card)
        await rack.master.burn_all(None, False)
        rack.hands.power_ons[1] -= 1  # the card says hello once more before its power is cut
        (refused,) = await card.hello()
        assert isinstance(refused, m.Refused) and refused.retry_seconds == 2.0
        rack.hands.power_ons[1] += 1
        card.source, card.running = m.BootSource.NETBOOT, None
        assert kinds(await card.hello()) == ["welcome", "burn"]


async def test_a_second_burn_all_tries_an_image_again_that_failed_before(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await rack.master.burn_all(None, False)
        card.flash = replace(burned(SET, "a", trial="a", tries_a=0), table=m.AreaState.GOOD)
        card.sets = (SET,)
        assert kinds(await card.hello()) == ["welcome", "burn"]


async def test_a_card_that_ends_on_another_set_than_asked_fails_its_operation(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await serve(rack, card)
        await rack.add(NEW_IMAGE)
        operation = await rack.master.burn_all(None, False)
        new = SoftwareSet(NEW_IMAGE.ref, (PACKAGE.ref,))
        card.source, card.running = m.BootSource.NETBOOT, None
        await card.hello()
        await card.burn(new, "b")
        await rack.settle()
        card.source = m.BootSource.A
        card.flash = replace(
            burned(SET, "a", trial="b", tries_a=2, tries_b=0), boot_b=burned(new, "b").boot_b
        )
        card.sets = (new, SET)
        assert (await card.hello())[-1] == m.Run(SET.digest)
        await card.run()
        assert rack.state(1) == "in service"
        assert rack.master.desk.operations[operation.id].state is OperationState.FAILED


async def test_cards_that_drop_out_do_not_hold_the_others(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        card = TwinCard(rack, 1)
        operation = await rack.master.burn_all(None, False)
        await card.hello()
        await card.burn()
        rack.hands.powered[2] = False
        await rack.wait(lambda: rack.state(2) == "absent")
        await rack.settle()
        state = rack.master.desk.operations[operation.id]
        assert state.state is OperationState.WARM_BOOTING and not state.ready_for_use
        assert "slot 2 has not stored" in state.events[-1]


async def test_a_cancelled_operation_starts_who_has_stored_and_closes_its_doors(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        card = TwinCard(rack, 1)
        operation = await rack.master.burn_all(None, True)
        await card.hello()
        await card.burn()
        await rack.master.cancel(operation.id)
        await rack.settle()
        assert rack.hands.cycles[-1] == (1, False) and rack.state(1) == "booting"
        assert not any(entry.record.renewable for entry in rack.master.roster)


async def test_a_new_key_comes_in_once_and_again_only_after_a_power_cycle(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.burn_all(None, False)
        # The power cycle of the burn-all itself has been seen, and is not taken for another.
        await rack.wait(lambda: rack.hands.power_ons[1] == rack.master.roster.get(SlotId(1)).power_ons == 1)
        assert kinds(await TwinCard(rack, 1, "a" * 64).hello()) == ["welcome", "burn"]
        assert kinds(await TwinCard(rack, 1, "b" * 64).hello()) == ["refused"]
        rack.hands.power_ons[1] += 1
        await rack.wait(lambda: rack.master.roster.get(SlotId(1)).record.renewable)
        assert kinds(await TwinCard(rack, 1, "c" * 64).hello()) == ["welcome", "burn"]


async def test_a_slot_approved_by_hand_takes_no_key_by_itself(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        entry = rack.master.roster.get(SlotId(1))
        await rack.master.roster.write(entry, 0.0, admission=Admission.APPROVED)
        await rack.master.burn_all(None, True)
        assert kinds(await TwinCard(rack, 1).hello()) == ["refused"]


async def test_a_master_that_finds_a_card_switched_off_leaves_it_off(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await serve(rack, TwinCard(rack, 1))
        before = len(rack.hands.cycles)
        rack.hands.powered[1] = False
        await rack.restart()
        await rack.wait(lambda: rack.state(1) == "absent")
        assert len(rack.hands.cycles) == before


async def test_a_held_card_is_judged_again_when_software_arrives(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        assert kinds(await card.hello()) == ["welcome", "hold"]
        await rack.master.want(SlotId(1), "1", None)
        assert rack.master.roster.get(SlotId(1)).link is None  # dropped: the card dials again
        assert kinds(await card.hello()) == ["welcome", "burn"]


async def test_a_card_that_runs_another_set_than_told_is_not_in_service(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await rack.master.burn_all(None, False)
        await card.hello()
        await card.burn()
        await rack.settle()
        card.source = m.BootSource.A
        await card.hello()
        await card.run(SoftwareSet(NEW_IMAGE.ref, ()))
        assert rack.state(1) == "failed" and "runs another set" in rack.reason(1)


async def test_an_ill_process_is_told_with_the_card_in_service(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await serve(rack, card)
        ill = m.ProcessReport("web", 0, "backing-off", "exit 1")
        await card.report(m.Running(SET.digest, (ill,), card.flash.control))
        assert rack.state(1) == "in service" and rack.reason(1) == "process web is backing-off: exit 1"


@pytest.mark.parametrize(
    "csr",
    ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "\ud800"],
)
async def test_nonsense_at_enrolment_is_refused_and_the_master_works_on(tmp_path: Path, csr: str) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        with pytest.raises(PeerError):
            await rack.master.enrol("10.77.0.11", {"slot": "1", "csr": csr})
        await rack.settle()


async def test_a_request_of_an_odd_curve_pins_nothing_and_the_master_works_on(tmp_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM).decode()
    async with Rack(tmp_path, slots=1) as rack:
        with pytest.raises(PeerError):
            await rack.master.enrol("10.77.0.11", {"slot": "1", "csr": pem})
        assert rack.master.roster.get(SlotId(1)).record.key_fingerprint is None


async def test_a_master_killed_while_it_begins_asks_the_rest_when_it_is_back(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=3) as rack:
        operation = await rack.master.burn_all(None, False)
        unasked = replace(operation.cards[SlotId(3)], history=())
        await rack.master.desk._keep(rack.master.desk.operations[operation.id].with_card(SlotId(3), unasked))
        entry = rack.master.roster.get(SlotId(3))
        entry.life = replace(entry.life, state=CardState.ABSENT)
        await rack.master.roster.write(entry, 0.0)
        before = len(rack.hands.cycles)
        await rack.restart()
        assert (3, True) in rack.hands.cycles[before:]
        assert rack.master.desk.operations[operation.id].cards[SlotId(3)].history


async def test_repeated_reports_do_not_grow_the_record(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        card = TwinCard(rack, 1)
        await rack.master.burn_all(None, False)
        await card.hello()
        for _ in range(5):
            await card.burn()
        assert len(await rack.master.burn_log.entries()) == 1
        (operation,) = rack.master.desk.operations.values()
        assert len(operation.cards[SlotId(1)].history) < 6


async def test_a_first_image_whose_trial_failed_is_tried_once_more_and_then_held(tmp_path: Path) -> None:
    """A power cut in the trial looks like a failed one, and a pristine card has nothing else to run."""
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        operation = await rack.master.burn_all(None, False)
        await card.hello()
        await card.burn()
        await rack.settle()
        card.flash = burned(SET, "a", trial="a", tries_a=0)
        assert kinds(await card.hello()) == ["welcome", "burn"]
        await card.burn()
        await rack.settle()
        card.flash = burned(SET, "a", trial="a", tries_a=0)
        assert kinds(await card.hello()) == ["welcome", "hold"]
        await rack.settle()
        assert rack.master.desk.operations[operation.id].state is OperationState.FAILED
