"""The three pristine orders of R-3.1 as the master decides them, in and outside a burn-all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.link import messages as m
from firmware_mgr.master.configuration import Configuration
from firmware_mgr.master.verdict import Ruling, judge
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.model.lifecycle import OperationState
from firmware_mgr.model.pristine import PristineOrder, Provisioning
from firmware_mgr.model.software import SoftwareSet
from tests.master.rack_twin import IMAGE, NEW_IMAGE, PACKAGE, SET, Rack, TwinCard, burned, pristine
from tests.master.test_service import kinds

IMAGE_ONLY = SoftwareSet(IMAGE.ref, ())
IMAGE_FIRST = Configuration(order=PristineOrder.IMAGE_FIRST)
FROM_RAM = Configuration(order=PristineOrder.FROM_RAM)
UNSAVED = Configuration(order=PristineOrder.FROM_RAM, save_image=False)


async def give_order(rack: Rack, own: Configuration, *slots: int) -> None:
    await rack.master.set_own([SlotId(number) for number in slots], lambda _own, _board: own)


async def image_then_packages(rack: Rack, card: TwinCard) -> None:
    """Take a card through the two stages of image-first, up to where it has stored."""
    told = await card.hello()
    assert isinstance(told[-1], m.Burn) and told[-1].wanted == IMAGE_ONLY
    await card.burn(IMAGE_ONLY)
    await rack.settle()
    assert rack.state(card.slot.number) == "booting"
    card.source = m.BootSource.A
    told = await card.hello()
    assert isinstance(told[-1], m.Burn) and told[-1].wanted == SET


async def test_image_first_starts_the_image_from_flash_and_asks_for_packages_then(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await give_order(rack, IMAGE_FIRST, 1)
        await image_then_packages(rack, card)
        before = len(rack.hands.cycles)
        assert (await card.burn())[-1] == m.Run(SET.digest)
        await card.run()
        assert rack.state(1) == "in service" and len(rack.hands.cycles) == before


async def test_in_a_burn_all_nobody_runs_before_all_have_stored_whatever_their_orders(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=4) as rack:
        first, second, ram, plain = (TwinCard(rack, number) for number in (1, 2, 3, 4))
        await give_order(rack, IMAGE_FIRST, 1, 2)
        await give_order(rack, UNSAVED, 3)
        operation = await rack.master.burn_all(None, False)
        await rack.settle()
        for card in (first, second):
            await image_then_packages(rack, card)
        for card in (ram, plain):
            assert kinds(await card.hello()) == ["welcome", "burn"]
        before = len(rack.hands.cycles)
        for card in (first, ram, plain):
            assert kinds(await card.burn()) == ["hold"]
        assert not rack.master.desk.operations[operation.id].ready_for_use
        await second.burn()
        await rack.settle()
        assert rack.master.desk.operations[operation.id].ready_for_use
        # Those that run what was stored go on as they are; the one of the usual order is reset.
        assert rack.hands.cycles[before:] == [(4, False)]
        assert kinds(first.told()) == kinds(ram.told()) == ["run"]
        plain.source = m.BootSource.A
        assert kinds(await plain.hello()) == ["welcome", "run"]
        for card in (first, second, ram, plain):
            await card.run()
        await rack.settle()
        assert rack.master.desk.operations[operation.id].state is OperationState.DONE


async def test_from_ram_runs_at_once_what_was_stored_and_saves_the_image_where_asked(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        await give_order(rack, FROM_RAM, 1)
        await give_order(rack, UNSAVED, 2)
        for number, saves in ((1, True), (2, False)):
            card = TwinCard(rack, number)
            told = await card.hello()
            assert isinstance(told[-1], m.Burn) and told[-1].save_image is saves
            card.sets, card.flash = (SET,), burned(SET, "a" if saves else "")
            stored = m.Stored(SET.digest, 10, 20, "a" if saves else "", saves, 1.0, card.flash)
            assert (await card.report(stored))[-1] == m.Run(SET.digest)
            await card.run()
            assert rack.state(number) == "in service"
            # After a restart: packages are validated and run, nothing is burned again.
            card.running = None
            assert (await card.hello())[-1] == m.Run(SET.digest)


async def test_a_card_that_says_stored_and_is_not_does_not_run(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        await give_order(rack, FROM_RAM, 1)
        await rack.master.want(SlotId(2), None, ["web=1.0"])
        card, other = TwinCard(rack, 1), TwinCard(rack, 2)
        await card.hello()
        assert "run" not in kinds(await card.report(m.Stored(SET.digest, 1, 1, "a", True, 1.0, pristine())))
        assert rack.state(1) == "failed" and "does not hold image 1" in rack.reason(1)
        await other.hello()
        ill = burned(SET, "a")
        ill = replace(ill, packages=(replace(ill.packages[0], bad_modules=1),))
        await other.report(m.Stored(SET.digest, 1, 1, "a", True, 1.0, ill))
        assert rack.state(2) == "failed" and "1 modules are bad" in rack.reason(2)


async def test_an_agent_of_version_1_is_provisioned_store_first_whatever_is_configured(
    tmp_path: Path,
) -> None:
    async with Rack(tmp_path) as rack:
        await give_order(rack, IMAGE_FIRST, 1)
        await give_order(rack, UNSAVED, 2)
        for number in (1, 2):
            card = TwinCard(rack, number)
            card.protocol = 1
            told = await card.hello()
            assert isinstance(told[-1], m.Burn) and told[-1].wanted == SET and told[-1].save_image
            await card.burn()
            assert rack.state(number) == "booting"


async def test_a_card_that_runs_another_image_and_saves_none_is_netbooted_and_given_up_in_the_end(
    tmp_path: Path,
) -> None:
    async with Rack(tmp_path, slots=1, tries=2) as rack:
        await give_order(rack, UNSAVED, 1)
        card = TwinCard(rack, 1)
        other = replace(IMAGE.ref, version="0", digest=SET.digest)
        card.source, card.flash = m.BootSource.B, burned(SoftwareSet(other, ()), "b")
        for cycles in (1, 2):
            assert kinds(await card.hello()) == ["welcome"]
            assert rack.state(1) == "reset" and rack.hands.cycles == [(1, True)] * cycles
            await rack.settle()
            await rack.wait(lambda: not rack.master.roster.get(SlotId(1)).cycling)
        await card.hello()
        assert rack.state(1) == "failed" and "given up after 2 power cycles" in rack.reason(1)


async def test_an_agent_that_cannot_read_a_package_is_replaced_over_the_network_first(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        newer = replace(PACKAGE, version="2.0", digest=Digest.of(b"web 2"), format=2)
        await rack.add(NEW_IMAGE)
        await rack.add(newer)
        await rack.master.want(SlotId(1), "2", ["web=2.0"])
        card = TwinCard(rack, 1)
        card.package_format, card.source, card.flash = 1, m.BootSource.A, burned(SET, "a")
        assert kinds(await card.hello()) == ["welcome"]
        assert rack.state(1) == "reset" and rack.hands.cycles == [(1, True)]
        assert (
            "package web 2.0 is of format 2, and the agent in image 1 reads formats up to 1" in rack.reason(1)
        )
        await rack.wait(lambda: not rack.master.roster.get(SlotId(1)).cycling)
        # It comes up with the wanted image, whose agent reads it.
        card.package_format, card.source, card.version = 2, m.BootSource.NETBOOT, "2"
        assert kinds(await card.hello()) == ["welcome", "burn"]


async def test_a_wanted_image_whose_agent_cannot_read_a_wanted_package_is_held_and_not_cycled(
    tmp_path: Path,
) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        newer = replace(PACKAGE, version="2.0", digest=Digest.of(b"web 2"), format=2)
        await rack.add(newer)
        await rack.master.want(SlotId(1), "1", ["web=2.0"])
        card = TwinCard(rack, 1)
        card.package_format = 1
        assert kinds(await card.hello()) == ["welcome", "hold"]
        assert rack.hands.cycles == [] and "want an image built by this version" in rack.reason(1)


async def test_an_agent_that_reads_format_1_only_is_burned_with_packages_of_format_1(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.burn_all(None, False)
        card = TwinCard(rack, 1)
        card.package_format = 1
        assert kinds(await card.hello()) == ["welcome", "burn"]


@pytest.mark.parametrize("source", list(m.BootSource))
@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("order", list(PristineOrder))
@pytest.mark.parametrize("save", [True, False])
def test_every_order_ends_in_run_when_its_burns_are_done(
    source: m.BootSource, saved: bool, stored: bool, order: PristineOrder, save: bool
) -> None:
    """Follow the verdicts as a card would: from any flash and any boot, it runs after at most three steps."""
    how = Provisioning(order, save)
    letter = source.value if source is not m.BootSource.NETBOOT else "a"
    for _ in range(5):
        flash = burned(SET if stored else IMAGE_ONLY, letter if saved else "")
        sets = (SET,) if stored else ()
        hello = m.Hello(
            2, "0", SlotId(1), "qemu-aarch64", "aarch64", source, "1", flash, None, sets, None, 1.0, "boot"
        )  # fmt: skip
        verdict = judge(hello, SET, None, frozenset(), how)
        if verdict.ruling is Ruling.RUN:
            break
        if verdict.ruling is Ruling.NETBOOT:
            assert how.netboots_always
            source = m.BootSource.NETBOOT
            continue
        assert verdict.target is not None and verdict.ruling is Ruling.BURN
        stored = stored or verdict.target == SET
        if verdict.save_image:
            saved = True
        in_ram = order is PristineOrder.FROM_RAM
        if source is m.BootSource.NETBOOT and not in_ram:
            source = m.BootSource(letter)
    assert verdict.ruling is Ruling.RUN and stored
    assert saved or how.netboots_always
