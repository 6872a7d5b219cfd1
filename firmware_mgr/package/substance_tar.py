"""What of a tar archive can change behaviour: all but times. SPEC-substance, POSIX ustar and GNU tar."""

from __future__ import annotations

import re
from typing import Final

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.substance import BY_CONTENT, Nest, digest_of

TAR_MAGIC: Final = b"ustar"
TAR_MAGIC_AT: Final = 257
RULE: Final = b"fwmgr tar substance 1"
BLOCK: Final = 512
SIZE: Final = slice(124, 136)
TIME: Final = slice(136, 148)
CHECKSUM: Final = slice(148, 156)
TYPE: Final = 156
REGULAR: Final = b"0\0"
#: Typeflags that are followed by content: files; pax and GNU records about the next member.
WITH_CONTENT: Final = b"0\0" + b"xgLK"
WITHOUT_CONTENT: Final = b"123456"

_OCTAL = re.compile(rb"[0-7]+[\0 ]*")


def tar_signature(data: bytes, nest: Nest) -> Digest | None:
    """None when the archive is odd."""
    if len(data) % BLOCK:
        return None
    parts: list[bytes | memoryview] = []
    at = 0
    while any(header := data[at : at + BLOCK]):
        size = _size(header)
        if size is None:
            return None
        kept = bytearray(header)
        kept[TIME] = bytes(12)
        kept[CHECKSUM] = bytes(8)
        start = at + BLOCK
        at = start + -(-size // BLOCK) * BLOCK
        content = data[start : start + size]
        if len(content) != size or any(data[start + size : at]):
            return None
        judged = nest.content(content) if header[TYPE] in REGULAR else (BY_CONTENT, content)
        parts += [bytes(kept), *judged]
    rest = data[at:]
    if len(rest) < 2 * BLOCK or any(rest):
        return None
    return digest_of(RULE, (*parts, len(rest).to_bytes(8, "big")))


def _size(header: bytes) -> int | None:
    """The length of the member's content; None when the header is odd."""
    size, time, checksum = (_octal(header[place]) for place in (SIZE, TIME, CHECKSUM))
    kind = header[TYPE]
    if not header.startswith(TAR_MAGIC, TAR_MAGIC_AT) or None in (size, time, checksum):
        return None
    if sum(header) - sum(header[CHECKSUM]) + 8 * ord(" ") != checksum:
        return None
    if kind in WITH_CONTENT:
        return size
    return 0 if kind in WITHOUT_CONTENT and size == 0 else None


def _octal(field: bytes) -> int | None:
    return int(field.rstrip(b"\0 "), 8) if _OCTAL.fullmatch(field) else None
