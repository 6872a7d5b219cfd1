"""What power leaves on a medium, and a powered device on it that writes down what it is asked to do.

A `Medium` is never changed: it is a base that many share, and the sectors that differ. A `Powered` device is
one power-on of it. Knows sectors, damage and call sites. Refuses to know who writes what, and what it means.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from hashlib import blake2b

from firmware_mgr.flash.bounds import check_range, check_write
from firmware_mgr.model.errors import DeviceError

SECTOR = 512
#: Frames of these files are not the ones that asked.
_PASSED_OVER = ("device.py", "medium.py")


class UnsyncedRead(AssertionError):
    """Bytes that wait for a sync were read: what comes back is a cache's word, not the flash's."""


@dataclass(frozen=True, slots=True)
class Unstable:
    """A sector whose cells were half programmed: read number n gives new when bit n of `rhythm` is set.

    A rhythm below 0 gives a new mixture of the bits at each read. Ends when the sector is written.
    """

    old: bytes
    new: bytes
    rhythm: int

    def read(self, number: int) -> bytes:
        if self.rhythm >= 0:
            return self.new if self.rhythm >> (number % 4) & 1 else self.old
        return mixed(self.old, self.new, random.Random(f"{self.rhythm} {number}"))


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A sector that cannot be read until it is written."""


Odd = Unstable | Unreadable


def mixed(old: bytes, new: bytes, rng: random.Random) -> bytes:
    """Of the bits that differ, a random subset new."""
    a, b = int.from_bytes(old, "big"), int.from_bytes(new, "big")
    return (a ^ ((a ^ b) & rng.getrandbits(len(old) * 8))).to_bytes(len(old), "big")


@cache
def _rubble(sector: int) -> bytes:
    return random.Random(f"rubble {sector}").randbytes(SECTOR)


def _mark(sector: int, content: object) -> int:
    raw = content if isinstance(content, bytes) else repr(content).encode()
    return int.from_bytes(blake2b(raw, digest_size=8, key=sector.to_bytes(4, "little")).digest(), "little")


@dataclass(frozen=True, slots=True)
class Medium:
    """`over` are sectors that differ from `base`; `odd` those that do not simply hold bytes."""

    base: bytes
    over: Mapping[int, bytes] = field(default_factory=dict)
    odd: Mapping[int, Odd] = field(default_factory=dict)
    digest: int = 0

    def sector(self, index: int) -> bytes:
        """What it holds; of an unstable one what it held; of an unreadable one nothing that ever was."""
        odd = self.odd.get(index)
        if isinstance(odd, Unstable):
            return odd.old
        if isinstance(odd, Unreadable):
            return _rubble(index)
        found = self.over.get(index)
        return self.base[index * SECTOR : (index + 1) * SECTOR] if found is None else found

    def with_sectors(self, changes: Mapping[int, bytes | Odd]) -> Medium:
        """The same medium with these sectors; the same content gives the same digest by whatever way."""
        if not changes:
            return self
        over, odd, digest = dict(self.over), dict(self.odd), self.digest
        for index, content in changes.items():
            if (gone := odd.pop(index, None)) is not None:
                digest ^= _mark(index, gone)
            if (held := over.pop(index, None)) is not None:
                digest ^= _mark(index, held)
            if not isinstance(content, bytes):
                odd[index] = content
                digest ^= _mark(index, content)
            elif content != self.base[index * SECTOR : (index + 1) * SECTOR]:
                over[index] = content
                digest ^= _mark(index, content)
        return Medium(self.base, over, odd, digest)

    @property
    def calm(self) -> bool:
        """Whether every sector reads the same each time."""
        return not any(isinstance(odd, Unstable) for odd in self.odd.values())

    def contents(self) -> bytes:
        """All bytes, as a base for others."""
        whole = bytearray(self.base)
        for index, content in self.over.items():
            whole[index * SECTOR : (index + 1) * SECTOR] = content
        return bytes(whole)


class Ask(Enum):
    WRITE = "write"
    SYNC = "sync"


@dataclass(frozen=True, slots=True)
class Event:
    """One write or sync, and the line of our code that asked for it."""

    ask: Ask
    site: str
    offset: int = 0
    data: bytes = b""

    def sectors(self) -> Iterable[tuple[int, bytes]]:
        first = self.offset // SECTOR
        for at in range(0, len(self.data), SECTOR):
            yield first + at // SECTOR, self.data[at : at + SECTOR]


#: Asked before each write or read with its number, offset and length; True when the device refuses.
Refuse = Callable[[str, int, int, int], bool]


class Powered:
    """A flash device (the seam's protocol) on a medium. `events` is what was asked of it, in order."""

    block_size = SECTOR

    def __init__(self, medium: Medium, refuse: Refuse | None = None, *, sites: bool = True) -> None:
        self.size = len(medium.base)
        self.medium = medium  # durable: grows with each sync
        self.events: list[Event] = []
        self.reads = 0
        self._waiting: dict[int, bytes] = {}
        self._looked: dict[int, int] = {}
        self._refuse = refuse
        self._sites = sites

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size, "medium")
        self.reads += 1
        if self._refuse is not None and self._refuse("read", self.reads, offset, length):
            raise DeviceError("read refused", where=f"medium, {offset}")
        first, last = offset // SECTOR, -(-(offset + length) // SECTOR)
        whole = bytearray(self.medium.base[first * SECTOR : last * SECTOR])
        if self._waiting and any(index in self._waiting for index in range(first, last)):
            raise UnsyncedRead(f"{length} bytes at {offset} are read before they are synced, {_site()}")
        over, odd = self.medium.over, self.medium.odd
        for index in (
            range(first, last) if last - first < len(over) else [i for i in over if first <= i < last]
        ):
            if index in over:
                whole[(index - first) * SECTOR : (index - first + 1) * SECTOR] = over[index]
        for index in [i for i in odd if first <= i < last] if odd else ():
            found = odd[index]
            if isinstance(found, Unreadable):
                raise DeviceError("sector cannot be read", where=f"medium, {offset}", found=index)
            number = self._looked[index] = self._looked.get(index, -1) + 1
            whole[(index - first) * SECTOR : (index - first + 1) * SECTOR] = found.read(number)
        start = offset - first * SECTOR
        return bytes(whole[start : start + length])

    def write(self, offset: int, data: bytes) -> None:
        check_write(offset, len(data), self.size, SECTOR, "medium")
        event = Event(Ask.WRITE, _site() if self._sites else "", offset, bytes(data))
        if self._refuse is not None and self._refuse("write", len(self.events), offset, len(data)):
            half = dict(list(event.sectors())[: len(data) // SECTOR // 2])  # what was done of it is not known
            self._waiting.update(half)
            raise DeviceError("write refused", where=f"medium, {offset}")
        self.events.append(event)
        self._waiting.update(event.sectors())

    def sync(self) -> None:
        self.events.append(Event(Ask.SYNC, _site() if self._sites else ""))
        self.medium = self.medium.with_sectors(self._waiting)
        self._waiting = {}

    @property
    def waiting(self) -> bool:
        """Whether something that was written is not durable yet."""
        return bool(self._waiting)

    def again(self) -> Powered:
        """The next power-on, after a switch-off at leisure; unstable cells go on in their rhythm."""
        following = Powered(self.medium)
        following._looked = self._looked
        return following


def _site() -> str:
    """The innermost line of our code that asks, with the function that called it."""
    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.endswith(_PASSED_OVER):
            name = path.rpartition("/")[2].removesuffix(".py")
            return f"{name}.{frame.f_code.co_name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "?"
