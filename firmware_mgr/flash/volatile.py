"""What all of flash's twins have in common: writes that wait for a sync, and what a power cut makes of them.

What was written stays volatile until `sync`. A cut device answers nothing until `crash` has decided what of
the unsynced writes survived. Refuses to know what keeps the bytes that are synced.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING

from firmware_mgr.flash.bounds import check_range, check_write

if TYPE_CHECKING:
    import random


class PowerCut(Exception):
    """Power is gone: raised by the planned operation and by every one after it, until `crash`.

    An event, not an error: no part of the house may handle it.
    """


class Cut(Enum):
    """When power fails in relation to an operation."""

    BEFORE = "before"  # nothing of it happened
    TORN = "torn"  # a write: part of its blocks; a sync: part of what was waiting
    AFTER = "after"  # all of it happened, but its caller never learns


_FATES = ("whole", "lost", "prefix", "half a block", "scattered")
_TORN_FATES = ("prefix", "half a block", "scattered")


class VolatileDevice(ABC):
    """A flash device whose unsynced writes a power cut tears.

    `operations` counts writes and syncs; with `cut_after=n` the n-th of them (from 1) is cut as `cut` says.
    """

    def __init__(
        self, size: int, block_size: int, where: str, *, cut_after: int | None = None, cut: Cut = Cut.BEFORE
    ) -> None:
        self.size = size
        self.block_size = block_size
        self.operations = 0
        self._where = where
        self._waiting: list[tuple[int, bytes]] = []
        self._torn_sync = self._torn_write = False
        self._off = False
        self._cut_after = cut_after
        self._cut = cut

    @abstractmethod
    def _stored(self, offset: int, length: int) -> bytes:
        """What is on the medium, without what waits for a sync."""

    @abstractmethod
    def _settle(self, offset: int, data: bytes) -> None:
        """Bring it to the medium: also parts of blocks."""

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size, self._where)
        self._need_power()
        found = bytearray(self._stored(offset, length))
        for start, data in self._waiting:
            low, high = max(start, offset), min(start + len(data), offset + length)
            if low < high:
                found[low - offset : high - offset] = data[low - start : high - start]
        return bytes(found)

    def write(self, offset: int, data: bytes) -> None:
        check_write(offset, len(data), self.size, self.block_size, self._where)
        self._need_power()
        cut = self._begin_operation()
        if cut is not Cut.BEFORE:
            self._waiting.append((offset, bytes(data)))
            self._torn_write = cut is Cut.TORN
        self._end_operation(cut)

    def sync(self) -> None:
        self._need_power()
        cut = self._begin_operation()
        if cut is Cut.TORN:
            self._torn_sync = True
        elif cut is not Cut.BEFORE:
            self._settle_all()
        self._end_operation(cut)

    def cut_power(self, after: int, cut: Cut = Cut.BEFORE) -> None:
        """Let the `after`-th write or sync from now on (from 1) be cut."""
        self._cut_after = self.operations + after
        self._cut = cut

    def crash(self, rng: random.Random) -> None:
        """Lose power and come back: an unsynced write survives whole, in part or not at all, in any order."""
        torn = self._waiting.pop() if self._torn_write else None
        loss = "some" if self._torn_sync else rng.choice(("none", "all", "some", "some"))
        if loss == "some":
            rng.shuffle(self._waiting)
        for offset, data in self._waiting:
            if loss == "none":
                self._settle(offset, data)
            elif loss == "some":
                self._settle_part(offset, data, rng.choice(_FATES), rng)
        if torn is not None:
            self._settle_part(*torn, rng.choice(_TORN_FATES), rng)
        self._restore_power()

    def _settle_part(self, offset: int, data: bytes, fate: str, rng: random.Random) -> None:
        block = self.block_size
        blocks = len(data) // block
        if fate == "whole":
            self._settle(offset, data)
        elif fate == "prefix":
            self._settle(offset, data[: block * rng.randrange(blocks)])
        elif fate == "half a block":
            whole = rng.choice((0, rng.randrange(blocks)))  # the first block often: records begin there
            self._settle(offset, data[: block * whole + rng.randrange(1, block)])
        elif fate == "scattered":
            for index in range(blocks):
                if rng.random() < 0.5:
                    self._settle(offset + index * block, data[index * block : (index + 1) * block])

    def _restore_power(self) -> None:
        self._waiting.clear()
        self._torn_sync = self._torn_write = False
        self._off = False
        self._cut_after = None

    def _settle_all(self) -> None:
        for offset, data in self._waiting:
            self._settle(offset, data)
        self._waiting.clear()

    def _need_power(self) -> None:
        if self._off:
            raise PowerCut(f"power failed at operation {self.operations}")

    def _begin_operation(self) -> Cut | None:
        self.operations += 1
        return self._cut if self.operations == self._cut_after else None

    def _end_operation(self, cut: Cut | None) -> None:
        if cut is not None:
            self._off = True
            raise PowerCut(f"power failed {cut.value} operation {self.operations}")
