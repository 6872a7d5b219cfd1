"""The package reader whole, with signatures and checksums that let everything pass, and what must hold.

The first byte says what the rest is played as. Keyring and checksum are seams of the reader; the header's
CRC and the lengths around a table are made right here, so that the fuzzer gets behind them.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress
from itertools import pairwise

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package import layout
from firmware_mgr.package.bundle import INFORMATION_FILE, Bundle, MemberKind
from firmware_mgr.package.bundle_table import decode_bundle, encode_bundle
from firmware_mgr.package.byte_dump import dump_lines
from firmware_mgr.package.card_information import parse_card_information
from firmware_mgr.package.contents import (
    NOTHING,
    Compression,
    Module,
    ModuleKind,
    Piece,
    TableOfContents,
    processes_of,
    select,
)
from firmware_mgr.package.decoding import decode_file, decode_module
from firmware_mgr.package.dump import describe, describe_bundle
from firmware_mgr.package.errors import PackageFormatError, PackageRefused
from firmware_mgr.package.head import (
    PackageHeader,
    parse_header,
    read_signatures,
    show_bundle,
    show_contents,
    verify_bundle,
    verify_contents,
)
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.layout import CRC_OFFSET, FORMAT_1, HEADER_SIZE, EnvelopeKind
from firmware_mgr.package.layout_tables import PIECE_SIZE
from firmware_mgr.package.paths import check_link_target, check_place
from firmware_mgr.package.pieces import piece_count
from firmware_mgr.package.process import Readiness, parse_user
from firmware_mgr.package.substantive import HEAD_SIZE, may_have_rule, substantive_signature
from firmware_mgr.package.table import decode_table, encode_table
from firmware_mgr.package.table_1 import decode_table_1
from firmware_mgr.package.trust import Role, SignedPackage

REFUSED = (PackageFormatError, PackageRefused)
WHOLE, HEADER, TABLE, TABLE_1, SET, COMPOSITE, INFORMATION, SUBSTANCE, PATHS, DUMP, PIECES = range(11)
PLAYS = 11


class EveryKey(Keyring):
    """Trusts whatever signed."""

    def verify(self, key: str, message: bytes, signature: bytes, where: str = "package") -> None:
        return

    def check_package(self, package: SignedPackage, signers: Collection[str], where: str) -> Role:
        return Role.RELEASE


class AnyChecksum:
    """Fits whatever is expected, but for what begins with a zero byte: so both ways can be reached."""

    found = "anything"

    def update(self, data: bytes, /) -> None:
        return

    def fits(self, expected: Digest, /) -> bool:
        return not expected.hex.startswith("00")


TRUSTING = EveryKey({})


def play(data: bytes) -> None:
    """Raises what no reader may raise, and AssertionError where a rule is broken."""
    if not data:
        return
    try:
        _PLAYS[data[0] % PLAYS](data[1:])
    except REFUSED as e:
        assert len(str(e)) < 70_000


def _file(data: bytes) -> None:
    """A whole file, its CRC and its total length made right where it has a header."""
    if len(data) < HEADER_SIZE:
        return
    draft = bytearray(data)
    draft[16:24] = len(data).to_bytes(8, "big")
    _read(_crc(bytes(draft)))


def _header(data: bytes) -> None:
    if len(data) < HEADER_SIZE:
        parse_header(data)
    header = parse_header(_crc(data[:HEADER_SIZE]))
    assert HEADER_SIZE < header.table_offset < header.content_offset <= header.total_length
    read_signatures(header, header.raw + data[HEADER_SIZE:])


def _crc(data: bytes) -> bytes:
    return data[:CRC_OFFSET] + layout.crc32c(data[:CRC_OFFSET]).to_bytes(4, "big") + data[HEADER_SIZE:]


def _read(data: bytes) -> None:
    header = parse_header(data[:HEADER_SIZE])
    head = data[: header.head_length]
    signatures = read_signatures(header, head)
    other = show_bundle if header.kind is EnvelopeKind.PACKAGE else show_contents
    with suppress(*REFUSED):
        other(header, head)
        raise AssertionError("one kind was taken for another")
    if header.kind is EnvelopeKind.PACKAGE:
        toc = verify_contents(header, head, TRUSTING, checksum=AnyChecksum)
        describe(header, toc, signatures)
        for module in toc.modules:
            _module(header, module, data)
    else:
        bundle = verify_bundle(header, head, TRUSTING, checksum=AnyChecksum)
        describe_bundle(header, bundle, signatures)
        _bundle(header, bundle, data)


def _module(header: PackageHeader, module: Module, data: bytes) -> None:
    place = header.byte_range(module)
    assert header.content_offset <= place.start <= place.stop <= len(data)
    stored = [data[place.start : place.stop]]
    length = 0
    for part in decode_module(module, stored, checksum=AnyChecksum):
        length += len(part)
        assert length <= module.length
    assert length == module.length


def _bundle(header: PackageHeader, bundle: Bundle, data: bytes) -> None:
    for member in bundle.members:
        for file in member.files:
            assert member.file(file.name) is file
            place = header.byte_range(file)
            assert header.content_offset <= place.start <= place.stop <= len(data)
            stored = [data[place.start : place.stop]]
            content = b"".join(decode_file(file, stored, file.name, AnyChecksum))
            assert len(content) == file.length
            if member.kind is MemberKind.CARD_INFORMATION and file.name == INFORMATION_FILE:
                _information(content)


def _table(data: bytes) -> None:
    toc = decode_table(data, "fuzz")
    assert encode_table(toc) == data, "there are two encodings"
    _contents(toc)


def _table_1(data: bytes) -> None:
    toc = decode_table_1(data, "fuzz")
    assert toc.format == FORMAT_1
    _contents(toc)


def _contents(toc: TableOfContents) -> None:
    ends = sorted((module.offset, module.offset + module.stored_length) for module in toc.modules)
    assert all(before[1] <= after[0] for before, after in pairwise(ends))
    for module in toc.modules:
        _inside(module.path)
        assert module.pieces or not module.length
    for process in toc.processes:
        assert parse_user(str(process.user)) == process.user
        assert Readiness.parse(str(process.readiness)) == process.readiness
    for cpu in CpuArch:
        try:
            chosen = select(toc, cpu)
        except PackageRefused:
            continue
        assert len({module.path for module in chosen}) == len(chosen)
        processes_of(toc, chosen, cpu)


def _inside(path: str) -> None:
    parts = path.split("/")
    assert path and not path.startswith("/") and not {"", ".", ".."} & set(parts)


def _of_kind(data: bytes, kind: EnvelopeKind) -> None:
    bundle = decode_bundle(data, kind, "fuzz")
    assert encode_bundle(bundle) == data, "there are two encodings"
    for member in bundle.members:
        for file in member.files:
            _inside(file.name)


def _set(data: bytes) -> None:
    _of_kind(data, EnvelopeKind.SET)


def _composite(data: bytes) -> None:
    _of_kind(data, EnvelopeKind.COMPOSITE)


def _information(data: bytes) -> None:
    read = parse_card_information(data, "fuzz")
    again = json.dumps(read.document()).encode()
    assert parse_card_information(again, "fuzz") == read


def _substance(data: bytes) -> None:
    found = substantive_signature(data, "m/__pycache__/a.cpython-311.pyc")
    assert found == Digest.of(data) or may_have_rule(data[:HEAD_SIZE])


def _dump(data: bytes) -> None:
    assert all(line.offset >= 0 for line in dump_lines(data))


def _pieces(data: bytes) -> None:
    """A module by six bytes of length and storage, and its stored bytes, a few too many or too few."""
    form, more, length = data[0:1], data[1:2], int.from_bytes(data[2:6], "big") % (3 << 20)
    stored = data[6:]
    if not form:
        return
    streamed, how = bool(form[0] & 1), Compression.ZSTD if form[0] & 2 else Compression.NONE
    digest = Digest("00" * 32) if form[0] & 4 else NOTHING
    said = len(stored) + (more[0] - 128 if more and more[0] > 128 else 0)
    pieces = (Piece(said, how, digest),) if streamed else _cut(said, how, length, digest)
    try:
        whole = digest if form[0] & 8 or how is Compression.NONE else NOTHING
        module = Module("a", ModuleKind.DATA, None, 0, length, 0, pieces, whole, NOTHING, streamed=streamed)
    except UsageError:
        return
    parts = list(decode_module(module, [stored[:9], b"", stored[9:]], checksum=AnyChecksum))
    assert sum(map(len, parts)) == length and all(len(part) <= PIECE_SIZE for part in parts)


def _cut(said: int, how: Compression, length: int, digest: Digest) -> tuple[Piece, ...]:
    """All but the last piece stored as they are."""
    full = [Piece(PIECE_SIZE, Compression.NONE, NOTHING)] * (piece_count(length) - 1)
    return (*full, Piece(max(0, said - len(full) * PIECE_SIZE), how, digest)) if length else ()


def _paths(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    path, _, target = text.partition("\0")
    for parse in (parse_user, Readiness.parse):
        with suppress(UsageError):
            parse(path)
    try:
        _inside(check_place(path))
        check_link_target(path, target)
    except UsageError:
        return
    depth = path.count("/")
    for part in target.split("/"):
        depth += -1 if part == ".." else 1
        assert depth >= 0, "the link leaves the root"


_PLAYS = {
    WHOLE: _file,
    HEADER: _header,
    TABLE: _table,
    TABLE_1: _table_1,
    SET: _set,
    COMPOSITE: _composite,
    INFORMATION: _information,
    SUBSTANCE: _substance,
    PATHS: _paths,
    DUMP: _dump,
    PIECES: _pieces,
}
assert set(_PLAYS) == set(range(PLAYS))
