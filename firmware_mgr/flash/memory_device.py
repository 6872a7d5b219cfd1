"""The in-process twin of flash, stricter than hardware: power cuts, torn and lost writes, bad blocks, wear.

Knows blocks only, and refuses to know who writes what. What a power cut does to it is `volatile`'s.
"""

from __future__ import annotations

from collections import Counter

from firmware_mgr.flash.bounds import check_block_size, check_range, check_write
from firmware_mgr.flash.volatile import Cut, PowerCut, VolatileDevice
from firmware_mgr.model.errors import DeviceError, UsageError

__all__ = ["Cut", "MemoryDevice", "PowerCut"]


class MemoryDevice(VolatileDevice):
    """A flash device in memory. `wear` counts writes per block."""

    def __init__(
        self, size: int, *, block_size: int = 512, cut_after: int | None = None, cut: Cut = Cut.BEFORE
    ) -> None:
        check_block_size(block_size, "memory")
        if size <= 0 or size % block_size:
            raise UsageError("size is not in whole blocks", where="memory", expected=block_size, found=size)
        super().__init__(size, block_size, "memory", cut_after=cut_after, cut=cut)
        self.wear: Counter[int] = Counter()
        self.bad_blocks: set[int] = set()
        self._medium = bytearray(size)

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size, "memory")
        self._need_power()
        self._need_good_blocks(offset, length)
        return super().read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        check_write(offset, len(data), self.size, self.block_size, "memory")
        self._need_power()
        self._need_good_blocks(offset, len(data))
        waited = len(self._waiting)
        try:
            super().write(offset, data)
        finally:
            if len(self._waiting) > waited:
                first, last = offset // self.block_size, (offset + len(data)) // self.block_size
                self.wear.update(range(first, last))

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

    def _stored(self, offset: int, length: int) -> bytes:
        return bytes(self._medium[offset : offset + length])

    def _settle(self, offset: int, data: bytes) -> None:
        self._medium[offset : offset + len(data)] = data

    def _need_good_blocks(self, offset: int, length: int) -> None:
        if not self.bad_blocks or not length:
            return
        first, last = offset // self.block_size, (offset + length - 1) // self.block_size
        for block in sorted(self.bad_blocks):
            if first <= block <= last:
                raise DeviceError("bad block", where="memory", found=f"block {block}")
