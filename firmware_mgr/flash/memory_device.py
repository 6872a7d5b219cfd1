"""The in-process twin of flash, stricter than hardware: power cuts, torn and lost writes, bad blocks, wear.

What was written stays volatile until `sync`. A cut device answers nothing until `crash` has decided what of
the unsynced writes survived. Knows blocks only, and refuses to know who writes what.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING

from firmware_mgr.flash.bounds import check_block_size, check_range, check_write
from firmware_mgr.model.errors import DeviceError, UsageError

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


class MemoryDevice:
    """A flash device in memory.

    `operations` counts writes and syncs; with `cut_after=n` the n-th of them (from 1) is cut as `cut` says.
    `wear` counts writes per block.
    """

    def __init__(
        self, size: int, *, block_size: int = 512, cut_after: int | None = None, cut: Cut = Cut.BEFORE
    ) -> None:
        check_block_size(block_size, "memory")
        if size <= 0 or size % block_size:
            raise UsageError("size is not in whole blocks", where="memory", expected=block_size, found=size)
        self.size = size
        self.block_size = block_size
        self.operations = 0
        self.wear: Counter[int] = Counter()
        self.bad_blocks: set[int] = set()
        self._medium = bytearray(size)
        self._waiting: list[tuple[int, bytes]] = []
        self._torn_sync = self._torn_write = False
        self._off = False
        self._cut_after = cut_after
        self._cut = cut

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size, "memory")
        self._need_power()
        self._need_good_blocks(offset, length)
        found = bytearray(self._medium[offset : offset + length])
        for start, data in self._waiting:
            low, high = max(start, offset), min(start + len(data), offset + length)
            if low < high:
                found[low - offset : high - offset] = data[low - start : high - start]
        return bytes(found)

    def write(self, offset: int, data: bytes) -> None:
        check_write(offset, len(data), self.size, self.block_size, "memory")
        self._need_power()
        self._need_good_blocks(offset, len(data))
        cut = self._begin_operation()
        if cut is not Cut.BEFORE:
            self.wear.update(range(offset // self.block_size, (offset + len(data)) // self.block_size))
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

    def flip_bit(self, offset: int, bit: int) -> None:
        """Damage the medium behind everybody's back."""
        self._medium[offset] ^= 1 << bit

    def contents(self) -> bytes:
        """What is on the medium, without what waits for a sync."""
        return bytes(self._medium)

    def load(self, contents: bytes) -> None:
        """Put a whole medium in: powered, nothing waiting, counters as they were."""
        if len(contents) != self.size:
            raise UsageError("wrong size", where="memory", expected=self.size, found=len(contents))
        self._medium[:] = contents
        self._restore_power()

    def _settle(self, offset: int, data: bytes) -> None:
        self._medium[offset : offset + len(data)] = data

    def _settle_all(self) -> None:
        for offset, data in self._waiting:
            self._settle(offset, data)
        self._waiting.clear()

    def _need_power(self) -> None:
        if self._off:
            raise PowerCut(f"power failed at operation {self.operations}")

    def _need_good_blocks(self, offset: int, length: int) -> None:
        if not self.bad_blocks or not length:
            return
        first, last = offset // self.block_size, (offset + length - 1) // self.block_size
        for block in sorted(self.bad_blocks):
            if first <= block <= last:
                raise DeviceError("bad block", where="memory", found=f"block {block}")

    def _begin_operation(self) -> Cut | None:
        self.operations += 1
        return self._cut if self.operations == self._cut_after else None

    def _end_operation(self, cut: Cut | None) -> None:
        if cut is not None:
            self._off = True
            raise PowerCut(f"power failed {cut.value} operation {self.operations}")
