"""Windows of a device with erase blocks that hide bad ones, in the two ways in which loaders do.

Knows which good block stands for which place. Refuses to know what is written: a boot image is for
`boot_partition`, a record for `control`. docs/FLASH-DEVICES.md, "Areas".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_mgr.flash.bounds import check_range, check_write
from firmware_mgr.flash.control_layout import COPY_OFFSETS, COPY_SIZE
from firmware_mgr.flash.device import bad_offsets
from firmware_mgr.flash.errors import BadBlock
from firmware_mgr.model.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from firmware_mgr.flash.device import FlashDevice


def _good(device: FlashDevice, start: int, end: int) -> list[int]:
    bad = bad_offsets(device) or ()
    return [offset for offset in range(start, end, device.block_size) if offset not in bad]


class SkipBad:
    """The good blocks of a device in their order, as U-Boot's `nand write` and `nand read` go through them.

    A block that turns out to be bad in a write moves all behind it: that write raises BadBlock, and what lay
    behind is found wrong and is written again by whoever compares (`boot_partition.missing_pieces`).
    """

    def __init__(self, device: FlashDevice, name: str = "boot partition") -> None:
        self._device = device
        self.block_size = device.block_size
        self.name = name

    @property
    def size(self) -> int:
        """Bytes of the good blocks."""
        return len(self._blocks()) * self.block_size

    def read(self, offset: int, length: int) -> bytes:
        blocks = self._blocks()
        check_range(offset, length, len(blocks) * self.block_size, self.name)
        pieces: list[bytes] = []
        while length:
            index, within = divmod(offset, self.block_size)
            step = min(length, self.block_size - within)
            pieces.append(self._device.read(blocks[index] + within, step))
            offset += step
            length -= step
        return b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        blocks = self._blocks()
        check_write(offset, len(data), len(blocks) * self.block_size, self.block_size, self.name)
        for at in range(0, len(data), self.block_size):
            self._device.write(blocks[(offset + at) // self.block_size], data[at : at + self.block_size])

    def sync(self) -> None:
        self._device.sync()

    def _blocks(self) -> list[int]:
        return _good(self._device, 0, self._device.size)


class ControlBlocks:
    """The window that `control` knows, on erase blocks: each copy is in the first good block of its half.

    The others of a half are spares, as those within U-Boot's CONFIG_ENV_RANGE.
    """

    def __init__(self, device: FlashDevice, name: str = "control") -> None:
        if device.size < 2 * device.block_size:
            raise UsageError(
                "control needs two erase blocks",
                where=name,
                expected=2 * device.block_size,
                found=device.size,
            )
        self._device = device
        self.block_size = device.block_size
        self.size = COPY_OFFSETS[1] + max(self.block_size, COPY_OFFSETS[1])
        self.name = name

    def read(self, offset: int, length: int) -> bytes:
        if offset not in COPY_OFFSETS or length > COPY_SIZE:
            raise UsageError("no copy of control", where=self.name, expected=COPY_OFFSETS, found=offset)
        return self._device.read(self._spares(offset)[0], length)

    def write(self, offset: int, data: bytes) -> None:
        """Write a copy; where its block turns out to be bad, the next one of its half takes it."""
        if offset not in COPY_OFFSETS or len(data) != self.block_size:
            raise UsageError("no copy of control", where=self.name, expected=COPY_OFFSETS, found=offset)
        while True:
            place = self._spares(offset)[0]
            try:
                return self._device.write(place, data)
            except BadBlock:
                if place not in (bad_offsets(self._device) or ()):
                    raise

    def sync(self) -> None:
        self._device.sync()

    def _spares(self, offset: int) -> list[int]:
        """The good blocks of a copy's half. Raises DeviceError when none is left."""
        half = self._device.size // 2 // self.block_size * self.block_size
        first = offset == COPY_OFFSETS[0]
        good = _good(self._device, 0, half) if first else _good(self._device, half, 2 * half)
        if not good:
            raise DeviceError(
                "no good block is left for a copy of control",
                where=f"{self.name}, {'first' if first else 'second'} half",
                hint="the flash is worn out",
            )
        return good
