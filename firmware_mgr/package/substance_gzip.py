"""What of a gzip file can change behaviour: all but the time in its header. SPEC-substance, RFC 1952."""

from __future__ import annotations

import zlib
from typing import Final

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.substance import Nest, digest_of

GZIP_MAGIC: Final = b"\x1f\x8b\x08"
RULE: Final = b"fwmgr gzip substance 1"
HEADER_SIZE: Final = 10
TIME: Final = slice(4, 8)
FEXTRA: Final = 4
FNAME: Final = 8
FCOMMENT: Final = 16
KNOWN_FLAGS: Final = 1 | FEXTRA | FNAME | FCOMMENT  # FHCRC, a checksum of the time too, is odd
TRAILER_SIZE: Final = 8
RAW: Final = -15  # zlib: deflate without a header


def gzip_signature(data: bytes, nest: Nest) -> Digest | None:
    """None when the file is odd."""
    start = _header_length(data)
    if start is None:
        return None
    header = bytearray(data[:start])
    header[TIME] = bytes(4)
    length = int.from_bytes(data[-4:], "little")
    inside = _unpacked(data, start, length) if nest.take(length) else None
    if inside is None:
        return None
    found = nest.member(inside)
    if found is not None:
        return digest_of(RULE, (header, found.to_bytes()))
    return digest_of(RULE, (header, data[start:], b""))


def _header_length(data: bytes) -> int | None:
    """None when it is no header of one that is known here."""
    if len(data) < HEADER_SIZE + TRAILER_SIZE or data[3] & ~KNOWN_FLAGS:
        return None
    at, flags = HEADER_SIZE, data[3]
    if flags & FEXTRA:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (FNAME, FCOMMENT):
        if flags & flag:
            at = data.find(b"\0", at) + 1
            if not at:
                return None
    return at if at <= len(data) - TRAILER_SIZE else None


def _unpacked(data: bytes, start: int, length: int) -> bytes | None:
    """What is in it; None when that is not all, not of this length, or not right."""
    unpacker = zlib.decompressobj(RAW)
    try:
        inside = unpacker.decompress(data[start:], length + 1)
    except zlib.error:
        return None
    right = (
        unpacker.eof
        and len(inside) == length
        and unpacker.unused_data == data[-TRAILER_SIZE:]
        and zlib.crc32(inside) == int.from_bytes(data[-TRAILER_SIZE:-4], "little")
    )
    return inside if right else None
