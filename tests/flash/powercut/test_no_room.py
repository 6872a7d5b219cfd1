"""No space: each operation with every amount of room that is too little, and with the least that does.

What is refused leaves the old state or a whole step on the way, and goes on once there is room.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from firmware_mgr.flash.boot_partition import BootImageLayout, BootPartitions
from firmware_mgr.flash.device import Window
from firmware_mgr.flash.errors import NoSpace
from firmware_mgr.flash.gpt import FlashLayout, plan, write_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.flash.store import Store
from firmware_mgr.flash.store_geometry import MIN_STORE_SIZE
from firmware_mgr.model.errors import DeviceError, FwmgrError
from firmware_mgr.model.ids import Digest
from tests.flash.powercut.boot_operations import NEW
from tests.flash.powercut.campaign import all_operations
from tests.flash.powercut.medium import SECTOR, Medium, Powered
from tests.flash.powercut.operation import Operation

UNIT = 4096
#: More than any of the operations takes, in units.
ENOUGH = 16
OPERATIONS = {op.name: op for op in all_operations() if op.name.startswith("store.")}
#: Those that need room, with how many units are enough in one piece; others make do with what they free.
TAKES = {
    "store.install": 4,
    "store.install round the ring": 4,
    "store.checkpoint": 4,
    "store.reclaim": 2,
}
WITHOUT = sorted(OPERATIONS.keys() - TAKES.keys() - {"store.format empty flash", "store.format over a store"})


def filled(operation: Operation, units: int) -> tuple[Medium, set[Digest]]:
    """The operation's medium with so much room left, and what fills it."""
    device = Powered(operation.medium)
    store, fill = Store.open(device), set[Digest]()
    while (largest := store.space().largest) > units * UNIT:
        data = random.Random(1000 + len(fill)).randbytes(largest - units * UNIT)
        store.put(Digest.of(data), len(data), [data])
        fill.add(Digest.of(data))
    store.checkpoint()
    store.commit({})
    return device.medium, fill


def view(device: Powered, fill: set[Digest]) -> Any:
    """Documents and blobs but those that fill; blobs have their bytes, but for one damaged before."""
    store = Store.open(device)
    bad = store.bad_blobs()
    blobs = {digest: digest in bad for digest in store.blobs() if digest not in fill}
    return tuple(sorted(store.documents().items())), tuple(sorted(blobs.items()))


def steps(operation: Operation) -> list[Any]:
    return [view(Powered(medium), set()) for medium in operation.record.durable]


@pytest.mark.parametrize("name", TAKES)
def test_an_operation_that_runs_out_of_room_stops_at_a_whole_state_and_goes_on(name: str) -> None:
    operation = OPERATIONS[name]
    seen, final = steps(operation), view(Powered(operation.record.durable[-1]), set())
    refused = 0
    for units in range(ENOUGH):
        medium, fill = filled(operation, units)
        device = Powered(medium)
        try:
            operation.act(device)
        except DeviceError as e:
            assert type(e).__name__ == NoSpace.__name__  # of the copy under test
            refused += 1
            assert e.found is not None and refused == units + 1, "refused with more room, and not with less"
            for looked in (device, Powered(device.medium)):
                assert view(looked, fill) in seen
            again = Powered(device.medium)
            store = Store.open(again)
            store.commit({}, keep=[digest for digest in store.blobs() if digest not in fill])
            store.commit({})  # now the state before needs them no more
            operation.act(again)
            assert view(again, set()) == final
        else:
            assert view(device, fill) == final
    assert refused == TAKES[name]


@pytest.mark.parametrize("name", WITHOUT)
def test_an_operation_that_needs_no_room_ends_without_any(name: str) -> None:
    operation = OPERATIONS[name]
    medium, fill = filled(operation, 0)
    device = Powered(medium)
    operation.act(device)
    assert view(device, fill) == view(Powered(operation.record.durable[-1]), set())


def test_flash_that_is_too_small_is_refused_before_the_first_write() -> None:
    small = Powered(Medium(bytes(MIN_STORE_SIZE - UNIT)))
    with pytest.raises(FwmgrError):
        Store.format(small, store_id=bytes(16))
    layout = FlashLayout(1 << 20, 1 << 20, 2 << 20, 2 << 20)
    device = Powered(Medium(bytes(5 << 20)))
    with pytest.raises(FwmgrError):
        write_table(device, plan(layout, device.size))
    assert not small.events and not device.events


def test_a_boot_image_that_does_not_fit_is_refused_before_the_first_write() -> None:
    device = Powered(Medium(bytes(64 * SECTOR)))
    windows = {
        letter: Window(device, n * 16 * SECTOR, 16 * SECTOR, letter.value) for n, letter in enumerate(Letter)
    }
    boot, layout = BootPartitions(windows, Letter.A), BootImageLayout.of(NEW)
    assert layout.length > 16 * SECTOR
    with pytest.raises(FwmgrError):
        boot.write_piece(Letter.B, layout, 0, NEW)
    assert not device.events
