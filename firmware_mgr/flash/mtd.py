"""Flash behind Linux's MTD: a character device `/dev/mtdN` as a chip with erase blocks.

Knows requests, and what the kernel says of errors. Refuses to know what a write is made of
(`erase_block_device`). docs/FLASH-DEVICES.md, "What an MTD device is asked".
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from construct import Struct

from firmware_mgr.flash import mtd_layout as layout
from firmware_mgr.flash.bounds import check_range
from firmware_mgr.flash.erase_block_device import ChipGeometry, EraseBlockDevice
from firmware_mgr.model.errors import DeviceError, UsageError

#: NOR programs single bytes; pieces of this size are programmed or, when they are FF, left out.
SMALLEST_PAGE = 512
#: Reads that may show uncorrectable pages before they are believed: others read and count on the same chip.
READ_TRIES = 2
#: Corrected, and close to its limit / more than the ECC can correct.
_ECC_ERRORS = (errno.EUCLEAN, errno.EBADMSG)
_SYSFS = Path("/sys/class/mtd")
_KINDS = {
    layout.RAM: "RAM",
    layout.NOR: "NOR",
    layout.NAND: "NAND",
    layout.MLC_NAND: "MLC NAND",
}


class MtdChip:
    """See erase_block_device.Chip. `corrected` counts bits that the ECC put right in what was read."""

    def __init__(self, path: str | os.PathLike[str], *, sysfs: Path = _SYSFS) -> None:
        """Open for reading and writing. Raises DeviceError, UsageError when it is no MTD flash."""
        self.path = os.fspath(path)
        self.corrected = 0
        with self._device_errors("cannot be opened"):
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            info = self._ask_info()
            self.kind = _KINDS[info.type]
            self._keeps_marks = info.type in (layout.NAND, layout.MLC_NAND)
            page = info.page_size if info.page_size >= SMALLEST_PAGE else SMALLEST_PAGE
            self.geometry = ChipGeometry(self._size(info.size, sysfs), info.erase_size, page)
            if info.flags & layout.LOCKED_AT_POWER_ON:
                self._unlock()
        except (DeviceError, UsageError):
            os.close(self._fd)
            raise

    def _ask_info(self) -> Any:
        try:
            info = self._ask(layout.MEMGETINFO, layout.INFO)
        except OSError as e:
            raise UsageError(
                "not an MTD device", where=self.path, expected="/dev/mtdN", found=e.strerror
            ) from e
        if info.type not in _KINDS or not info.flags & layout.WRITABLE:
            raise UsageError(
                "not an MTD device for this",
                where=self.path,
                expected=f"writable {', '.join(_KINDS.values())}",
                found=f"type {info.type}, flags {info.flags:#x}",
            )
        return info

    def _size(self, told: int, sysfs: Path) -> int:
        """MEMGETINFO has 32 bits for it."""
        file = sysfs / Path(self.path).name / "size"
        try:
            return int(file.read_text())
        except (OSError, ValueError):
            return told

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.geometry.size, self.path)
        for _ in range(READ_TRIES):
            before = self._ecc_stats()
            data, failed = self._read_raw(offset, length)
            after = self._ecc_stats()
            self.corrected += after[0] - before[0]
            if not failed and after[1] == before[1]:
                return data
        raise DeviceError(
            "page has more wrong bits than its ECC can correct",
            where=self.path,
            found=f"within {length} bytes at {offset}",
        )

    def _read_raw(self, offset: int, length: int) -> tuple[bytes, bool]:
        """The bytes, and whether the driver says that they are wrong (mtdchar itself does not)."""
        pieces: list[bytes] = []
        with self._device_errors(f"cannot read {length} bytes at {offset}"):
            while length > 0:
                try:
                    piece = os.pread(self._fd, length, offset)
                except OSError as e:
                    if e.errno not in _ECC_ERRORS:
                        raise
                    self.corrected += e.errno == errno.EUCLEAN
                    return b"", True  # without the bytes: read once more
                if not piece:
                    raise DeviceError("device ended early", where=self.path, found=offset)
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
        return b"".join(pieces), False

    def erase(self, block: int) -> None:
        size = self.geometry.erase_size
        with self._device_errors(f"cannot erase block {block}"):
            self._tell(layout.MEMERASE64, layout.ERASE_64, start=block * size, length=size)

    def program(self, offset: int, data: bytes) -> None:
        rest = memoryview(data)
        with self._device_errors(f"cannot program {len(data)} bytes at {offset}"):
            while rest:
                done = os.pwrite(self._fd, rest, offset)
                offset += done
                rest = rest[done:]

    def is_bad(self, block: int) -> bool:
        if not self._keeps_marks:
            return False
        with self._device_errors(f"cannot tell whether block {block} is bad"):
            offset = block * self.geometry.erase_size
            return self._tell(layout.MEMGETBADBLOCK, layout.OFFSET, offset=offset) != 0

    def mark_bad(self, block: int) -> bool:
        if not self._keeps_marks:
            return False
        with self._device_errors(f"cannot mark block {block} as bad"):
            self._tell(layout.MEMSETBADBLOCK, layout.OFFSET, offset=block * self.geometry.erase_size)
        return True

    def close(self) -> None:
        """Give the file descriptor back; the chip is then of no more use."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _unlock(self) -> None:
        with self._device_errors("cannot be unlocked"):
            self._tell(layout.MEMUNLOCK, layout.ERASE, start=0, length=self.geometry.size)

    def _ecc_stats(self) -> tuple[int, int]:
        """Bits corrected and pages given up since the kernel started."""
        if not self._keeps_marks:
            return 0, 0
        with self._device_errors("cannot tell its ECC's counters"):
            stats = self._ask(layout.ECCGETSTATS, layout.ECC_STATS)
        return stats.corrected, stats.failed

    def _ask(self, request: int, answer: Struct) -> Any:
        buffer = bytearray(answer.sizeof())
        fcntl.ioctl(self._fd, request, buffer)
        return answer.parse(bytes(buffer))

    def _tell(self, request: int, form: Struct, **fields: int) -> int:
        done: int = fcntl.ioctl(self._fd, request, bytearray(form.build(fields)))
        return done

    @contextmanager
    def _device_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise DeviceError(what, where=self.path, found=e.strerror or str(e)) from e


def open_mtd(path: str | os.PathLike[str]) -> EraseBlockDevice:
    """The MTD device as a flash device. Raises as MtdChip, or DeviceError."""
    chip = MtdChip(path)
    return EraseBlockDevice(chip, chip.path)
