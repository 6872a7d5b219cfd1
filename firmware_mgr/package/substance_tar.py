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
OLD_REGULAR: Final = 0
#: Typeflags that are followed by content: files; pax and GNU records about the next member.
WITH_CONTENT: Final = b"0\0" + b"xgLK"
WITHOUT_CONTENT: Final = b"123456"

NAME: Final = slice(0, 100)
LONG_NAME: Final = ord("L")
PAX: Final = b"xg"
GLOBAL_PAX: Final = ord("g")

_OCTAL = re.compile(rb"[0-7]+[\0 ]*")


_RECORD = re.compile(rb"(\d{1,9}) ([A-Za-z0-9][^=\s]*)=")


class _Odd(Exception):
    """Readers would not agree on what the members are."""


def tar_signature(data: bytes, nest: Nest) -> Digest | None:
    """None when the archive is odd."""
    try:
        return _signature(data, nest)
    except _Odd:
        return None


def _signature(data: bytes, nest: Nest) -> Digest | None:
    if len(data) % BLOCK:
        return None
    parts: list[bytes | memoryview] = []
    at, name = 0, b""
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
        if header[TYPE] in REGULAR and size and _is_folder(header, name):
            return None
        name = _name_of_next(header[TYPE], content, name)
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


def _is_folder(header: bytes, name: bytes) -> bool:
    """Whether a regular member is a folder, without content, to some readers. `name` stood before it."""
    own = header[NAME].partition(b"\0")[0]
    if header[TYPE] == OLD_REGULAR:  # Python judges it before it looks at other names
        return own.endswith(b"/") or name.endswith(b"/")
    return (name or own).endswith(b"/")


def _name_of_next(kind: int, content: bytes, known: bytes) -> bytes:
    """What the next member is called, when records before it say so; pax before GNU. Raises _Odd."""
    if kind == LONG_NAME:
        return known or content.partition(b"\0")[0]
    if kind in PAX:
        path = _pax_path(content)
        if path and kind == GLOBAL_PAX:
            raise _Odd
        return path or known
    return known if kind in WITH_CONTENT and kind not in REGULAR else b""


def _pax_path(content: bytes) -> bytes:
    """The path in a pax header; empty when there is none. Raises _Odd."""
    path, at = b"", 0
    while at < len(content):
        record = _RECORD.match(content, at)
        end = at + int(record[1]) if record else at
        if not record or not record.end() < end <= len(content) or content[end - 1 : end] != b"\n":
            raise _Odd
        if record[2] == b"size" or record[2].startswith(b"GNU.sparse"):
            raise _Odd
        if record[2] == b"path":
            path = content[record.end() : end - 1]
        at = end
    return path


def _octal(field: bytes) -> int | None:
    return int(field.rstrip(b"\0 "), 8) if _OCTAL.fullmatch(field) else None
