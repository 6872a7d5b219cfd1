"""What all tables share as bytes: texts, numbers that stand for values, and the funnel for what goes wrong.

Knows how a table's body is read to its end. Refuses to know any table.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from construct import Construct, ConstructError, Container

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package import layout
from firmware_mgr.package.errors import PackageFormatError
from firmware_mgr.package.layout_tables import TABLE_NAMES
from firmware_mgr.package.module import ModuleKind
from firmware_mgr.package.pieces import Compression

KIND_CODES: Mapping[int, ModuleKind] = {
    1: ModuleKind.SERVER_BINARY,
    2: ModuleKind.PROGRAM,
    3: ModuleKind.SHARED_LIBRARY,
    4: ModuleKind.CONFIG,
    5: ModuleKind.DATA,
    6: ModuleKind.SYMLINK,
    7: ModuleKind.DIRECTORY,
}
CPU_CODES: Mapping[int, CpuArch | None] = {0: None, 1: CpuArch.AARCH64, 2: CpuArch.ARMV7, 3: CpuArch.X86_64}
COMPRESSION_CODES: Mapping[int, Compression] = {0: Compression.NONE, 1: Compression.ZSTD}
FLAG_CODES: Mapping[int, bool] = {0: False, 1: True}

_Value = TypeVar("_Value", bound=Enum | bool | None)
_Record = TypeVar("_Record")


@dataclass(slots=True)
class Place:
    """Where in the file a reader is: it goes into every complaint."""

    where: str
    part: str = "table of contents"


@contextmanager
def reading(place: Place) -> Iterator[None]:
    """Whatever is wrong with the bytes becomes a PackageFormatError that says where."""
    try:
        yield
    except UsageError as e:
        spot = f"{place.where}: {place.part}"
        where = f"{spot}: {e.where}" if e.where else spot
        raise PackageFormatError(e.what, where=where, expected=e.expected, found=e.found) from e
    except UnicodeDecodeError as e:
        spot = f"{place.where}: {place.part}"
        raise PackageFormatError("text is not UTF-8", where=spot, found=e.reason) from e
    except ConstructError as e:
        reason = str(e).strip().splitlines()[0]
        spot = f"{place.where}: {place.part}"
        raise PackageFormatError("ends too early or out of bounds", where=spot, found=reason) from e


def table_bodies(data: bytes, kinds: tuple[int, ...], place: Place, limit: int) -> list[bytes]:
    """The bodies of exactly these tables in this order. To be called within `reading`."""
    if len(data) > limit:
        raise UsageError("table of contents is too long", expected=f"{limit} at most", found=len(data))
    stream = io.BytesIO(data)
    bodies = []
    for kind in kinds:
        place.part = TABLE_NAMES[kind]
        table = layout.TABLE.parse_stream(stream)
        if (table.kind, table.reserved) != (kind, 0):
            raise UsageError(
                "wrong kind of table", expected=f"{kind}, reserved 0", found=(table.kind, table.reserved)
            )
        bodies.append(bytes(table.body))
    place.part = "table of contents"
    at_end(stream)
    return bodies


def only(body: bytes, record: Construct) -> Container:
    """The one record that a body is."""
    stream = io.BytesIO(body)
    found = record.parse_stream(stream)
    at_end(stream)
    return found


def records(
    body: bytes, count: Construct, record: Construct, convert: Callable[[Container], _Record]
) -> tuple[_Record, ...]:
    """A count and that many records; each is converted before the next is read."""
    stream = io.BytesIO(body)
    found = records_in(stream, count, record, convert)
    at_end(stream)
    return found


def records_in(
    stream: io.BytesIO, count: Construct, record: Construct, convert: Callable[[Container], _Record]
) -> tuple[_Record, ...]:
    """As `records`, of a part of a body."""
    return tuple(convert(record.parse_stream(stream)) for _ in range(count.parse_stream(stream)))


def at_end(stream: io.BytesIO) -> None:
    """Raise UsageError when there is more."""
    rest = len(stream.read())
    if rest:
        raise UsageError("bytes are left over", expected=0, found=rest)


def text(raw: bytes) -> str:
    """Raises UnicodeDecodeError."""
    return bytes(raw).decode("utf-8", "strict")


def texts(raw: list[bytes]) -> tuple[str, ...]:
    """Raises UnicodeDecodeError."""
    return tuple(text(one) for one in raw)


def pair(name: str, content: str) -> dict[str, bytes]:
    """For a list of pairs."""
    return {"name": name.encode(), "value": content.encode()}


def value(codes: Mapping[int, _Value], number: int, what: str, where: str) -> _Value:
    """What the number stands for. Raises UsageError."""
    try:
        return codes[number]
    except KeyError:
        known = ", ".join(str(code) for code in codes)
        raise UsageError(f"unknown {what}", where=where, expected=f"one of {known}", found=number) from None


def code(codes: Mapping[int, _Value], wanted: _Value) -> int:
    """The number that stands for it."""
    return next(number for number, one in codes.items() if one is wanted)


def reserved(number: int, where: str) -> None:
    """Raise UsageError when it is not zero."""
    if number:
        raise UsageError("reserved field is not zero", where=where, expected=0, found=number)


def build_tables(bodies: Mapping[int, bytes]) -> bytes:
    """Tables in the order given."""
    tables = [layout.TABLE.build({"kind": k, "reserved": 0, "body": body}) for k, body in bodies.items()]
    return b"".join(tables)
