"""The master put together, over twins: burn-all, restarts in the middle, refusals, failed trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.link import messages as m
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.lifecycle import OperationState
from firmware_mgr.model.software import SoftwareSet
from tests.master.rack_twin import NEW_IMAGE, PACKAGE, SET, Rack, TwinCard, burned


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
        card.running = False
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
        card.running = False
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


async def test_a_new_image_that_fails_its_trial_ends_on_the_old_one_and_is_not_tried_again(
    tmp_path: Path,
) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await serve(rack, card)
        await rack.add(NEW_IMAGE)
        await rack.master.want(SlotId(1), "2", None)
        new = SoftwareSet(NEW_IMAGE.ref, (PACKAGE.ref,))
        card.running = False
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
        card.running = False
        assert (await card.hello())[-1] == m.Run(SET.digest)
        assert rack.master.roster.netboot_image(rack.master.roster.get(SlotId(1))).version == "1"  # type: ignore[union-attr]


async def test_a_card_that_does_not_come_is_cycled_then_netbooted_then_given_up(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1, tries_from_flash=1, tries=2, booting=10.0, reset=10.0) as rack:
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
