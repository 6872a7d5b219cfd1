"""Reads a log of writes: what a power-on asked of its flash, in order, as the power-cut harness has it.

Knows where entries lie, and the end that a killed machine leaves. Takes writes and flushes; any other entry
is one that our machines do not make, and is refused: what it would mean for a cut has not been thought about.
"""

from __future__ import annotations

from construct import ConstructError

from firmware_mgr.flash.errors import FlashFormatError
from tests.flash.powercut.medium import SECTOR, Ask, Event
from tests.flash.recorded.log_layout import ENTRY, HEAD, MAGIC, Flag


def read_log(raw: bytes, where: str, size: int) -> tuple[Event, ...]:
    """All entries that reached the log whole. `size` is the flash's. Raises FlashFormatError."""
    counted = _read_head(raw, where)
    events: list[Event] = []
    at = SECTOR
    while at + SECTOR <= len(raw):
        entry = ENTRY.parse(raw[at : at + ENTRY.sizeof()])
        at += SECTOR
        if not (entry.sectors or entry.flags):
            break  # a hole: a later entry was written, and the machine died before this one was
        event = _event(entry, raw, at, f"{where}, entry {len(events)}", size)
        if event is None:
            break
        events.append(event)
        at += len(event.data)
    if len(events) < counted:
        raise FlashFormatError(
            "the log ends early", where=where, expected=f"{counted} entries", found=len(events)
        )
    return tuple(events)


def _read_head(raw: bytes, where: str) -> int:
    """The number of entries that must be there. Before the first flush there is no head, and none must."""
    head = raw[:SECTOR]
    if not any(head):
        return 0
    try:
        parsed = HEAD.parse(head)
    except ConstructError as e:
        found = head[:16].hex()
        raise FlashFormatError("not a log of writes", where=where, expected=f"{MAGIC:#x}", found=found) from e
    if parsed.sector_size != SECTOR:
        raise FlashFormatError(
            "the log counts other sectors", where=where, expected=SECTOR, found=parsed.sector_size
        )
    return int(parsed.entries)


def _event(entry: object, raw: bytes, at: int, where: str, size: int) -> Event | None:
    """One entry, whose data begin at `at`; None when the log ends within them."""
    sector, sectors, flags = entry.sector, entry.sectors, Flag(entry.flags)  # type: ignore[attr-defined]
    if flags == Flag.FLUSH and not sectors:
        return Event(Ask.SYNC, "")
    if flags:
        raise FlashFormatError(
            "an entry that this reader does not know",
            where=where,
            expected="a write, or a flush without data",
            found=f"flags {flags!r}, {sectors} sectors",
            hint="the drive must not pass discards on, and its file must know no FUA",
        )
    offset, length = sector * SECTOR, sectors * SECTOR
    if offset + length > size:
        raise FlashFormatError(
            "a write outside the flash", where=where, expected=f"up to {size}", found=f"{offset}+{length}"
        )
    data = raw[at : at + length]
    return Event(Ask.WRITE, "", offset, data) if len(data) == length else None
