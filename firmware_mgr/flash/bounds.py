"""The rules that every flash device keeps: inside its size, whole blocks when writing.

Knows numbers only. A breach is the caller's fault.
"""

from __future__ import annotations

from firmware_mgr.model.errors import UsageError

#: Write granularities that devices may have, in bytes: sectors, and erase blocks of MTD flash.
BLOCK_SIZES = (512, *(1 << shift for shift in range(12, 21)))


def check_block_size(block_size: int, where: str) -> None:
    """Raise UsageError unless `block_size` is one that the house supports."""
    if block_size not in BLOCK_SIZES:
        raise UsageError(
            "unsupported block size",
            where=where,
            expected="512, or a power of two from 4096 to 1 MiB",
            found=block_size,
        )


def check_range(offset: int, length: int, size: int, where: str) -> None:
    """Raise UsageError unless `length` bytes from `offset` lie inside `size`."""
    if offset < 0 or length < 0 or offset + length > size:
        raise UsageError(
            "outside the device",
            where=where,
            expected=f"bytes 0 to {size}",
            found=f"{offset} to {offset + length}",
        )


def check_write(offset: int, length: int, size: int, block_size: int, where: str) -> None:
    """Raise UsageError unless the write lies inside and consists of whole blocks."""
    check_range(offset, length, size, where)
    if offset % block_size or length % block_size:
        raise UsageError(
            "write is not in whole blocks",
            where=where,
            expected=f"multiples of {block_size}",
            found=f"offset {offset}, length {length}",
        )
