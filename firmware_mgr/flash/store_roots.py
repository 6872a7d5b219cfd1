"""The root ring and the snapshots on flash: found, read, written and erased.

Knows slots, twins and copies. Refuses to know blobs and documents, and when a root may be written (`store`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_mgr.flash.device import bad_offsets
from firmware_mgr.flash.errors import FlashFormatError, StoreDamaged, StoreMissing
from firmware_mgr.flash.store_geometry import padded, unit_for
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
    blank: bool = False


def _offsets(slot: int, unit: int) -> tuple[int, int]:
    return slot * unit, (SLOTS + slot) * unit


def _places(device: FlashDevice, slot: int) -> tuple[int, int]:
    return _offsets(slot, unit_for(device.block_size))


def read_ring(device: FlashDevice) -> list[SlotReading]:
    """All slots and twins, whatever they hold."""
    unit = unit_for(device.block_size)
    readings: list[SlotReading] = []
    for slot in range(SLOTS):
        for twin, offset in enumerate(_offsets(slot, unit)):
            has_magic = blank = False
            try:
                raw = device.read(offset, SLOT_SIZE)
                has_magic = raw.startswith(ROOT_MAGIC)
                blank = raw in (bytes(SLOT_SIZE), b"\xff" * SLOT_SIZE)
                root = Root.decode(raw, device.size, f"store root slot {slot}{' twin' * twin}")
                _check_unit(root, unit)
            except DeviceError as e:
                readings.append(SlotReading(slot, bool(twin), None, has_magic, str(e), blank))
            else:
                readings.append(SlotReading(slot, bool(twin), root, True, ""))
    return readings


def _check_unit(root: Root, unit: int) -> None:
    if root.geometry.unit != unit:
        raise FlashFormatError(
            "store was made with another unit", where="store root", expected=unit, found=root.geometry.unit
        )


def highest_sequence(device: FlashDevice) -> int:
    """Of all valid roots, whether they lead to a snapshot or not; 0 without any."""
    return max((r.root.sequence for r in read_ring(device) if r.root is not None), default=0)


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
    """Current and fallback (where there is one), and the highest sequence of a valid root.

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


def next_slots(device: FlashDevice, history: Collection[Committed]) -> list[int]:
    """The slots for the next root, best first: round the ring, but never one that holds a root that counts.

    Those with a half in a bad block come after all whole ones, those with both are left out.
    """
    taken = {committed.slot for committed in history}
    newest = max(history, key=lambda committed: committed.root.sequence).slot if history else -1
    order = [slot % SLOTS for slot in range(newest + 1, newest + 1 + SLOTS)]
    bad = bad_offsets(device) or frozenset()
    bad_halves = {slot: sum(offset in bad for offset in _places(device, slot)) for slot in order}
    usable = [slot for slot in order if slot not in taken and bad_halves[slot] < 2]
    return sorted(usable, key=lambda slot: bad_halves[slot])


def write_snapshot(device: FlashDevice, raw: bytes, offsets: tuple[int, int]) -> None:
    """Write both copies, sync, read them back. Raises DeviceError when one of them is not on flash."""
    whole = padded(raw, unit_for(device.block_size))
    for offset in offsets:
        device.write(offset, whole)
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
    for offset in _places(device, slot):
        try:
            device.write(offset, raw)
        except DeviceError as e:
            problems.append(str(e))
    device.sync()
    for offset in _places(device, slot):
        try:
            good += device.read(offset, len(raw)) == raw
        except DeviceError as e:
            problems.append(str(e))
    if not good:
        raise DeviceError("store root cannot be written", where=f"slot {slot}", found="; ".join(problems))


def settle_roots(device: FlashDevice, history: Sequence[Committed]) -> bool:
    """Make sure that what was read of the ring stays so; whether both copies of the current root are good.

    A root whose write was cut may read as whole now and as broken the next time, or the other way round. So
    the slots in which a newer one may have been cut are emptied: the next one, and all that hold neither a
    root nor nothing. Then the copies of the current root are written again, one after the other: first one
    that is not good, since the other may be the only good one, which is not touched before.

    A device with erase blocks writes in order: there the next slot holds an older root or is torn, and a copy
    whose twin is good was whole before that was begun, so that nothing of it is written again.
    """
    current, bad = history[0], bad_offsets(device)
    in_order = bad is not None
    kept = {committed.slot for committed in history}
    stale = set() if in_order else set(next_slots(device, history)[:1])
    for reading in read_ring(device):
        in_bad_block = _places(device, reading.slot)[reading.twin] in (bad or ())
        if not (reading.root or reading.blank or in_bad_block):
            stale.add(reading.slot)
    for slot in sorted(stale - kept):
        for offset in _places(device, slot):
            _try_write(device, offset, padded(b"", unit_for(device.block_size)))
    device.sync()
    raw = current.root.encode()
    places = _places(device, current.slot)
    good = {offset: _reads(device, offset, raw) for offset in places}
    if in_order:
        return all(good.values())
    for offset in sorted(reversed(places), key=good.__getitem__):
        _try_write(device, offset, raw)
        device.sync()
        if not _reads(device, offset, raw):
            return False
    return True


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
    """Blank all slots and twins except `but`; sync. One that the device refuses may stay if it holds no root.

    Raises DeviceError when a root stays.
    """
    for slot in range(SLOTS):
        if slot != but:
            for offset in _places(device, slot):
                _try_write(device, offset, padded(b"", unit_for(device.block_size)))
    device.sync()
    for reading in read_ring(device):
        if reading.root is not None and reading.slot != but:
            raise DeviceError("an old store root cannot be erased", where=f"slot {reading.slot}")
