"""Where the fuzzer of packages begins: the golden files and their parts, and small files for each rule of §6.

`python -m tests.hostile.package_seeds` puts them into var/fuzz/package/.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import marshal
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any

import zstandard
from construct import ConstructError, Container, GreedyRange

from firmware_mgr.package import layout
from firmware_mgr.package import layout_tables as lt
from firmware_mgr.package.byte_dump import COUNTED, SINGLE
from firmware_mgr.package.head import parse_header
from firmware_mgr.package.layout import HEADER_SIZE, EnvelopeKind
from firmware_mgr.package.substance_python import PYTHON_MAGIC
from tests.package.elf_bytes import INTERPRETER, NOTES, build_id, debug_link, elf, text
from tests.package.goldens import GOLDENS
from tests.package.samples_bundle import INFORMATION

from . import package_house as house
from .fuzz import FOUND


def seeds() -> list[bytes]:
    """Each with the byte before it that says what it is played as."""
    found = [(house.WHOLE, golden.data) for golden in GOLDENS]
    for golden in GOLDENS:
        header = parse_header(golden.data[:HEADER_SIZE])
        found.append((house.HEADER, golden.data[: header.table_offset]))
        found.append((house.HEADER, golden.data[:99]))
    found.append((house.INFORMATION, json.dumps(INFORMATION.document()).encode()))
    found += [(house.SUBSTANCE, data) for data in substances()]
    paths = (b"usr/bin/a\0../lib/b", b"a\0b/c", b"bin/sh\0x", "ä/ö\0ß".encode())
    found += [(house.PATHS, data) for data in paths]
    found += [(house.DUMP, golden.data) for golden in GOLDENS[:2]]
    found += [*tables(), *wrong_tables(), *other_members()]
    found += [(house.HEADER, data) for data in wrong_headers()]
    found += [(house.PIECES, data) for data in stored_pieces()]
    found += [(house.WHOLE, data) for data in wrong_files()]
    found += [(house.INFORMATION, json.dumps(document).encode()) for document in INFORMATIONS]
    found += [(house.SUBSTANCE, cut) for data in substances() for cut in (data[:-1], data + b"x", data[:40])]
    return [bytes([kind]) + data for kind, data in found]


_TABLES = {
    EnvelopeKind.PACKAGE: house.TABLE,
    EnvelopeKind.SET: house.SET,
    EnvelopeKind.COMPOSITE: house.COMPOSITE,
}


#: Values that are wrong in most fields.
NUMBERS = (0, 1, 2, 255, 512, 1 << 20, 0xFFFF_FFFF, (1 << 63) + 1)
BYTES = (b"", b"..", b"A b", b"\xff", b"a\0b", b"x" * 300, b"a/" * 600, b"/", b"1/3")
INFORMATIONS: tuple[Any, ...] = (
    [],
    {"format": 2},
    {"format": 1, "more": 1},
    {"format": 1, "cards": [{}]},
    {"format": 1, "cards": [{"slot": 3}]},
    {"format": 1, "cards": [{"board": "b", "location": "\n"}, {"board": "b"}]},
    {"format": 1, "cards": [{"board": "b"}, {"board": "b"}]},
    {"format": 1, "cards": [{"board": "b", "packages": ["a", "a"], "features": ["b", "a"]}]},
    {"format": 1, "cards": [{"board": "b", "features": ["b", "a"]}]},
    {"format": 1, "cards": {}, "classes": []},
    {"format": 1, "classes": []},
    {"format": 1, "cards": {}},
    {"format": 1, "preferred": {"images": {"b": "1 2"}}},
    {"format": 1.5},
    {"format": 12345678901},
    [[[[[[[[[]]]]]]]]],
)
#: Of a golden table's records, this many are changed.
CHANGED_RECORDS = 9


def wrong_tables() -> Iterator[tuple[int, bytes]]:
    """The golden files' tables with one field of one record changed at a time."""
    for kind, table in tables():
        parts = list(GreedyRange(layout.TABLE).parse(table))
        for index, part in enumerate(parts):
            for body in wrong_bodies(part.kind, part.body, 1 if kind == house.TABLE_1 else 2):
                changed = [*parts[:index], {**part, "body": body}, *parts[index + 1 :]]
                yield kind, b"".join(map(layout.TABLE.build, changed))


def other_members() -> Iterator[tuple[int, bytes]]:
    """Members that a set, or a composite image, may not have."""
    table = next(data for kind, data in tables() if kind == house.COMPOSITE)
    about, targets, members = GreedyRange(layout.TABLE).parse(table)
    yield house.SET, layout.TABLE.build(about) + layout.TABLE.build(members)
    found = list(lt.MEMBER[3].parse(members.body[2:]))
    again = {**found[2], "version": b"2", "files": []}
    for changed in ([*found, {**found[2], "version": b"2"}], [*found, again]):
        body = len(changed).to_bytes(2, "big") + b"".join(map(lt.MEMBER.build, changed))
        last = layout.TABLE.build({**members, "body": body})
        yield house.COMPOSITE, layout.TABLE.build(about) + layout.TABLE.build(targets) + last
    image = found[0]
    below = [*image.files[:2], {**image.files[1], "name": b"net", "offset": image.files[2].offset}]
    low = {**image, "files": [*below, image.files[2]]}
    body = members.body[:2] + b"".join(map(lt.MEMBER.build, [low, *found[1:]]))
    last = layout.TABLE.build({**members, "body": body})
    yield house.COMPOSITE, layout.TABLE.build(about) + layout.TABLE.build(targets) + last


def tables() -> Iterator[tuple[int, bytes]]:
    """The tables of contents of the golden files, each with what it is played as."""
    for golden in GOLDENS:
        header = parse_header(golden.data[:HEADER_SIZE])
        kind = house.TABLE_1 if header.version == 1 else _TABLES[header.kind]
        yield kind, golden.data[header.table_offset : header.content_offset]


def wrong_headers() -> Iterator[bytes]:
    """Header and signatures with one field changed."""
    for golden in GOLDENS[:2]:
        header = parse_header(golden.data[:HEADER_SIZE])
        rest = golden.data[HEADER_SIZE : header.table_offset]
        for changed in wrong_records(layout.HEADER.parse(header.raw)):
            try:
                yield layout.HEADER.build(changed) + rest
            except (ConstructError, TypeError):
                continue
        yield header.raw + rest[:-1]
        yield header.raw + b"\0\1\0\1" + rest[4:]
        yield header.raw + b"\0\2\0\0" + rest[4:]
        two = layout.HEADER.parse(header.raw)
        two.sections[0].length += 96
        two.sections[1].offset += 96
        two.sections[2].offset += 96
        two.total_length += 96
        yield layout.HEADER.build(two) + b"\0\2\0\0" + rest[4:] + rest[4:]


def wrong_files() -> Iterator[bytes]:
    """The golden files with other content, and as another kind."""
    for golden in GOLDENS:
        header = parse_header(golden.data[:HEADER_SIZE])
        yield golden.data[: header.content_offset] + bytes(header.content_length)
        yield golden.data[:-1]
        kind = layout.HEADER.parse(header.raw)
        for number in (1, 2, 3):
            kind.update({"kind": number})
            yield layout.HEADER.build(kind) + golden.data[HEADER_SIZE:]


def stored_pieces() -> Iterator[bytes]:
    """See `package_house._pieces`."""
    plain = b"content " * 40
    frames = [
        zstandard.ZstdCompressor(write_checksum=sum_, write_content_size=size).compress(plain)
        for sum_ in (False, True)
        for size in (False, True)
    ]
    length = len(plain).to_bytes(4, "big")
    zeros = zstandard.ZstdCompressor().compress(bytes(1 << 19))
    for cut in (zeros, zeros[:20], b"\x50\x2a\x4d\x18\4\0\0\0abcd"):
        yield b"\2\0" + (1 << 19).to_bytes(4, "big") + cut
        yield b"\2\0\0\0\0\4" + cut
        yield b"\x09\0\0\0" + len(cut).to_bytes(2, "big") + cut
    for form in (*range(8), 11):
        for stored in (
            plain,
            *frames,
            frames[1] + b"x",
            frames[1][:-2],
            frames[1] + frames[1],
            b"",
            b"rubbish" * 9,
        ):
            for said in (
                length,
                b"\0\0\0\0",
                (len(stored) + 1).to_bytes(4, "big"),
                (1000).to_bytes(4, "big"),
            ):
                for more in (b"\0", b"\x81", b"\x82"):
                    yield bytes([form]) + more + said + stored
    yield b"\0\0" + (1 << 20).to_bytes(4, "big") + bytes(1 << 10)


def wrong_bodies(kind: int, body: bytes, version: int) -> Iterator[bytes]:
    size, new, old = COUNTED[kind] if kind in COUNTED else (0, *SINGLE[kind])
    record = old if version == 1 else new
    count = int.from_bytes(body[:size], "big") if size else 1
    records = list(record[count].parse(body[size:]))
    yield body[:size] + b"".join(map(record.build, records[::-1]))
    yield body + b"\0"
    yield bytes(size)
    for number, one in enumerate(records[:CHANGED_RECORDS]):
        for changed in wrong_records(one):
            try:
                built = record.build(changed)
            except (ConstructError, TypeError):
                continue
            parts = [built if at == number else record.build(other) for at, other in enumerate(records)]
            yield body[:size] + b"".join(parts)


def wrong_records(record: Container) -> Iterator[dict[str, Any]]:
    for name, value in record.items():
        if isinstance(value, int):
            changes: list[Any] = [*NUMBERS]
        elif isinstance(value, bytes):
            changes = [bytes(32)] if len(value) == 32 else [*BYTES]
        elif isinstance(value, list):
            changes = [[], value + value, value[::-1]]
            if value and isinstance(value[0], Container):
                changes += [[changed, *value[1:]] for changed in wrong_records(value[0])]
            else:
                changes += [[b""], [b"b", b"a"], [b"A b"]]
        else:
            continue
        for changed in changes:
            yield {**record, name: changed}


def substances() -> list[bytes]:
    code = compile("def f(x): return (x, 'text', 1.5, 1 << 70)\nf({'a': f})", "/a/b", "exec")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a", b"content " * 9)
        packed.writestr(zipfile.ZipInfo("b"), gzip.compress(b"x", mtime=1))
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"data"))
    object_code = elf(build_id(b"a" * 20), text())
    ar_head = b"!<arch>\nname/           1           2     3     100644  %-10d`\n"
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as packed:
        info = zipfile.ZipInfo("x")
        info.extra = b"\x55\x54\1\0x\1\2\1\0y"
        packed.writestr(info, object_code)
    wide = io.BytesIO()
    with zipfile.ZipFile(wide, "w") as packed:
        info = zipfile.ZipInfo("x")
        info.extra = b"\1\0\1\0x"
        packed.writestr(info, b"")
    streamed = Unseekable()
    with zipfile.ZipFile(streamed, "w") as packed:  # type: ignore[arg-type]
        packed.writestr("x", b"content")
    named = (
        b"\x1f\x8b\x08\x1c" + bytes(6) + b"\3\0abc" + b"name\0comment\0" + gzip.compress(b"x", mtime=0)[10:]
    )
    odd_marshals = [
        PYTHON_MAGIC + bytes(12) + raw
        for raw in (
            marshal.dumps(code)[:-1] + b"\xff",
            b"N",
            b"\xe3" + bytes(20) + b"\xf3\1\0\0\0x{NN0",
            b"\xe3" + bytes(20) + b"\xf3\1\0\0\0xr\0\0\0\0" + b")\0" * 3 + b"N",
            b"\xe3" + bytes(20) + b"\xf3\1\0\0\0xr\7\0\0\0",
            b"\xe3" + bytes(20) + b"\xceN",
            b"\xe3" + bytes(20) + b"(" + b"\1\0\0\0(" * 120,
            b"\xe3" + bytes(20) + b"[\1\0\0\0" + b"0",
            b"\xe3" + bytes(20) + b"{NN0" + b"y" + bytes(16) + b")\0" * 3,
            b"\xe3" + bytes(20) + b"N)\x010",
            b"\xe3" + bytes(20) + b"Nz\0",
        )
    ]
    ar = b"!<arch>\n" + b"name/           1          2     3     100644  4         `\ndata"
    elves = [
        elf(build_id(b"a" * 20, order), text(), debug_link(b"x.debug", 1, order), bits=bits, order=order)
        for bits in (32, 64)
        for order in "<>"
    ]
    return [
        PYTHON_MAGIC + bytes(12) + marshal.dumps(code),
        gzip.compress(b"content", mtime=1),
        gzip.compress(ar, mtime=1),
        archive.getvalue(),
        tape.getvalue()[:2560],
        ar,
        *elves,
        *more_elves(),
        *tapes(),
        *zips_of_bytecode(PYTHON_MAGIC + bytes(12) + marshal.dumps(code)),
        ar_head % len(object_code) + object_code,
        ar_head % 3 + b"odd\n" + ar_head[8:] % 1 + b"x",
        ar_head % 3 + b"oddX",
        stored.getvalue(),
        wide.getvalue(),
        streamed.getvalue(),
        named,
        gzip.compress(object_code, mtime=1),
        named[:12],
        b"\x1f\x8b\x08\x10" + bytes(6) + b"x" * 30,
        *odd_marshals,
        tape.getvalue()[:600] + bytes(424),
    ]


def more_elves() -> Iterator[bytes]:
    """Where program headers, or the start of the program, use what is left out."""
    parts = (build_id(b"a" * 20), text(), debug_link(b"x.debug", 1))
    for name in (b".note.gnu.build-id", b".gnu_debuglink"):
        yield elf(*parts, starts_in=name)
        yield elf(*parts, segments={NOTES: b".note.gnu.build-id", INTERPRETER: name})
    yield elf(*parts, segments={})
    relocatable = bytearray(elf(*parts))
    relocatable[16:18], relocatable[32:40], relocatable[56:58] = b"\1\0", bytes(8), bytes(2)
    yield bytes(relocatable)
    yield elf(build_id(b"a" * 20), build_id(b"a" * 20))


def tapes() -> Iterator[bytes]:
    """Archives with records about the next member."""
    plain: dict[str, str] = {}
    for name, records, kind in (
        ("f", {"path": "a"}, tarfile.REGTYPE),
        ("f", {"path": "a/"}, tarfile.AREGTYPE),
        ("f/", plain, tarfile.AREGTYPE),
        ("f/", plain, tarfile.REGTYPE),
        ("n" * 150, plain, tarfile.REGTYPE),
        ("f", {"size": "4"}, tarfile.REGTYPE),
        ("f", {"x": "no number"}, tarfile.REGTYPE),
    ):
        tape = io.BytesIO()
        form = tarfile.PAX_FORMAT if records else tarfile.GNU_FORMAT
        with tarfile.open(fileobj=tape, mode="w", format=form) as tar:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.pax_headers = 4, kind, records
            tar.addfile(info, io.BytesIO(b"data"))
        raw = tape.getvalue().rstrip(b"\0")
        data = raw + bytes(-len(raw) % 512 + 1024)
        yield data.replace(b" x=no", b"8x=no") if "x" in records else data
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"path": "a"}):
        pass
    yield tape.getvalue()[:2560]


def zips_of_bytecode(timed: bytes) -> Iterator[bytes]:
    """Bytecode beside its source: one with a time, one with a hash of the source."""
    for flags in (0, 3):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr(zipfile.ZipInfo("f.py"), b"x = 1")
            packed.writestr(zipfile.ZipInfo("f.pyc"), timed[:4] + flags.to_bytes(4, "little") + timed[8:])
        yield archive.getvalue()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        info = zipfile.ZipInfo("ä")
        info.extra = b"\x55\x54\5\0\1abcd"
        packed.writestr(info, timed)
    yield archive.getvalue()
    yield archive.getvalue().replace("ä".encode(), b"\xff\xff")


class Unseekable(io.BytesIO):
    """As a pipe: a packer writes sizes behind the content."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError

    def seek(self, *_: object) -> int:
        raise OSError


def main() -> None:
    folder = FOUND / "package"
    folder.mkdir(parents=True, exist_ok=True)
    for data in seeds():
        (folder / f"seed-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)


if __name__ == "__main__":
    main()
