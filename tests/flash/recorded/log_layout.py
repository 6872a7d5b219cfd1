"""The bytes of a log of writes as QEMU's filter blklogwrites makes it: format dm-log-writes, version 1.

Linux, drivers/md/dm-log-writes.c; QEMU 7.2, block/blklogwrites.c. Little endian. In sector 0 the head, from
sector 1 on the entries: each begins at a sector of its own, its data at the next. Refuses to know what the
writes are of.
"""

from __future__ import annotations

from enum import IntFlag

from construct import Const, Int32ul, Int64ul, Struct

MAGIC = 0x6A736677736872
VERSION = 1

#: `entries` is brought up to date at each flush, and now and then: after a kill there are more.
HEAD = Struct(
    "magic" / Const(MAGIC, Int64ul),
    "version" / Const(VERSION, Int64ul),
    "entries" / Int64ul,
    "sector_size" / Int32ul,
)
assert HEAD.sizeof() == 28

#: `sector` and `sectors` count the log's sectors. Data follow unless the entry is a discard.
ENTRY = Struct("sector" / Int64ul, "sectors" / Int64ul, "flags" / Int64ul, "data_length" / Int64ul)
assert ENTRY.sizeof() == 32


class Flag(IntFlag):
    """None set: a write of data, or of zeros, which stand in the log too."""

    FLUSH = 1
    FUA = 2
    DISCARD = 4
    MARK = 8
