"""A file byte by byte: offsets, bytes, field names and values, as far as a damaged one can be read.

Knows the layouts. Judges nothing and trusts nothing: what it says of a file is for a person's eyes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from construct import Construct, ConstructError, Container

from firmware_mgr.package import layout, layout_1
from firmware_mgr.package import layout_tables as lt
from firmware_mgr.package.layout import FORMAT_1, HEADER, HEADER_SIZE

#: What of a field's bytes is shown.
MAX_BYTES = 16
#: What of a file is needed: the longest legal head.
MAX_DUMPED = HEADER_SIZE + 4 + layout.SIGNATURES_MAX * 96 + layout.MAX_TABLE
#: Lines for one part: a damaged count shall not fill a disk.
MAX_LINES = 100_000


@dataclass(frozen=True, slots=True)
class DumpLine:
    """`offset` from the beginning of the file; a heading has no bytes."""

    offset: int
    raw: bytes
    name: str
    value: str
    length: int = 0


def dump_lines(data: bytes, length: int | None = None) -> Iterator[DumpLine]:
    """Header, signatures and tables of a file that begins so; of content only where it lies.

    `length` is that of the file, when `data` is only its beginning.
    """
    length = len(data) if length is None else length
    yield DumpLine(0, b"", "header", "")
    yield from _fields(HEADER, data[:HEADER_SIZE], 0, "")
    if len(data) < HEADER_SIZE:
        return
    header = HEADER.parse(data[:HEADER_SIZE])
    computed = layout.crc32c(data[: layout.CRC_OFFSET])
    if computed != header.crc32c:
        yield DumpLine(layout.CRC_OFFSET, b"", "damaged", f"CRC-32C is {computed:08x}")
    signatures, table, content = header.sections
    yield DumpLine(signatures.offset, b"", "signatures", f"{signatures.length} bytes")
    block = _part(data, signatures.offset, signatures.length)
    start = layout.SIGNATURES_HEAD.sizeof()
    yield from _fields(layout.SIGNATURES_HEAD, block[:start], signatures.offset, "")
    size = layout.SIGNATURE.sizeof()
    for number, at in enumerate(range(start, len(block), size)):
        part = block[at : at + size]
        yield from _fields(layout.SIGNATURE, part, signatures.offset + at, f"[{number}].")
    yield DumpLine(table.offset, b"", "table of contents", f"{table.length} bytes")
    body = _part(data, table.offset, min(table.length, layout.MAX_TABLE))
    yield from _tables(body, table.offset, header.version)
    yield DumpLine(content.offset, b"", "content", f"{content.length} bytes")
    if header.total_length != length:
        yield DumpLine(length, b"", "end of file", f"the header says {header.total_length} bytes")


def _part(data: bytes, start: int, length: int) -> bytes:
    return data[start : start + length]


def _tables(data: bytes, base: int, version: int) -> Iterator[DumpLine]:
    at = 0
    while at < len(data):
        head = data[at : at + 8]
        kind, length = int.from_bytes(head[:2], "big"), int.from_bytes(head[4:], "big")
        name = lt.TABLE_NAMES.get(kind, f"table of unknown kind {kind}")
        yield DumpLine(base + at, head, name, f"{length} bytes", 8)
        body = data[at + 8 : at + 8 + length]
        if len(head) < 8 or len(body) < length:
            said = f"{8 + length} bytes expected from {base + at}"
            yield DumpLine(base + len(data), b"", "ends too early", said)
        start = base + at + 8
        if kind in COUNTED:
            count, record, old = COUNTED[kind]
            yield from _counted(body, start, count, old if version == FORMAT_1 else record)
        elif kind in SINGLE:
            record, old = SINGLE[kind]
            yield from _fields(old if version == FORMAT_1 else record, body, start, "")
        at += 8 + length


def _counted(body: bytes, base: int, size: int, record: Construct) -> Iterator[DumpLine]:
    count = int.from_bytes(body[:size], "big")
    yield DumpLine(base, body[:size], "count", str(count), size)
    stream = io.BytesIO(body)
    stream.seek(size)
    for number in range(min(count, MAX_LINES)):
        before = stream.tell()
        yield from _walk(record, stream, base, f"[{number}].")
        if stream.tell() == before or stream.tell() >= len(body):
            break
    yield from _rest(stream, base)


def _fields(record: Construct, data: bytes, base: int, prefix: str) -> Iterator[DumpLine]:
    stream = io.BytesIO(data)
    yield from _walk(record, stream, base, prefix)
    yield from _rest(stream, base)


def _rest(stream: io.BytesIO, base: int) -> Iterator[DumpLine]:
    at, rest = base + stream.tell(), stream.read()
    if rest:
        yield DumpLine(at, rest[:MAX_BYTES], "left over", f"{len(rest)} bytes", len(rest))


def _walk(record: Construct, stream: io.BytesIO, base: int, prefix: str) -> Iterator[DumpLine]:
    """Field by field, until one cannot be read."""
    for field in record.subcons:
        start, name = stream.tell(), f"{prefix}{field.name}"
        try:
            value = field.parse_stream(stream)
        except ConstructError:
            rest = stream.getvalue()[start:]
            stream.seek(0, io.SEEK_END)
            yield DumpLine(base + start, rest[:MAX_BYTES], name, "cannot be read", len(rest))
            return
        raw = stream.getvalue()[start : stream.tell()]
        if field.name in _LISTS:
            size, one = _LISTS[field.name]
            yield DumpLine(base + start, raw[:size], name, f"{len(value)}", len(raw))
            stream.seek(start + size)
            for number in range(len(value)):
                yield from _walk(one, stream, base, f"{name}[{number}].")
        else:
            yield DumpLine(base + start, raw[:MAX_BYTES], name, _shown(value), len(raw))


def _shown(value: Any) -> str:
    """Numbers as they are, text in quotes, other bytes in hex."""
    if isinstance(value, bytes):
        text = value.decode("utf-8", "replace")
        plain = text.isprintable() and "�" not in text and len(value) != 32
        return repr(text) if plain else value.hex()
    if isinstance(value, Container):
        return " ".join(_shown(one) for name, one in value.items() if name != "_io")
    if isinstance(value, list):
        return "[" + ", ".join(_shown(one) for one in value) + "]"
    return str(value)


#: Tables of counted records: size of the count, the record, and that of format 1.
COUNTED = {
    lt.TABLE_MODULES: (4, lt.MODULE, layout_1.MODULE),
    lt.TABLE_PROCESSES: (2, lt.PROCESS, lt.PROCESS),
    lt.TABLE_GROUPS: (2, lt.GROUP, lt.GROUP),
    lt.TABLE_MEMBERS: (2, lt.MEMBER, lt.MEMBER),
}
#: Tables of one record.
SINGLE = {
    lt.TABLE_PACKAGE: (lt.PACKAGE, layout_1.PACKAGE),
    lt.TABLE_BUNDLE: (lt.BUNDLE, lt.BUNDLE),
    lt.TABLE_TARGETS: (lt.TARGETS, lt.TARGETS),
}
#: Fields that are lists of records, shown record by record: size of the count, the record.
_LISTS = {
    "sections": (0, layout.SECTION),
    "pieces": (4, lt.PIECE),
    "files": (2, lt.FILE),
}
