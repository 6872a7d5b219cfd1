"""What a chassis may be, and where its files lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.lab.plan import ChassisPlan, mac_of
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import SlotId


def plan(**changes: object) -> ChassisPlan:
    settings: dict[str, object] = {
        "directory": Path("/c"),
        "cards": 2,
        "boards": ("qemu-aarch64",),
        **changes,
    }
    return ChassisPlan(**settings)  # type: ignore[arg-type]


def test_mac_address_names_shelf_and_slot() -> None:
    assert str(mac_of(SlotId(3))) == "52:54:00:f7:01:03"
    assert str(mac_of(SlotId(17, shelf=2))) == "52:54:00:f7:02:11"


def test_mac_address_has_no_room_for_slot_256() -> None:
    with pytest.raises(UsageError, match="does not fit"):
        mac_of(SlotId(256))


def test_plan_survives_its_document() -> None:
    clocks = (0, 4_102_444_800)
    one = plan(
        cards=4, shelf=2, capture=True, memory_mib=1024, rootless=True, clocks=clocks, record_writes=True
    )
    assert ChassisPlan.from_document(one.document()) == one


def test_boards_are_dealt_out_to_the_slots_of_all_shelves_in_turn() -> None:
    two = plan(cards=2, shelves=2, boards=("a", "b", "c"))
    assert [(str(slot), two.board_of(slot)) for slot in two.slots] == [
        ("1", "a"), ("2", "b"), ("2/1", "c"), ("2/2", "a"),
    ]  # fmt: skip
    folders = [two.paths.slot(slot).directory.name for slot in two.slots]
    assert folders == ["slot-1", "slot-2", "slot-2-1", "slot-2-2"]


def test_clocks_are_dealt_out_to_the_slots_in_turn() -> None:
    three = plan(cards=3, clocks=(0, 4_102_444_800))
    assert [three.clock_of(slot) for slot in three.slots] == [0, 4_102_444_800, 0]


def test_slots_stand_on_the_plans_shelf() -> None:
    assert plan(shelf=2).slots == (SlotId(1, 2), SlotId(2, 2))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"cards": 0}, "number of cards"),
        ({"cards": 256}, "number of cards"),
        ({"address": "10.77.0.1/33"}, "not an address"),
        ({"address": "10.77.0.1/30"}, "too small"),
        ({"memory_mib": 64}, "too little memory"),
        ({"clocks": ()}, "a clock can show"),
        ({"clocks": (0, -1)}, "a clock can show"),
        ({"clocks": (253_402_300_800,)}, "a clock can show"),
        ({"sim": True, "clocks": (5,)}, "clocks of their own"),
        ({"directory": Path("var")}, "not absolute"),
        ({"shelf": 300}, "shelves out of range"),
    ],
)
def test_impossible_chassis_is_refused_before_anything_is_made(
    change: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        plan(**change)


def test_socket_path_may_take_107_bytes_and_no_more() -> None:
    room = 107 - len("/slot-1/console.sock")
    plan(cards=1, directory=Path("/" + "d" * (room - 1)))
    with pytest.raises(UsageError, match=r"at most 107 bytes, found 108.*shorter directory"):
        plan(cards=1, directory=Path("/" + "d" * room))


def test_plan_with_a_missing_or_unknown_field_is_not_a_plan() -> None:
    document = plan().document()
    with pytest.raises(PeerError):
        ChassisPlan.from_document({**document, "colour": "red"})
    del document["cards"]
    with pytest.raises(PeerError):
        ChassisPlan.from_document(document)
