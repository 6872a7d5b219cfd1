"""The bytes of a GUID partition table: UEFI specification 2.10, section 5.3; docs/SPEC-flash-layout.md.

Knows fields, sizes and checksums of one copy. Refuses to know devices, and which of two copies counts.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from uuid import UUID

from construct import Bytes, Const, ConstructError, Int8ul, Int16ul, Int32ul, Int64ul, Padding, Struct

from firmware_mgr.flash.errors import FlashFormatError

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNATURE = b"EFI PART"
REVISION_1_0 = 0x00010000
HEADER_SIZE = 92
ENTRY_SIZE = 128
ENTRY_COUNT = 128
NAME_SIZE = 72  # 36 UTF-16 code units
NO_TYPE = bytes(16)  # an entry of this type is unused
ATTRIBUTE_LEGACY_BOOT = 1 << 2  # UEFI 2.10, table 5.8
MBR_TYPE_PROTECTIVE = 0xEE
MBR_SIZE = 512

HEADER = Struct(
    "signature" / Const(SIGNATURE),
    "revision" / Const(REVISION_1_0, Int32ul),
    "header_size" / Const(HEADER_SIZE, Int32ul),
    "header_crc" / Int32ul,
    "reserved" / Const(0, Int32ul),
    "my_lba" / Int64ul,
    "alternate_lba" / Int64ul,
    "first_usable_lba" / Int64ul,
    "last_usable_lba" / Int64ul,
    "disk_guid" / Bytes(16),
    "entries_lba" / Int64ul,
    "entry_count" / Int32ul,
    "entry_size" / Const(ENTRY_SIZE, Int32ul),
    "entries_crc" / Int32ul,
)
assert HEADER.sizeof() == HEADER_SIZE

ENTRY = Struct(
    "type_guid" / Bytes(16),
    "guid" / Bytes(16),
    "first_lba" / Int64ul,
    "last_lba" / Int64ul,
    "attributes" / Int64ul,
    "name" / Bytes(NAME_SIZE),
)
assert ENTRY.sizeof() == ENTRY_SIZE

MBR = Struct(
    Padding(440),  # boot code
    "disk_signature" / Const(0, Int32ul),
    Padding(2),
    "boot_indicator" / Const(0, Int8ul),
    "first_chs" / Const(b"\x00\x02\x00"),
    "os_type" / Const(MBR_TYPE_PROTECTIVE, Int8ul),
    "last_chs" / Const(b"\xff\xff\xff"),
    "first_lba" / Const(1, Int32ul),
    "block_count" / Int32ul,
    "others" / Const(bytes(3 * 16)),
    "mark" / Const(0xAA55, Int16ul),
)
assert MBR.sizeof() == MBR_SIZE


@dataclass(frozen=True, slots=True)
class Entry:
    """One partition, in logical blocks; `last_lba` is the last block that belongs to it."""

    type_guid: UUID
    guid: UUID
    first_lba: int
    last_lba: int
    attributes: int
    name: str

    def encode(self) -> bytes:
        return bytes(
            ENTRY.build(
                {
                    "type_guid": self.type_guid.bytes_le,
                    "guid": self.guid.bytes_le,
                    "first_lba": self.first_lba,
                    "last_lba": self.last_lba,
                    "attributes": self.attributes,
                    "name": self.name.encode("utf-16-le").ljust(NAME_SIZE, b"\0"),
                }
            )
        )

    @classmethod
    def decode(cls, raw: bytes) -> Self | None:
        """The entry in ENTRY_SIZE bytes; None for an unused one. Broken UTF-16 in a name shows as U+FFFD."""
        if raw[:16] == NO_TYPE:
            return None
        e = ENTRY.parse(raw)
        name = e.name.decode("utf-16-le", "replace").split("\0", 1)[0]
        return cls(
            UUID(bytes_le=e.type_guid), UUID(bytes_le=e.guid), e.first_lba, e.last_lba, e.attributes, name
        )


@dataclass(frozen=True, slots=True)
class Header:
    """What one copy says of itself. The checksum of the entries has still to be compared with them."""

    my_lba: int
    alternate_lba: int
    first_usable_lba: int
    last_usable_lba: int
    disk_guid: UUID
    entries_lba: int
    entry_count: int
    entries_crc: int

    def encode(self) -> bytes:
        fields = {
            "header_crc": 0,
            "my_lba": self.my_lba,
            "alternate_lba": self.alternate_lba,
            "first_usable_lba": self.first_usable_lba,
            "last_usable_lba": self.last_usable_lba,
            "disk_guid": self.disk_guid.bytes_le,
            "entries_lba": self.entries_lba,
            "entry_count": self.entry_count,
            "entries_crc": self.entries_crc,
        }
        crc = zlib.crc32(HEADER.build(fields))
        return bytes(HEADER.build(fields | {"header_crc": crc}))

    @classmethod
    def decode(cls, raw: bytes, where: str) -> Self:
        """Read the first HEADER_SIZE bytes of `raw`. Raises FlashFormatError."""
        raw = raw[:HEADER_SIZE]
        try:
            h = HEADER.parse(raw)
        except ConstructError as e:
            raise FlashFormatError(
                "no partition table", where=where, expected=SIGNATURE, found=raw[:8].hex()
            ) from e
        crc = zlib.crc32(raw[:16] + bytes(4) + raw[20:])
        if crc != h.header_crc:
            raise FlashFormatError(
                "partition table header's CRC differs",
                where=where,
                expected=f"{h.header_crc:08x}",
                found=f"{crc:08x}",
            )
        if not 1 <= h.entry_count <= ENTRY_COUNT:
            raise FlashFormatError(
                "odd number of entries", where=where, expected="1 to 128", found=h.entry_count
            )
        return cls(
            h.my_lba,
            h.alternate_lba,
            h.first_usable_lba,
            h.last_usable_lba,
            UUID(bytes_le=h.disk_guid),
            h.entries_lba,
            h.entry_count,
            h.entries_crc,
        )


def encode_entries(entries: Sequence[Entry]) -> bytes:
    """All ENTRY_COUNT entries, unused ones as zeros."""
    return b"".join(entry.encode() for entry in entries).ljust(ENTRY_COUNT * ENTRY_SIZE, b"\0")


def decode_entries(raw: bytes, header: Header, where: str) -> tuple[Entry, ...]:
    """The used entries. Raises FlashFormatError when the header's checksum is not theirs."""
    crc = zlib.crc32(raw)
    if crc != header.entries_crc:
        raise FlashFormatError(
            "partition entries' CRC differs",
            where=where,
            expected=f"{header.entries_crc:08x}",
            found=f"{crc:08x}",
        )
    pieces = (raw[at : at + ENTRY_SIZE] for at in range(0, len(raw), ENTRY_SIZE))
    return tuple(entry for piece in pieces if (entry := Entry.decode(piece)) is not None)


def encode_protective_mbr(block_count: int) -> bytes:
    """The MBR of a device of `block_count` blocks: its one partition is the whole device but block 0."""
    return bytes(MBR.build({"block_count": min(block_count - 1, 0xFFFFFFFF)}))
