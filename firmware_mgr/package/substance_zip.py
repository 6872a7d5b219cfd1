"""What of a zip archive can change behaviour: all but dates. SPEC-substance, PKWARE's APPNOTE 6.3.

Knows plain archives that hold member after member, as packers of wheels and jars write them.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.substance import BY_CONTENT, BY_RULE, Nest, digest_of
from firmware_mgr.package.substance_python import is_timed

ZIP_MAGIC: Final = b"PK\3\4"
CENTRAL_MAGIC: Final = b"PK\1\2"
END_MAGIC: Final = b"PK\5\6"
DESCRIPTOR_MAGIC: Final = b"PK\7\x08"
RULE: Final = b"fwmgr zip substance 1"
LOCAL: Final = struct.Struct("<4sHHH4sIIIHH")  # §4.3.7; the 4 bytes are time and date
CENTRAL: Final = struct.Struct("<4sHHHH4sIIIHHHHHII")  # §4.3.12
END: Final = struct.Struct("<4sHHHHIIH")  # §4.3.16
SIZES: Final = struct.Struct("<4sIII")  # §4.3.9, with its magic
DESCRIPTOR_FLAG: Final = 0x0008
UTF8_FLAG: Final = 0x0800
KNOWN_FLAGS: Final = 0x0006 | DESCRIPTOR_FLAG | UTF8_FLAG  # 6: how well deflated
STORED: Final = 0
DEFLATED: Final = 8
EXTRA_TIMES: Final = 0x5455
TIMES_LENGTHS: Final = (5, 9, 13)  # which times, then one to three of them
EXTRA_ZIP64: Final = 0x0001
RAW: Final = -15  # zlib: deflate without a header


@dataclass(frozen=True, slots=True)
class _Member:
    """A line of the central directory: `kept` are its fields that count, whatever its content."""

    name: bytes
    flags: int
    method: int
    sums: tuple[int, int, int]  # CRC-32, stored length, length
    offset: int
    kept: tuple[bytes, ...]

    @property
    def path(self) -> str:
        """The name as Python's zipimport reads it."""
        return self.name.decode("utf-8" if self.flags & UTF8_FLAG else "cp437")


def zip_signature(data: bytes, nest: Nest) -> Digest | None:
    """None when the archive is odd."""
    try:
        members, directory = _directory(data)
        sources = {member.path for member in members}
        parts: list[bytes] = []
        at = 0
        for member in members:
            if member.offset != at:
                return None
            local, stored, at = _local(data, member)
            plain = _plain(member, stored, nest)
            # Which of both is loaded goes by the time in the one and the date of the other.
            if (
                member.path.endswith(".pyc")
                and member.path[:-1] in sources
                and (not plain or is_timed(plain))
            ):
                return None
            parts += [*member.kept, *local, *_content(member, stored, plain, nest)]
        return digest_of(RULE, parts) if at == directory else None
    except (struct.error, UnicodeDecodeError, _Odd):
        return None


class _Odd(Exception):
    """Something that no packer of ours writes."""


def _directory(data: bytes) -> tuple[list[_Member], int]:
    """The members in their order, and where the directory begins."""
    end_at = len(data) - END.size
    if end_at < 0:
        raise _Odd
    magic, disk, first_disk, here, entries, size, offset, comment = END.unpack_from(data, end_at)
    if (
        (magic, disk, first_disk, comment) != (END_MAGIC, 0, 0, 0)
        or here != entries
        or offset + size != end_at
    ):
        raise _Odd
    members, at = [], offset
    for _ in range(entries):
        (
            magic, made_by, needed, flags, method, _time, crc, stored, length,
            name_length, extra_length, comment_length, disk, internal, external, place,
        ) = CENTRAL.unpack_from(data, at)  # fmt: skip
        if magic != CENTRAL_MAGIC or flags & ~KNOWN_FLAGS or method not in (STORED, DEFLATED) or disk:
            raise _Odd
        name, at = _slice(data, at + CENTRAL.size, name_length)
        extra, at = _slice(data, at, extra_length)
        comment, at = _slice(data, at, comment_length)
        fixed = struct.pack("<HHHHHI", made_by, needed, flags, method, internal, external)
        kept = (name, fixed, _extra(extra), comment)
        members.append(_Member(name, flags, method, (crc, stored, length), place, kept))
    names = {member.name for member in members}
    if at != end_at or len(names) != len(members):
        raise _Odd
    return members, offset


def _local(data: bytes, member: _Member) -> tuple[tuple[bytes, ...], bytes, int]:
    """What counts of the header before the content, the stored bytes, and where the next member begins."""
    magic, needed, flags, method, _time, *sums, name_length, extra_length = LOCAL.unpack_from(
        data, member.offset
    )
    behind = bool(flags & DESCRIPTOR_FLAG)
    legal = [member.sums, (0, 0, 0)] if behind else [member.sums]
    if (magic, flags, method) != (ZIP_MAGIC, member.flags, member.method) or tuple(sums) not in legal:
        raise _Odd
    name, at = _slice(data, member.offset + LOCAL.size, name_length)
    extra, at = _slice(data, at, extra_length)
    stored, at = _slice(data, at, member.sums[1])
    if name != member.name:
        raise _Odd
    if behind:
        if SIZES.unpack_from(data, at) != (DESCRIPTOR_MAGIC, *member.sums):
            raise _Odd
        at += SIZES.size
    said = b"sizes before" if any(sums) else b"sizes behind"
    return (struct.pack("<H", needed), _extra(extra), said), stored, at


def _plain(member: _Member, stored: bytes, nest: Nest) -> bytes | None:
    """The member's bytes, found right; None when that many may not be unpacked."""
    crc, _, length = member.sums
    plain = None
    if member.method == STORED:
        plain = stored
    elif nest.take(length):
        unpacker = zlib.decompressobj(RAW)
        try:
            plain = unpacker.decompress(stored, length + 1)
        except zlib.error:
            raise _Odd from None
        if not unpacker.eof or unpacker.unused_data:
            raise _Odd
    if plain is not None and (len(plain) != length or zlib.crc32(plain) != crc):
        raise _Odd
    return plain


def _content(member: _Member, stored: bytes, plain: bytes | None, nest: Nest) -> tuple[bytes, ...]:
    found = None if plain is None else nest.member(plain)
    if found is not None:
        return BY_RULE, found.to_bytes()
    return BY_CONTENT, struct.pack("<III", *member.sums), stored


def _extra(data: bytes) -> bytes:
    """Extra fields without that of times."""
    kept, at = b"", 0
    while at < len(data):
        number, length = struct.unpack_from("<HH", data, at)
        field, at = _slice(data, at, 4 + length)
        if number == EXTRA_ZIP64:
            raise _Odd
        if number != EXTRA_TIMES or length not in TIMES_LENGTHS:
            kept += field
    return kept


def _slice(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    found = data[at : at + length]
    if len(found) != length:
        raise _Odd
    return found, at + length
