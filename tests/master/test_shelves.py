"""Several shelves in one chassis: addresses, host names, order, and what is said when there is no room."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from firmware_mgr.master.bindings import Wish
from firmware_mgr.master.roster import hostname
from firmware_mgr.master.settings import Settings
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import MacAddress, SlotId
from tests.master.rack_twin import Rack

WIDE = Settings(IPv4Address("10.77.0.1"), IPv4Network("10.77.0.0/22"))
NARROW = Settings(IPv4Address("10.77.0.1"), IPv4Network("10.77.0.0/24"))


def test_every_slot_of_four_shelves_has_an_address_and_a_name_of_its_own() -> None:
    slots = [SlotId(number, shelf) for shelf in range(1, 5) for number in range(1, 201)]
    assert len({WIDE.card_address(slot) for slot in slots}) == len({hostname(slot) for slot in slots}) == 800
    assert str(WIDE.card_address(SlotId(3, 2))) == "10.77.1.13" and hostname(SlotId(3, 2)) == "card-2-3"


@pytest.mark.parametrize(
    ("settings", "slot"),
    [(NARROW, SlotId(1, 2)), (WIDE, SlotId(1, 5)), (WIDE, SlotId(201))],
)
def test_a_slot_without_room_is_refused_with_the_next_step(settings: Settings, slot: SlotId) -> None:
    with pytest.raises(UsageError, match=f"slot {slot}: no address for this slot") as caught:
        settings.card_address(slot)
    assert "--address" in caught.value.hint and f"--subnet {slot.shelf}=" in caught.value.hint


async def test_cards_are_listed_and_selected_shelf_by_shelf(tmp_path: Path) -> None:
    rack = Rack(tmp_path, slots=2)
    rack.settings = replace(rack.settings, network=WIDE.network)
    rack.master = rack._make()
    async with rack:
        for number, slot in enumerate((SlotId(1, 3), SlotId(2, 2), SlotId(10, 2), SlotId(1, 2))):
            mac = MacAddress(f"52:54:00:f7:02:{number:02x}")
            await rack.master.bind(slot, Wish(mac, board="qemu-aarch64"))
        listed = [str(entry.slot) for entry in rack.master.roster]
        assert listed == ["1", "2", "2/1", "2/2", "2/10", "3/1"]
        assert [str(slot) for slot in rack.master.select(["2/*", "1/*"])] == ["1", "2", "2/1", "2/2", "2/10"]
        with pytest.raises(UsageError, match="selects no card"):
            rack.master.select(["4/*"])
        await rack.restart()
        assert [str(entry.slot) for entry in rack.master.roster] == listed
