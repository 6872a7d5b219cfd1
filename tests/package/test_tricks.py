"""One test for each class of trick that other formats fell for: none of them gets through here."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package import layout
from firmware_mgr.package import layout_tables as lt
from firmware_mgr.package.contents import ModuleKind
from firmware_mgr.package.errors import PackageFormatError, PackageRefused
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.layout import HEADER_SIZE, EnvelopeKind
from firmware_mgr.package.reader import PackageFile, parse_header, verify_contents
from firmware_mgr.packaging.build import ModuleSource, PackageHead, build_package, pack, seal

from .samples import HEAD, KEY, KEYRING, SIGNED_AT, SOURCES, head_of, read, sample, sample_contents

U64 = (1 << 64) - 1


def header_with(changes: dict[str, Any], sections: dict[int, dict[str, int]] | None = None) -> bytes:
    """The sample's header with other values, and a right CRC."""
    fields = layout.HEADER.parse(sample()[:HEADER_SIZE])
    fields.update(changes)
    for index, values in (sections or {}).items():
        fields.sections[index].update(values)
    draft = layout.HEADER.build({**fields, "crc32c": 0})
    return bytes(layout.HEADER.build({**fields, "crc32c": layout.crc32c(draft[: layout.CRC_OFFSET])}))


def table_with(change: Callable[[list[Any]], None]) -> bytes:
    """The sample's table with other modules, signed like any."""
    tables = layout.TABLE[4].parse(layout_of_sample())
    modules = list(lt.MODULE[lt.MODULE_COUNT.parse(tables[2].body)].parse(tables[2].body[4:]))
    change(modules)
    tables[2].body = lt.MODULE_COUNT.build(len(modules)) + b"".join(map(lt.MODULE.build, modules))
    return bytes(layout.TABLE[4].build(tables))


def layout_of_sample() -> bytes:
    header, head = head_of(sample())
    return head[header.table_offset :]


def refused(table: bytes, complaint: str) -> None:
    with pytest.raises(PackageFormatError, match=complaint):
        read(seal(table, sample_contents()[1], [KEY], signed_at=SIGNED_AT))


@pytest.mark.parametrize("length", [U64, U64 - 159, 1 << 63, (1 << 32) + 1, (1 << 31) + 100])
def test_length_arithmetic_nothing_wraps_and_nothing_is_cut_to_32_bits(length: int) -> None:
    for index in range(3):
        with pytest.raises(PackageFormatError):
            parse_header(header_with({}, {index: {"length": length}}))
        with pytest.raises(PackageFormatError):
            parse_header(header_with({}, {index: {"offset": length}}))
    with pytest.raises(PackageFormatError, match="total length"):
        parse_header(header_with({"total_length": length}))
    for field in ("length", "offset"):
        table = table_with(lambda modules, field=field: modules[0].update({field: length}))  # type: ignore[misc]
        refused(table, "illegal length|outside of content|gap or overlap|number of pieces")


def test_lengths_that_add_up_only_when_they_wrap_are_refused() -> None:
    """Content so long that its end, counted in 64 bits, is the end of the file."""
    content = U64 - 10
    with pytest.raises(PackageFormatError, match="length of section content"):
        parse_header(header_with({"total_length": 0}, {2: {"length": content}}))


def test_what_was_checked_is_what_is_used() -> None:
    """A head that is another one when it is read again is refused; a table comes out of the checked bytes."""
    header, head = head_of(sample())
    other_header, other = head_of(build_package(HEAD, SOURCES, [KEY]))
    with pytest.raises((PackageRefused, PackageFormatError)):
        verify_contents(header, other[: len(head)].ljust(len(head), b"\0"), KEYRING)
    mixed = header.raw + other[HEADER_SIZE:]
    with pytest.raises((PackageRefused, PackageFormatError)):
        verify_contents(other_header, mixed, KEYRING)


def test_a_file_that_changes_after_its_head_was_checked_yields_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "sample.fwp"
    path.write_bytes(sample())
    with PackageFile.open(path, KEYRING) as package:
        module = next(m for m in package.toc.modules if m.path == "etc/server.conf")
        place = package.header.byte_range(module)
        with path.open("r+b") as file:
            file.seek(place.start)
            file.write(b"port = 23\n")
        with pytest.raises(PackageRefused, match="content was altered"):
            package.module_bytes(module)
        with path.open("r+b") as file:
            file.truncate(place.start + 3)
        with pytest.raises(PackageRefused, match="fewer stored bytes"):
            package.module_bytes(module)


def test_content_is_bound_by_hash_wherever_it_is_taken_from(tmp_path: Path) -> None:
    """The same lengths, another content, every other byte of the file as it was signed."""
    data = bytearray(sample())
    header, _ = head_of(bytes(data))
    data[header.content_offset :] = bytes(len(data) - header.content_offset)
    path = tmp_path / "other.fwp"
    path.write_bytes(data)
    with PackageFile.open(path, KEYRING) as package:
        for module in package.toc.modules:
            if module.length:
                with pytest.raises(PackageRefused):
                    package.module_bytes(module)


@pytest.mark.parametrize(
    "change",
    [{"kind": 2}, {"signed_at": 5}, {"version": 1, "kind": 0, "signed_at": 0}, {"table_sha256": bytes(32)}],
)
def test_no_metadata_is_obeyed_that_is_not_signed(change: dict[str, Any]) -> None:
    """Not the kind, not the time, not the version: each is in the signed header."""
    _, head = head_of(sample())
    with pytest.raises((PackageRefused, PackageFormatError)):
        read(header_with(change) + head[HEADER_SIZE:])


def test_a_signature_of_one_format_is_none_of_another() -> None:
    data = sample()
    header, head = head_of(data)
    table_sha256 = hashlib.sha256(head[header.table_offset :]).digest()
    signature = KEY.sign(layout.signed_message(header.raw, table_sha256, 1))
    at = header.table_offset - 64
    with pytest.raises(PackageRefused, match="signature is wrong"):
        read(data[:at] + signature + data[at + 64 :])


def test_nothing_fails_open() -> None:
    """No key, no signature, a key that cannot be one: refused, each."""
    header, head = head_of(sample())
    with pytest.raises(PackageRefused, match="no key is trusted here"):
        verify_contents(header, head, Keyring({}))
    with pytest.raises(PackageFormatError, match="length of section signatures"):
        parse_header(header_with({}, {0: {"length": 4}}))
    broken = b"\xff" * 32
    keyring = Keyring({hashlib.sha256(broken).hexdigest(): broken})
    forged = head[: HEADER_SIZE + 4] + hashlib.sha256(broken).digest() + head[HEADER_SIZE + 36 :]
    with pytest.raises(PackageRefused, match="signature is wrong"):
        verify_contents(header, forged, keyring)


@pytest.mark.parametrize(
    "path",
    [
        "..",
        ".",
        "a/..",
        "../a",
        "a/../../b",
        "/a",
        "a//b",
        "a/",
        "",
        "a\\b",
        "a\0b",
        "lib/x",
        "proc/1",
        "é/\x85",
    ],
)
def test_no_path_leads_out_of_its_place(path: str) -> None:
    raw = path.encode()
    refused(table_with(lambda modules: modules[0].update({"path": raw})), "path")


@pytest.mark.parametrize("target", ["../..", "../../../etc", "a/../../..", "/etc/passwd", "", ".", "a//b"])
def test_no_symlink_leads_out_of_the_root(target: str) -> None:
    with pytest.raises(UsageError, match="symlink target"):
        pack(PackageHead("p", "1", 0), [ModuleSource("a/link", ModuleKind.SYMLINK, link_target=target)])


def test_nothing_is_written_through_a_symlink() -> None:
    link = ModuleSource("usr/a", ModuleKind.SYMLINK, link_target="b")
    below = ModuleSource("usr/a/file", ModuleKind.DATA, b"x")
    for cpu in (None, CpuArch.ARMV7):
        with pytest.raises(UsageError, match="below one that is no directory"):
            pack(PackageHead("p", "1", 0), [link, ModuleSource(below.path, below.kind, below.data, cpu)])


def test_duplicates_are_refused() -> None:
    refused(table_with(lambda modules: modules.insert(1, modules[0])), "not sorted and unique")
    header, head = head_of(sample())
    twice = (
        head[: header.signatures_offset + 4] + head[header.signatures_offset + 4 : header.table_offset] * 2
    )
    with pytest.raises(PackageFormatError):
        verify_contents(header, twice + head[header.table_offset :], KEYRING)


def test_overlaps_and_gaps_are_refused() -> None:
    def overlap(modules: list[Any]) -> None:
        last = max(modules, key=lambda module: module.offset)
        last.offset -= 1

    def gap(modules: list[Any]) -> None:
        for module in modules:
            module.offset += 1

    for change in (overlap, gap):
        refused(table_with(change), "gap or overlap")
    with pytest.raises(PackageFormatError, match="offset of section"):
        parse_header(header_with({}, {1: {"offset": 200}}))


def test_trailing_bytes_are_refused_at_the_end_of_every_part(tmp_path: Path) -> None:
    table, (_, content) = layout_of_sample(), sample_contents()
    refused(table + b"\0", "left over")
    with pytest.raises(PackageFormatError, match="content has another length"):
        read(seal(table, content + b"\0", [KEY], signed_at=SIGNED_AT))
    path = tmp_path / "longer.fwp"
    path.write_bytes(sample() + b"PK\5\6" + bytes(18))
    with pytest.raises(PackageFormatError, match="another length"):
        PackageFile.open(path, KEYRING)


def test_a_frame_cannot_bring_more_than_its_piece(tmp_path: Path) -> None:
    """A bomb in a piece whose every hash is right: it stops at the declared length."""
    import zstandard

    bomb = zstandard.ZstdCompressor().compress(bytes(16 << 20))
    digest = Digest.of(bytes(4 << 20))

    def change(modules: list[Any]) -> None:
        large = next(module for module in modules if module.path == b"usr/share/large")
        grown = len(bomb) - large.pieces[0].stored_length
        for module in modules:
            module.offset += grown if module.offset > large.offset else 0
        large.pieces[0].update({"stored_length": len(bomb), "sha256": hashlib.sha256(bomb).digest()})
        large.sha256 = digest.to_bytes()

    tables = io.BytesIO(table_with(change)).read()
    header, _ = head_of(sample())
    toc, content = sample_contents()
    module = next(m for m in toc.modules if m.path == "usr/share/large")
    assert header.kind is EnvelopeKind.PACKAGE
    content = content[: module.offset] + bomb + content[module.offset + module.pieces[0].stored_length :]
    path = tmp_path / "bomb.fwp"
    path.write_bytes(seal(tables, content, [KEY], signed_at=SIGNED_AT))
    with (
        PackageFile.open(path, KEYRING) as package,
        pytest.raises(PackageRefused, match="frame does not fit"),
    ):
        package.module_bytes(next(m for m in package.toc.modules if m.path == "usr/share/large"))
