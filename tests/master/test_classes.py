"""Classes and cards' own configurations in a whole master, and cards that are swapped."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.link import messages as m
from firmware_mgr.master.configuration import Configuration
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.lifecycle import OperationState
from firmware_mgr.model.software import SoftwareSet
from tests.master.rack_twin import ARM_IMAGE, ARM_PACKAGE, NEW_IMAGE, PACKAGE, SET, Rack, TwinCard
from tests.master.test_service import kinds, serve

OLD = Configuration(("web=1.0",), {"qemu-aarch64": "1"})


async def create(rack: Rack, name: str, configuration: Configuration = OLD) -> None:
    await rack.master.change_classes(lambda: rack.master.wishes.create(name, configuration))


async def assign(rack: Rack, name: str | None, *slots: int) -> None:
    entries = [rack.master.roster.get(SlotId(number)) for number in slots]
    await rack.master.change_classes(lambda: rack.master.wishes.assign(name, entries))


def wanted(rack: Rack, number: int) -> str:
    software = rack.master.roster.get(SlotId(number)).record.wanted
    return "nothing" if software is None else software.boot_image.version


async def test_cards_of_a_class_are_burned_with_what_it_says_and_others_with_the_newest(
    tmp_path: Path,
) -> None:
    async with Rack(tmp_path) as rack:
        await rack.add(NEW_IMAGE)
        await create(rack, "edge")
        await assign(rack, "edge", 2)
        assert (wanted(rack, 1), wanted(rack, 2)) == ("nothing", "1")
        await rack.master.burn_all(None, False)
        assert (wanted(rack, 1), wanted(rack, 2)) == ("2", "1")


async def test_classes_and_own_configurations_outlive_the_master(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        await rack.add(NEW_IMAGE)
        await create(rack, "edge")
        await assign(rack, "edge", 1, 2)
        await rack.master.want(SlotId(2), "2", None)
        await rack.restart()
        assert rack.master.wishes.get("edge").configuration == OLD
        await rack.master.burn_all(None, False)
        assert (wanted(rack, 1), wanted(rack, 2)) == ("1", "2")


async def test_a_change_of_a_class_reaches_its_cards_and_no_others(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=3) as rack:
        await rack.add(NEW_IMAGE)
        await create(rack, "edge")
        await assign(rack, "edge", 1, 2)
        await rack.master.want(SlotId(2), "1", None)
        newer = Configuration(("web=1.0",), {"qemu-aarch64": "2"})
        await rack.master.change_classes(lambda: rack.master.wishes.change("edge", newer))
        assert [wanted(rack, number) for number in (1, 2, 3)] == ["2", "1", "nothing"]
        await assign(rack, None, 2)
        assert wanted(rack, 2) == "1"  # its own stays
        await rack.master.set_own([SlotId(2)], lambda _own, _board: Configuration())
        assert wanted(rack, 2) == "2"


async def test_what_does_not_hold_for_one_card_is_refused_for_all(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        rack.hands.boards[2] = "qemu-armv7"
        await rack.wait(lambda: rack.master.roster.get(SlotId(2)).record.board == "qemu-armv7")
        await rack.add(ARM_IMAGE)
        await create(rack, "edge")
        with pytest.raises(UsageError, match=r"slot 2, package web 1\.0: package has nothing for this card"):
            await assign(rack, "edge", 1, 2)
        assert wanted(rack, 1) == "nothing" and not rack.master.wishes.members("edge")
        await rack.add(ARM_PACKAGE)
        await assign(rack, "edge", 1, 2)
        assert [entry.slot.number for entry in rack.master.wishes.members("edge")] == [1, 2]


async def test_a_class_is_not_removed_under_its_cards_nor_made_twice(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        await create(rack, "edge")
        await assign(rack, "edge", 1)
        with pytest.raises(UsageError, match=r"cards are in the class.*slots 1.*unassign 1"):
            await rack.master.wishes.remove("edge")
        with pytest.raises(UsageError, match="there is such a class"):
            await create(rack, "edge")
        await assign(rack, None, 1)
        await rack.master.wishes.remove("edge")
        await rack.restart()
        with pytest.raises(UsageError, match="no such class"):
            rack.master.wishes.get("edge")


async def test_software_is_not_changed_under_an_operation(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        await create(rack, "edge")
        await rack.master.burn_all([SlotId(1)], False)
        with pytest.raises(UsageError, match="in an operation"):
            await assign(rack, "edge", 2, 1)
        assert not rack.master.wishes.members("edge")


async def test_a_pristine_card_that_comes_into_a_class_is_burned_without_a_burn_all(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        assert kinds(await card.hello()) == ["welcome", "hold"]
        await create(rack, "edge")
        await assign(rack, "edge", 1)
        assert kinds(await card.hello()) == ["welcome", "burn"]


async def test_a_card_of_the_same_type_takes_over_the_slots_software_once_let_in(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await serve(rack, TwinCard(rack, 1))
        entry = rack.master.roster.get(SlotId(1))
        await rack.master.roster.write(entry, 0.0, rejected=(NEW_IMAGE.digest,))
        other = TwinCard(rack, 1, "f" * 64)
        assert kinds(await other.hello()) == ["refused"]
        await rack.master.approve(SlotId(1))
        told = await other.hello()
        assert isinstance(told[-1], m.Burn) and told[-1].wanted == SET
        assert entry.record.last_good == SET and entry.record.rejected == ()


async def test_a_card_of_another_type_gets_what_its_type_and_the_slots_class_call_for(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.add(ARM_IMAGE)
        await rack.add(ARM_PACKAGE)
        await create(rack, "edge", Configuration(("web=1.0",)))
        await assign(rack, "edge", 1)
        await serve(rack, TwinCard(rack, 1))
        rack.hands.boards[1] = "qemu-armv7"
        await rack.wait(lambda: rack.master.roster.get(SlotId(1)).record.board == "qemu-armv7")
        entry = rack.master.roster.get(SlotId(1))
        image = rack.master.roster.netboot_image(entry)
        assert image is not None and image.board == "qemu-armv7"
        other = TwinCard(rack, 1, "f" * 64)
        other.board, other.cpu = "qemu-armv7", "armv7"
        await other.hello()
        await rack.master.approve(SlotId(1))
        told = await other.hello()
        assert isinstance(told[-1], m.Burn)
        assert told[-1].wanted == SoftwareSet(ARM_IMAGE.ref, (ARM_PACKAGE.ref,))
        assert entry.record.last_good is None


async def test_a_card_of_a_wrong_type_is_held_with_reason_and_next_step(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.add(ARM_IMAGE)
        await rack.master.want(SlotId(1), "1", ["web=1.0"])
        rack.hands.boards[1] = "qemu-armv7"
        await rack.wait(lambda: rack.master.roster.get(SlotId(1)).record.board == "qemu-armv7")
        card = TwinCard(rack, 1)
        card.board, card.cpu = "qemu-armv7", "armv7"
        assert kinds(await card.hello()) == ["welcome", "hold"]
        assert "card of a wrong type" in rack.reason(1) and "fwmgr card clear 1" in rack.reason(1)


async def test_a_card_that_is_not_what_the_slot_register_says_is_held(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.want(SlotId(1), "1", None)
        card = TwinCard(rack, 1)
        card.board, card.cpu = "qemu-armv7", "armv7"
        assert kinds(await card.hello()) == ["welcome", "hold"]
        assert "as the slot register says, found qemu-armv7" in rack.reason(1)


async def test_a_burn_all_leaves_a_card_of_a_wrong_type_alone_and_says_why(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        rack.hands.boards[2] = "qemu-armv7"
        await rack.wait(lambda: rack.master.roster.get(SlotId(2)).record.board == "qemu-armv7")
        operation = await rack.master.burn_all(None, False)
        card = TwinCard(rack, 1)
        await card.hello()
        await card.burn()
        await rack.settle()
        card.source = m.BootSource.A
        await card.hello()
        await card.run()
        await rack.restart()
        ended = rack.master.desk.operations[operation.id]
        assert ended.state is OperationState.FAILED and not ended.ready_for_use
        assert rack.state(1) in ("in service", "lost") and (2, True) not in rack.hands.cycles
        left = ended.cards[SlotId(2)]
        assert (
            left.unfit and "no boot image for this board" in left.reason and "fwmgr image add" in left.reason
        )


def test_packages_of_the_two_boards_differ() -> None:
    assert PACKAGE.digest != ARM_PACKAGE.digest and PACKAGE.version == ARM_PACKAGE.version
