"""The head of every kind of file: the golden files, every truncation of them, every bit turned over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.package import layout
from firmware_mgr.package.errors import PackageFormatError, PackageRefused
from firmware_mgr.package.reader import (
    HEADER_SIZE,
    PackageFile,
    parse_header,
    read_signatures,
    verify_contents,
)
from firmware_mgr.packaging.build import build_package, seal

from .goldens import FOLDER, GOLDENS, Golden
from .samples import HEAD, KEY, KEYRING, SIGNED_AT, SOURCES, flip, head_of, read, sample, sample_contents
from .samples_bundle import read_bundle

REFUSALS = (PackageFormatError, PackageRefused)
EVERY = pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)


def golden() -> bytes:
    return (FOLDER / "package.fwp").read_bytes()


def read_head_of(data: bytes) -> None:
    """Whatever kind it says it is."""
    header = parse_header(data[:HEADER_SIZE])
    (read if header.kind is layout.EnvelopeKind.PACKAGE else read_bundle)(data)


@EVERY
def test_golden_file_reads_as_its_description(golden: Golden) -> None:
    golden.read(golden.path)
    assert golden.described() == json.loads(golden.description.read_text())


@EVERY
def test_golden_file_is_built_again_from_its_parts(golden: Golden) -> None:
    assert golden.made() == golden.data


@pytest.mark.parametrize("name", ["format-1.fwp", "package.fwp"])
def test_golden_file_holds_what_was_put_in(name: str) -> None:
    with PackageFile.open(FOLDER / name, KEYRING) as package:
        held = {(m.path, m.cpu): package.module_bytes(m) for m in package.toc.modules}
    put_in = {(source.path, source.cpu): source.data for source in SOURCES}
    assert {place: held[place] for place in put_in} == put_in


@EVERY
def test_header_of_every_shorter_length_and_one_longer_is_refused(golden: Golden) -> None:
    data = golden.data
    for length in (*range(HEADER_SIZE), HEADER_SIZE + 1):
        with pytest.raises(PackageFormatError):
            parse_header(data[:length])


@EVERY
def test_every_truncation_of_the_file_is_refused(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    data = golden.data
    path.write_bytes(data)
    with path.open("r+b") as file:
        for length in reversed(range(len(data))):
            file.truncate(length)
            with pytest.raises(PackageFormatError):
                golden.read(path)


@EVERY
def test_every_truncation_of_the_head_is_refused(golden: Golden) -> None:
    _, head = head_of(golden.data)
    for length in (*range(HEADER_SIZE, len(head)), len(head) + 1):
        with pytest.raises(PackageFormatError, match="wrong length"):
            read_head_of_cut(golden.data, length)


def read_head_of_cut(data: bytes, length: int) -> None:
    header = parse_header(data[:HEADER_SIZE])
    read_signatures(header, data[:length])


@EVERY
def test_bytes_after_the_end_are_refused(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(golden.data + b"\0")
    with pytest.raises(PackageFormatError, match="another length"):
        golden.read(path)


@EVERY
def test_every_bit_of_header_signatures_and_table_counts(golden: Golden) -> None:
    _, head = head_of(golden.data)
    rest = golden.data[len(head) :]
    for bit in range(len(head) * 8):
        with pytest.raises(REFUSALS):
            read_head_of(flip(head, bit) + rest)


@EVERY
def test_every_bit_of_the_header_counts_even_with_its_crc_made_right(golden: Golden) -> None:
    data = golden.data
    for bit in range(layout.CRC_OFFSET * 8):
        draft = flip(data[:HEADER_SIZE], bit)[: layout.CRC_OFFSET]
        header = draft + layout.crc32c(draft).to_bytes(4, "big")
        with pytest.raises(REFUSALS):
            read_head_of(header + data[HEADER_SIZE:])


@EVERY
def test_every_bit_of_content_counts(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "altered"
    data = golden.data
    _, head = head_of(data)
    for bit in range(len(head) * 8, len(data) * 8, 7):  # every byte, bits in turn
        path.write_bytes(flip(data, bit))
        with pytest.raises(PackageRefused):
            golden.read(path)


def test_one_kind_is_not_taken_for_another() -> None:
    for one in GOLDENS:
        header, _ = head_of(one.data)
        if header.kind is layout.EnvelopeKind.PACKAGE:
            with pytest.raises(PackageFormatError, match="neither a set nor a composite image"):
                read_bundle(one.data)
        else:
            with pytest.raises(PackageFormatError, match="file is not a package: expected package, found"):
                read(one.data)


def test_the_signing_time_is_signed_and_read() -> None:
    assert [parse_header(one.data[:HEADER_SIZE]).signed_at for one in GOLDENS] == [None, *[SIGNED_AT] * 3]


def _header_with(change: Callable[[bytearray], None]) -> bytes:
    raw = bytearray(golden()[:HEADER_SIZE])
    change(raw)
    raw[layout.CRC_OFFSET :] = layout.crc32c(bytes(raw[: layout.CRC_OFFSET])).to_bytes(4, "big")
    return bytes(raw)


def _put(offset: int, size: int, value: int) -> Callable[[bytearray], None]:
    def change(raw: bytearray) -> None:
        raw[offset : offset + size] = value.to_bytes(size, "big")

    return change


@pytest.mark.parametrize(
    ("offset", "size", "value", "complaint"),
    [
        (0, 8, 0x8946574150504C45, "not a package"),
        (8, 2, 3, "unknown format version: expected 1 or 2, found 3"),
        (10, 2, 168, "unknown header length"),
        (12, 2, 4, "unknown number of sections"),
        (14, 2, 0, "unknown kind of file"),
        (14, 2, 4, "unknown kind of file"),
        (16, 8, 1 << 63, "total length"),
        (56, 2, 9, "kind, flags, reserved of section signatures"),
        (58, 2, 1, "kind, flags, reserved of section signatures"),
        (64, 8, 159, "offset of section signatures"),
        (72, 8, 4, "length of section signatures"),
        (72, 8, (1 << 64) - 1, "length of section signatures"),
        (96, 8, layout.MAX_TABLE + 1, "length of section table of contents"),
        (120, 8, layout.MAX_CONTENT + 1, "length of section content"),
        (128, 8, 1 << 40, "signing time out of range"),
        (136, 1, 1, "reserved bytes are not zero"),
        (155, 1, 1, "reserved bytes are not zero"),
    ],
)
def test_wrong_header_field_is_named(offset: int, size: int, value: int, complaint: str) -> None:
    with pytest.raises(PackageFormatError, match=complaint):
        parse_header(_header_with(_put(offset, size, value)), "sample.fwp")


def test_damage_is_told_from_alteration() -> None:
    with pytest.raises(PackageFormatError, match="damaged: CRC-32C"):
        parse_header(flip(golden()[:HEADER_SIZE], 30 * 8))
    header, head = head_of(golden())
    with pytest.raises(PackageRefused, match="table of contents was altered"):
        verify_contents(header, flip(head, len(head) * 8 - 1), KEYRING)


def test_header_that_changes_between_two_readings_is_refused() -> None:
    header, _ = head_of(golden())
    toc, content = sample_contents()
    assert toc.content_length == len(content)
    _, other = head_of(build_package(HEAD, [*SOURCES[:-1]], [KEY]))
    other = other[: header.head_length].ljust(header.head_length, b"\0")
    with pytest.raises(PackageRefused, match="changed between two readings"):
        verify_contents(header, other, KEYRING)


def test_content_longer_than_its_modules_is_refused() -> None:
    _, head = head_of(golden())
    header = parse_header(head[:HEADER_SIZE])
    table = head[header.table_offset :]
    with pytest.raises(PackageFormatError, match="content has another length"):
        read(seal(table, b"x" * (header.content_length + 1), [KEY], signed_at=SIGNED_AT))


def test_byte_range_of_a_module_holds_its_stored_bytes() -> None:
    data = golden()
    header, _ = head_of(data)
    module = next(m for m in read(data).modules if m.path == "etc/server.conf")
    place = header.byte_range(module)
    assert data[place.start : place.stop] == b"port = 80\n"


def test_signatures_can_be_listed_unchecked() -> None:
    header, head = head_of(golden())
    assert [signature.key for signature in read_signatures(header, head)] == [KEY.id]


@given(st.binary(min_size=HEADER_SIZE, max_size=HEADER_SIZE))
def test_arbitrary_header_is_refused_with_a_declared_error(data: bytes) -> None:
    with pytest.raises(PackageFormatError):
        parse_header(layout.MAGIC + data[len(layout.MAGIC) :])


def test_sample_is_signed_by_the_key_everyone_knows() -> None:
    assert read(sample()).name == "sample"
