"""The head of a package: the golden file, every truncation of it, every bit of it turned over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.package import layout
from firmware_mgr.package.dump import describe
from firmware_mgr.package.errors import PackageFormatError, PackageRefused
from firmware_mgr.package.reader import (
    HEADER_SIZE,
    PackageFile,
    parse_header,
    read_signatures,
    verify_contents,
)
from firmware_mgr.packaging.build import build_package, seal

from .samples import HEAD, KEY, KEYRING, SOURCES, flip, head_of, read, sample, sample_contents

GOLDEN = Path(__file__).parent / "golden"
REFUSALS = (PackageFormatError, PackageRefused)


def golden() -> bytes:
    return (GOLDEN / "sample.fwp").read_bytes()


def test_golden_file_reads_as_its_description() -> None:
    with PackageFile.open(GOLDEN / "sample.fwp", KEYRING) as package:
        package.check_content()
        document = describe(package.header, package.toc, package.signatures)
    assert document == json.loads((GOLDEN / "sample.json").read_text())


def test_golden_file_holds_what_was_put_in() -> None:
    with PackageFile.open(GOLDEN / "sample.fwp", KEYRING) as package:
        held = {(m.path, m.cpu): package.module_bytes(m) for m in package.toc.modules}
    assert held == {(source.path, source.cpu): source.data for source in SOURCES}


def test_golden_file_is_built_again_from_its_parts() -> None:
    assert build_package(HEAD, SOURCES, [KEY]) == golden()


def test_header_of_every_shorter_length_and_one_longer_is_refused() -> None:
    data = golden()
    for length in (*range(HEADER_SIZE), HEADER_SIZE + 1):
        with pytest.raises(PackageFormatError):
            parse_header(data[:length])


def test_head_of_every_shorter_length_and_one_longer_is_refused() -> None:
    data = golden()
    header, head = head_of(data)
    for length in (*range(len(head)), len(head) + 1):
        with pytest.raises(PackageFormatError):
            verify_contents(header, data[:length], KEYRING)


def test_every_truncation_of_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.fwp"
    data = golden()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(PackageFormatError):
            PackageFile.open(path, KEYRING)


def test_bytes_after_the_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.fwp"
    path.write_bytes(golden() + b"\0")
    with pytest.raises(PackageFormatError, match="another length"):
        PackageFile.open(path, KEYRING)


def test_every_bit_of_header_signatures_and_table_counts() -> None:
    _, head = head_of(golden())
    rest = golden()[len(head) :]
    for bit in range(len(head) * 8):
        with pytest.raises(REFUSALS):
            read(flip(head, bit) + rest)


def test_every_bit_of_the_header_counts_even_with_its_crc_made_right() -> None:
    data = golden()
    for bit in range(layout.CRC_OFFSET * 8):
        draft = flip(data[:HEADER_SIZE], bit)[: layout.CRC_OFFSET]
        header = draft + layout.crc32c(draft).to_bytes(4, "big")
        with pytest.raises(REFUSALS):
            read(header + data[HEADER_SIZE:])


def test_every_bit_of_content_counts(tmp_path: Path) -> None:
    path = tmp_path / "altered.fwp"
    data = golden()
    header, head = head_of(data)
    for bit in range(len(head) * 8, len(data) * 8):
        path.write_bytes(flip(data, bit))
        with PackageFile.open(path, KEYRING) as package, pytest.raises(PackageRefused):
            package.check_content()
    assert header.total_length == len(data)


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
        (8, 2, 2, "unknown format version: expected 1, found 2"),
        (10, 2, 168, "unknown header length"),
        (12, 2, 4, "unknown number of sections"),
        (14, 2, 1, "unknown flags"),
        (16, 8, 1 << 63, "total length"),
        (56, 2, 9, "kind, flags, reserved of section signatures"),
        (58, 2, 1, "kind, flags, reserved of section signatures"),
        (64, 8, 159, "offset of section signatures"),
        (72, 8, 4, "length of section signatures"),
        (72, 8, (1 << 64) - 1, "length of section signatures"),
        (96, 8, layout.MAX_TABLE + 1, "length of section table of contents"),
        (120, 8, layout.MAX_CONTENT + 1, "length of section content"),
        (128, 1, 1, "reserved bytes are not zero"),
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
        read(seal(table, b"x" * (header.content_length + 1), [KEY]))


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
