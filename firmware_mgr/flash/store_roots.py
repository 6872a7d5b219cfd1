"""The root ring and the snapshots on flash: found, read, written and erased.

Knows slots, twins and copies. Refuses to know blobs and documents, and when a root may be written (`store`).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_mgr.flash.errors import FlashFormatError, StoreDamaged, StoreMissing
from firmware_mgr.flash.store_geometry import RING_SIZE, round_up
from firmware_mgr.flash.store_layout import ROOT_MAGIC, SLOT_SIZE, SLOTS, Root, Snapshot
from firmware_mgr.model.errors import DeviceError

if TYPE_CHECKING:
    from firmware_mgr.flash.device import FlashDevice


@dataclass(frozen=True, slots=True)
class Committed:
    """A root that counts: the slot it was found in, and its snapshot."""

    slot: int
    root: Root
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class SlotReading:
    """What one slot, or the twin of one, holds: a root, or why not."""

    slot: int
    twin: bool
    root: Root | None
    has_magic: bool
    problem: str


def _offsets(slot: int) -> tuple[int, int]:
    return slot * SLOT_SIZE, (SLOTS + slot) * SLOT_SIZE


def read_ring(device: FlashDevice) -> list[SlotReading]:
    """All slots and twins, whatever they hold."""
    readings: list[SlotReading] = []
    for slot in range(SLOTS):
        for twin, offset in enumerate(_offsets(slot)):
            has_magic = False
            try:
                raw = device.read(offset, SLOT_SIZE)
                has_magic = raw.startswith(ROOT_MAGIC)
                root = Root.decode(raw, device.size, f"store root slot {slot}{' twin' * twin}")
            except DeviceError as e:
                readings.append(SlotReading(slot, bool(twin), None, has_magic, str(e)))
            else:
                readings.append(SlotReading(slot, bool(twin), root, True, ""))
    return readings


def read_snapshot(device: FlashDevice, root: Root) -> Snapshot:
    """The root's snapshot from its first good copy. Raises DeviceError when neither is good."""
    problems: list[str] = []
    for offset in root.snapshot_offsets:
        try:
            raw = device.read(offset, root.snapshot_length)
            return Snapshot.decode(raw, root, f"store snapshot at {offset}")
        except DeviceError as e:
            problems.append(str(e))
    raise FlashFormatError(
        "no good copy of the snapshot", where=f"root {root.sequence}", found="; ".join(problems)
    )


def find_history(device: FlashDevice) -> tuple[list[Committed], int]:
    """Current and fallback (where there is one), and the highest sequence number seen.

    Raises StoreMissing when no slot has the magic, StoreDamaged when no root leads to a snapshot.
    """
    readings = read_ring(device)
    if not any(reading.has_magic for reading in readings):
        raise StoreMissing("no store on this partition", expected=ROOT_MAGIC, hint="format it")
    found: dict[int, tuple[int, Root]] = {}
    for slot in range(SLOTS):
        good = [r.root for r in readings if r.slot == slot and r.root is not None]
        for root in good:
            # A slot that was passed over may hold the same root as the next: that which has it twice counts.
            if root.sequence not in found or len(good) == 2:
                found[root.sequence] = slot, root
    problems = [r.problem for r in readings if r.has_magic and r.problem]
    history: list[Committed] = []
    newest = max(found, default=0)
    for sequence in sorted(found, reverse=True):
        slot, root = found[sequence]
        if len(history) == 2 or root.store_id != found[newest][1].store_id:
            continue
        try:
            history.append(Committed(slot, root, read_snapshot(device, root)))
        except DeviceError as e:
            problems.append(str(e))
    if not history:
        raise StoreDamaged(
            "no readable root in the store", found="; ".join(problems), hint="format it and burn again"
        )
    return history, newest


def next_slots(history: Collection[Committed]) -> list[int]:
    """The slots for the next root, best first: round the ring, but none that holds a root that counts."""
    taken = {committed.slot for committed in history}
    newest = max(history, key=lambda committed: committed.root.sequence).slot if history else -1
    round_the_ring = [slot % SLOTS for slot in range(newest + 1, newest + 1 + SLOTS)]
    return [slot for slot in round_the_ring if slot not in taken]


def write_snapshot(device: FlashDevice, raw: bytes, offsets: tuple[int, int]) -> None:
    """Write both copies, sync, read them back. Raises DeviceError when one of them is not on flash."""
    padded = raw.ljust(round_up(len(raw)), b"\0")
    for offset in offsets:
        device.write(offset, padded)
    device.sync()
    for offset in offsets:
        if device.read(offset, len(raw)) != raw:
            raise DeviceError("store snapshot reads back differently", where=f"offset {offset}")


def write_root(device: FlashDevice, slot: int, root: Root) -> None:
    """Write slot and twin, sync, read back. Raises DeviceError unless one of them is good.

    After an error it is not known whether the root counts.
    """
    raw = root.encode()
    problems: list[str] = []
    good = 0
    for offset in _offsets(slot):
        try:
            device.write(offset, raw)
        except DeviceError as e:
            problems.append(str(e))
    device.sync()
    for offset in _offsets(slot):
        try:
            good += device.read(offset, SLOT_SIZE) == raw
        except DeviceError as e:
            problems.append(str(e))
    if not good:
        raise DeviceError("store root cannot be written", where=f"slot {slot}", found="; ".join(problems))


def settle_roots(device: FlashDevice, current: Committed, stale: int) -> bool:
    """Make sure that what was read of the ring stays so; whether both copies of the current root are good.

    A root whose write was cut may read as whole now and as broken the next time, or the other way round. So
    both copies of the current root are written again, one after the other, and the slot in which a newer one
    may have been cut (`stale`) is emptied. A slot that the device refuses is left as it is.
    """
    raw = current.root.encode()
    place, twin = _offsets(current.slot)
    for offset in _offsets(stale):
        _try_write(device, offset, bytes(SLOT_SIZE))
    _try_write(device, twin, raw)
    device.sync()
    if not _reads(device, twin, raw):
        return False  # the other one may be the only good copy: it is not touched
    _try_write(device, place, raw)
    device.sync()
    return _reads(device, place, raw)


def _try_write(device: FlashDevice, offset: int, raw: bytes) -> None:
    try:
        device.write(offset, raw)
    except DeviceError:
        pass  # whoever needs the place reads it back


def _reads(device: FlashDevice, offset: int, raw: bytes) -> bool:
    try:
        return device.read(offset, len(raw)) == raw
    except DeviceError:
        return False


def erase_roots(device: FlashDevice, *, but: int | None = None) -> None:
    """Zero all slots and twins except `but`; sync. One that the device refuses may stay if it holds no root.

    Raises DeviceError when a root stays.
    """
    for slot in range(SLOTS):
        if slot != but:
            for offset in _offsets(slot):
                _try_write(device, offset, bytes(SLOT_SIZE))
    device.sync()
    for reading in read_ring(device):
        if reading.root is not None and reading.slot != but:
            raise DeviceError("an old store root cannot be erased", where=f"slot {reading.slot}")


assert _offsets(SLOTS - 1)[1] + SLOT_SIZE == RING_SIZE
