"""The flash device seam, a window onto a part of one, and the real device: a block device or an image file.

Knows bytes, blocks and syncs. Refuses to know partitions, records and what anything means. The in-process
twin, stricter than hardware, is `memory_device.MemoryDevice`, also found here by name.
"""

from __future__ import annotations

import array
import fcntl
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

from firmware_mgr.flash.bounds import check_block_size, check_range, check_write
from firmware_mgr.flash.memory_device import Cut, MemoryDevice, PowerCut
from firmware_mgr.model.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Cut", "FileDevice", "FlashDevice", "MemoryDevice", "PowerCut", "Window", "bad_offsets"]

BLKSSZGET = 0x1268  # linux/fs.h: the logical block size of a block device


class FlashDevice(Protocol):
    """Bytes that survive power. Until `sync` returns, any part of what was written may be lost."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def block_size(self) -> int:
        """Write granularity in bytes: 512 or 4096; of a device with erase blocks, an erase block."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes. Raises UsageError outside the device, DeviceError when unreadable."""

    def write(self, offset: int, data: bytes) -> None:
        """Write whole blocks. Raises UsageError when misaligned or outside, DeviceError when refused."""

    def sync(self) -> None:
        """Return when all that was written is on the medium; reads then come from it. Raises DeviceError."""


@runtime_checkable
class KnowsBadBlocks(Protocol):
    """A flash device with erase blocks."""

    def bad_offsets(self) -> frozenset[int] | None:
        """Where its bad blocks begin. They are neither read nor written. None: it is without erase blocks."""


def bad_offsets(device: FlashDevice) -> frozenset[int] | None:
    """Where the bad blocks of a device with erase blocks begin; None for all other devices."""
    return device.bad_offsets() if isinstance(device, KnowsBadBlocks) else None


class Window:
    """A part of a device, such as a partition, as a device of its own. `name` stands in errors."""

    def __init__(self, device: FlashDevice, offset: int, size: int, name: str = "window") -> None:
        check_write(offset, size, device.size, device.block_size, name)
        self._device = device
        self.offset = offset
        self.size = size
        self.block_size = device.block_size
        self.name = name

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size, self.name)
        return self._device.read(self.offset + offset, length)

    def write(self, offset: int, data: bytes) -> None:
        check_write(offset, len(data), self.size, self.block_size, self.name)
        self._device.write(self.offset + offset, data)

    def sync(self) -> None:
        self._device.sync()

    def bad_offsets(self) -> frozenset[int] | None:
        """See KnowsBadBlocks; offsets are those of the window."""
        found = bad_offsets(self._device)
        if found is None:
            return None
        return frozenset(at - self.offset for at in found if self.offset <= at < self.offset + self.size)


class FileDevice:
    """A Linux block device or an image file. `sync` drops the page cache, so that a read-back is honest.

    Linux keeps one page cache for a disk and another for each of its partitions: whoever writes through
    `/dev/vda` and reads through `/dev/vda4` may see old bytes. Use one of the two throughout.
    """

    def __init__(self, path: str | os.PathLike[str], *, block_size: int | None = None) -> None:
        """Open for reading and writing. Without `block_size` a block device is asked; a file has 512."""
        self.path = os.fspath(path)
        with self._device_errors("cannot be opened"):
            self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            with self._device_errors("cannot be measured"):
                self.size = os.lseek(self._fd, 0, os.SEEK_END)
                self.block_size = block_size or self._ask_block_size()
            check_block_size(self.block_size, self.path)
            self.size -= self.size % self.block_size
        except (DeviceError, UsageError):
            os.close(self._fd)
            raise

    def _ask_block_size(self) -> int:
        if not stat.S_ISBLK(os.fstat(self._fd).st_mode):
            return 512
        answer = array.array("i", [0])
        fcntl.ioctl(self._fd, BLKSSZGET, answer)
        return answer[0]

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size, self.path)
        pieces: list[bytes] = []
        with self._device_errors(f"cannot read {length} bytes at {offset}"):
            while length > 0:
                piece = os.pread(self._fd, length, offset)
                if not piece:
                    raise DeviceError("device ended early", where=self.path, expected=self.size, found=offset)
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, offset: int, data: bytes) -> None:
        check_write(offset, len(data), self.size, self.block_size, self.path)
        rest = memoryview(data)
        with self._device_errors(f"cannot write {len(data)} bytes at {offset}"):
            while rest:
                done = os.pwrite(self._fd, rest, offset)
                offset += done
                rest = rest[done:]

    def sync(self) -> None:
        with self._device_errors("cannot sync"):
            os.fsync(self._fd)
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Give the file descriptor back; the device is then of no more use."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _device_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise DeviceError(what, where=self.path, found=e.strerror or str(e)) from e
