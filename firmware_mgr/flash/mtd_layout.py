"""What MTD devices are asked with ioctl: request numbers and structures of Linux's `mtd/mtd-abi.h`.

Knows bytes. Refuses to know devices. Numbers are those of the generic `_IOC` (asm-generic/ioctl.h), as on
x86, arm and arm64; integers are the CPU's.
"""

from __future__ import annotations

from construct import Int8un, Int32un, Int64sn, Int64un, Padding, Struct

_WRITE, _READ = 1, 2


def _request(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("M") << 8 | number


INFO = Struct(  # struct mtd_info_user
    "type" / Int8un,
    Padding(3),
    "flags" / Int32un,
    "size" / Int32un,
    "erase_size" / Int32un,
    "page_size" / Int32un,
    "oob_size" / Int32un,
    Padding(8),
)
ERASE = Struct("start" / Int32un, "length" / Int32un)  # struct erase_info_user
ERASE_64 = Struct("start" / Int64un, "length" / Int64un)  # struct erase_info_user64
OFFSET = Struct("offset" / Int64sn)  # __kernel_loff_t
ECC_STATS = Struct(  # struct mtd_ecc_stats
    "corrected" / Int32un, "failed" / Int32un, "bad_blocks" / Int32un, "table_blocks" / Int32un
)

MEMGETINFO = _request(_READ, 1, INFO.sizeof())
MEMUNLOCK = _request(_WRITE, 6, ERASE.sizeof())
MEMGETBADBLOCK = _request(_WRITE, 11, OFFSET.sizeof())
MEMSETBADBLOCK = _request(_WRITE, 12, OFFSET.sizeof())
ECCGETSTATS = _request(_READ, 18, ECC_STATS.sizeof())
MEMERASE64 = _request(_WRITE, 20, ERASE_64.sizeof())

assert (INFO.sizeof(), ERASE_64.sizeof(), ECC_STATS.sizeof()) == (32, 16, 16)

#: Kinds of device.
RAM, NOR, NAND, MLC_NAND = 1, 3, 4, 8
#: Flags of a device.
WRITABLE = 0x400
LOCKED_AT_POWER_ON = 0x2000
