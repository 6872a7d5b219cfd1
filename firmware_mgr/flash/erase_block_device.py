"""A chip with erase blocks as a flash device whose block is the erase block.

Knows that a write is erase and program, and what becomes of blocks that refuse. Refuses to know how a chip is
reached (`mtd`), and what is written. docs/FLASH-DEVICES.md, "Erase blocks".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from firmware_mgr.flash.bounds import check_block_size, check_range, check_write
from firmware_mgr.flash.errors import BadBlock
from firmware_mgr.flash.store_geometry import UNIT
from firmware_mgr.model.errors import DeviceError, UsageError

#: Failures in a row after which a chip, and not its blocks, is taken to be at fault.
MARKS_IN_A_ROW = 4
ERASED = b"\xff"


@dataclass(frozen=True, slots=True)
class ChipGeometry:
    """Sizes in bytes. A page is the least that is programmed; `erase_size` is a multiple of it."""

    size: int
    erase_size: int
    page_size: int

    def __post_init__(self) -> None:
        check_block_size(self.erase_size, "erase block")
        if self.erase_size < UNIT:
            raise UsageError("erase block is too small", expected=f"{UNIT} bytes", found=self.erase_size)
        if self.size <= 0 or self.size % self.erase_size:
            raise UsageError("chip is not in whole erase blocks", expected=self.erase_size, found=self.size)
        if self.page_size <= 0 or self.erase_size % self.page_size:
            raise UsageError(
                "erase block is not in whole pages", expected=self.page_size, found=self.erase_size
            )

    @property
    def blocks(self) -> int:
        return self.size // self.erase_size


class Chip(Protocol):
    """Flash as it is: bits are set by erasing a block and cleared by programming pages."""

    @property
    def geometry(self) -> ChipGeometry:
        """The same for as long as the chip is open."""

    def read(self, offset: int, length: int) -> bytes:
        """Raises DeviceError when the chip knows that the bytes are wrong."""

    def erase(self, block: int) -> None:
        """Set all bits of a block. Raises DeviceError when it refuses."""

    def program(self, offset: int, data: bytes) -> None:
        """Program whole erased pages, in ascending order within a block. Raises DeviceError."""

    def is_bad(self, block: int) -> bool:
        """Whether the block is marked."""

    def mark_bad(self, block: int) -> bool:
        """Mark a block for ever; False when this chip keeps no marks."""


class EraseBlockDevice:
    """See device.FlashDevice, and `bad_offsets`. What is written is on the chip when `write` returns."""

    def __init__(self, chip: Chip, where: str = "flash chip") -> None:
        """Asks the chip for the marks of all blocks."""
        self._chip = chip
        self.where = where
        self.size = chip.geometry.size
        self.block_size = chip.geometry.erase_size
        self._bad = {block for block in range(chip.geometry.blocks) if chip.is_bad(block)}
        self._failures = 0

    def bad_offsets(self) -> frozenset[int]:
        """Where the blocks begin that are marked bad, or have refused since the device was opened."""
        return frozenset(block * self.block_size for block in self._bad)

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size, self.where)
        if length:
            for block in range(offset // self.block_size, (offset + length - 1) // self.block_size + 1):
                self._need_good(block)
        return self._chip.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """As FlashDevice; raises BadBlock when a block is bad, or turns out to be. The ones before it are
        written then."""
        check_write(offset, len(data), self.size, self.block_size, self.where)
        for at in range(0, len(data), self.block_size):
            self._write_block((offset + at) // self.block_size, data[at : at + self.block_size])

    def sync(self) -> None:
        """Nothing waits."""

    def _write_block(self, block: int, data: bytes) -> None:
        self._need_good(block)
        try:
            self._chip.erase(block)
            for at, run in programmed_runs(data, self._chip.geometry.page_size):
                self._chip.program(block * self.block_size + at, run)
        except DeviceError as e:
            self._condemn(block, e)
            raise BadBlock(
                "erase block refuses, and is used no more", where=f"{self.where}, block {block}", found=str(e)
            ) from e
        self._failures = 0

    def _condemn(self, block: int, why: DeviceError) -> None:
        self._failures += 1
        if self._failures > MARKS_IN_A_ROW:
            raise DeviceError(
                "one erase block after the other refuses; no more are marked bad",
                where=f"{self.where}, block {block}",
                found=str(why),
                hint="is the flash write-protected?",
            ) from why
        self._bad.add(block)
        try:
            self._chip.mark_bad(block)
        except DeviceError:
            pass  # avoided until the device is opened again, and found anew then

    def _need_good(self, block: int) -> None:
        if block in self._bad:
            raise BadBlock("bad block", where=self.where, found=f"block {block}")


def programmed_runs(data: bytes, page_size: int) -> list[tuple[int, bytes]]:
    """The pieces of a block to program, with their offsets: all but pages of FF, which an erase has made."""
    blank = ERASED * page_size
    runs: list[tuple[int, bytes]] = []
    start: int | None = None
    for at in range(0, len(data), page_size):
        if data[at : at + page_size] != blank:
            start = at if start is None else start
        elif start is not None:
            runs.append((start, data[start:at]))
            start = None
    if start is not None:
        runs.append((start, data[start:]))
    return runs
