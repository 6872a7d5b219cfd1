"""The head of a package, set or composite image: header, signatures, table of contents, read in that order.

SPEC-package §1 to §4.

Works on bytes that are handed in, from a file or a wire alike. Refuses to know content.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from construct import ConstructError, Container

from firmware_mgr.model.ids import Digest
from firmware_mgr.package import layout
from firmware_mgr.package.bundle import Bundle, MemberFile
from firmware_mgr.package.bundle_table import decode_bundle
from firmware_mgr.package.checksum import NewChecksum, Sha256, fits
from firmware_mgr.package.contents import Module, TableOfContents
from firmware_mgr.package.errors import PackageFormatError, PackageRefused
from firmware_mgr.package.layout import FORMAT_1, HEADER_SIZE, EnvelopeKind
from firmware_mgr.package.table import decode_table
from firmware_mgr.package.table_1 import decode_table_1
from firmware_mgr.package.trust import SignedPackage, Trust

_SECTIONS = (layout.SECTION_SIGNATURES, layout.SECTION_TABLE, layout.SECTION_CONTENT)
_SECTION_NAMES = ("signatures", "table of contents", "content")


@dataclass(frozen=True, slots=True)
class PackageHeader:
    """A checked header. Offsets are from the beginning of the file; offsets and lengths in bytes.

    It says where things are; that it says the truth is known only after `verify_contents`, or
    `verify_bundle`. `signed_at` is in seconds since 1970-01-01 UTC; None in format 1, which does not say.
    """

    version: int
    kind: EnvelopeKind
    signed_at: int | None
    total_length: int
    table_sha256: Digest
    signatures_offset: int
    signatures_length: int
    table_offset: int
    table_length: int
    content_offset: int
    content_length: int
    raw: bytes

    @property
    def head_length(self) -> int:
        """How many bytes from the beginning of the file `verify_contents` wants."""
        return self.content_offset

    def byte_range(self, item: Module | MemberFile) -> range:
        """Where its stored bytes are in the file: from `start` up to, not including, `stop`."""
        start = self.content_offset + item.offset
        return range(start, start + item.stored_length)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature of the block: by which key (id in hex), and its 64 bytes."""

    key: str
    signature: bytes


def parse_header(data: bytes, where: str = "package") -> PackageHeader:
    """Read the first HEADER_SIZE bytes, no more and no fewer. Raises PackageFormatError."""
    spot = f"{where}: header"
    if len(data) != HEADER_SIZE:
        raise PackageFormatError("wrong length", where=spot, expected=f"{HEADER_SIZE} bytes", found=len(data))
    try:
        raw = layout.HEADER.parse(data)
    except ConstructError as e:
        raise PackageFormatError("cannot be read", where=spot, found=str(e)) from e
    _must(spot, "not a package: magic", layout.MAGIC.hex(), bytes(raw.magic).hex())
    if raw.version not in layout.FORMATS:
        known = " or ".join(str(version) for version in layout.FORMATS)
        raise PackageFormatError("unknown format version", where=spot, expected=known, found=raw.version)
    _must(spot, "unknown header length", HEADER_SIZE, raw.header_length)
    computed = layout.crc32c(data[: layout.CRC_OFFSET])
    _must(spot, "damaged: CRC-32C", f"{computed:08x}", f"{raw.crc32c:08x}")
    _must(spot, "unknown number of sections", layout.SECTION_COUNT, raw.section_count)
    kind, signed_at = _kind(raw, spot), _signed_at(raw, spot)
    _must(spot, "reserved bytes are not zero", "0" * 2 * layout.RESERVED_SIZE, bytes(raw.reserved).hex())
    _check_sections(raw, spot)
    signatures, table, content = raw.sections
    return PackageHeader(
        version=raw.version,
        kind=kind,
        signed_at=signed_at,
        total_length=raw.total_length,
        table_sha256=Digest.from_bytes(raw.table_sha256),
        signatures_offset=signatures.offset,
        signatures_length=signatures.length,
        table_offset=table.offset,
        table_length=table.length,
        content_offset=content.offset,
        content_length=content.length,
        raw=bytes(data),
    )


def verify_contents(
    header: PackageHeader,
    head: bytes,
    trust: Trust,
    where: str = "package",
    checksum: NewChecksum = Sha256,
) -> TableOfContents:
    """Check the signatures over header and table of a package, then read the table, and only then.

    `head` is all bytes before content, `header.head_length` of them. Raises PackageRefused (not signed as
    `trust` asks for, or altered) or PackageFormatError.
    """
    table, signers = _verified(header, head, trust, where, checksum)
    toc = package_contents(header, table, where)
    trust.check_package(signed_contents(header, toc), signers, where)
    return toc


def verify_bundle(
    header: PackageHeader,
    head: bytes,
    trust: Trust,
    where: str = "composite image",
    checksum: NewChecksum = Sha256,
) -> Bundle:
    """As `verify_contents`, of a set or composite image."""
    table, signers = _verified(header, head, trust, where, checksum)
    bundle = _bundle(header, table, where)
    trust.check_package(signed_contents(header, bundle), signers, where)
    return bundle


def signed_contents(header: PackageHeader, contents: TableOfContents | Bundle) -> SignedPackage:
    """What a trust judges. Format 1 does not say when it was signed: there the build date counts."""
    signed_at = contents.build_date if header.signed_at is None else header.signed_at
    return SignedPackage(contents.name, contents.version, signed_at)


def show_contents(header: PackageHeader, head: bytes, where: str = "package") -> TableOfContents:
    """The table of contents without a look at who signed it: to be shown to a person, never to be followed.

    Raises PackageFormatError or PackageRefused.
    """
    read_signatures(header, head, where)
    return package_contents(header, _bound_table(header, head, where, Sha256), where)


def show_bundle(header: PackageHeader, head: bytes, where: str = "composite image") -> Bundle:
    """As `show_contents`, of a set or composite image."""
    read_signatures(header, head, where)
    return _bundle(header, _bound_table(header, head, where, Sha256), where)


def _verified(
    header: PackageHeader, head: bytes, trust: Trust, where: str, checksum: NewChecksum
) -> tuple[bytes, frozenset[str]]:
    """The table, and the ids of the keys whose signatures over it are right."""
    by_key = {signature.key: signature.signature for signature in read_signatures(header, head, where)}
    table = _bound_table(header, head, where, checksum)
    message = layout.signed_message(header.raw, hashlib.sha256(table).digest(), header.version)
    trust.check_signatures(by_key, message, where)
    return table, frozenset(by_key)


def _bound_table(header: PackageHeader, head: bytes, where: str, checksum: NewChecksum) -> bytes:
    """The table's bytes, when they are those that the header was made for."""
    table = head[header.table_offset :]
    if not fits(table, header.table_sha256, checksum):
        raise PackageRefused(
            "table of contents was altered",
            where=where,
            expected=f"SHA-256 {header.table_sha256}",
            found=Digest.of(table),
        )
    return table


def contents_of(header: PackageHeader, table: bytes, where: str) -> TableOfContents | Bundle:
    """The table of a file of any kind, whoever has signed it. Raises PackageFormatError."""
    if header.kind is EnvelopeKind.PACKAGE:
        return package_contents(header, table, where)
    return _bundle(header, table, where)


def package_contents(header: PackageHeader, table: bytes, where: str) -> TableOfContents:
    """The table of a package of either format. Raises PackageFormatError."""
    _must(where, "file is not a package", EnvelopeKind.PACKAGE.words, header.kind.words)
    toc = (decode_table_1 if header.version == FORMAT_1 else decode_table)(table, where)
    _must(where, "content has another length than its modules", header.content_length, toc.content_length)
    return toc


def _bundle(header: PackageHeader, table: bytes, where: str) -> Bundle:
    if header.kind is EnvelopeKind.PACKAGE:
        _must(where, "file is neither a set nor a composite image", "one of them", header.kind.words)
    bundle = decode_bundle(table, header.kind, where)
    _must(where, "content has another length than its files", header.content_length, bundle.content_length)
    return bundle


def read_signatures(header: PackageHeader, head: bytes, where: str = "package") -> tuple[Signature, ...]:
    """The signatures as they stand, unchecked, out of the whole head. Raises PackageFormatError."""
    if len(head) != header.head_length:
        raise PackageFormatError(
            "head has the wrong length", where=where, expected=header.head_length, found=len(head)
        )
    if head[:HEADER_SIZE] != header.raw:
        raise PackageRefused(
            "header changed between two readings",
            where=where,
            expected=hashlib.sha256(header.raw).hexdigest(),
            found=hashlib.sha256(head[:HEADER_SIZE]).hexdigest(),
        )
    spot = f"{where}: signatures"
    block = head[header.signatures_offset : header.table_offset]
    try:
        start = layout.SIGNATURES_HEAD.parse(block)
        expected = layout.SIGNATURES_HEAD.sizeof() + start.count * layout.SIGNATURE.sizeof()
        _must(spot, "reserved field is not zero", 0, start.reserved)
        _must(spot, f"length of a block with {start.count} signatures", expected, len(block))
        items = layout.SIGNATURE[start.count].parse(block[layout.SIGNATURES_HEAD.sizeof() :])
    except ConstructError as e:
        raise PackageFormatError("cannot be read", where=spot, found=str(e)) from e
    signatures = tuple(Signature(bytes(item.key_id).hex(), bytes(item.signature)) for item in items)
    keys = [signature.key for signature in signatures]
    if keys != sorted(set(keys)):
        raise PackageFormatError("not sorted and unique", where=spot, found=", ".join(k[:12] for k in keys))
    return signatures


def _kind(raw: Container, spot: str) -> EnvelopeKind:
    if raw.version == FORMAT_1:
        _must(spot, "unknown flags", 0, raw.kind)
        return EnvelopeKind.PACKAGE
    try:
        return EnvelopeKind(raw.kind)
    except ValueError:
        known = ", ".join(f"{kind.value} ({kind.words})" for kind in EnvelopeKind)
        raise PackageFormatError("unknown kind of file", where=spot, expected=known, found=raw.kind) from None


def _signed_at(raw: Container, spot: str) -> int | None:
    if raw.version == FORMAT_1:
        _must(spot, "reserved bytes are not zero", 0, raw.signed_at)
        return None
    if raw.signed_at > layout.MAX_TIME:
        raise PackageFormatError(
            "signing time out of range", where=spot, expected=f"0 to {layout.MAX_TIME}", found=raw.signed_at
        )
    return int(raw.signed_at)


def _check_sections(raw: Container, spot: str) -> None:
    """The sections follow each other from the header to the end of the file, and keep their bounds."""
    size = layout.SIGNATURE.sizeof()
    base = layout.SIGNATURES_HEAD.sizeof()
    bounds = (
        (base + layout.SIGNATURES_MIN * size, base + layout.SIGNATURES_MAX * size),
        (1, layout.MAX_TABLE_1 if raw.version == FORMAT_1 else layout.MAX_TABLE),
        (0, layout.MAX_CONTENT),
    )
    position = HEADER_SIZE
    for section, kind, name, (least, most) in zip(
        raw.sections, _SECTIONS, _SECTION_NAMES, bounds, strict=True
    ):
        found = (section.kind, section.flags, section.reserved)
        _must(spot, f"kind, flags, reserved of section {name}", (kind, 0, 0), found)
        _must(spot, f"offset of section {name}", position, section.offset)
        if not least <= section.length <= most:
            raise PackageFormatError(
                f"length of section {name}", where=spot, expected=f"{least} to {most}", found=section.length
            )
        position += section.length
    _must(spot, "total length", position, raw.total_length)


def _must(where: str, what: str, expected: object, found: object) -> None:
    if expected != found:
        raise PackageFormatError(what, where=where, expected=expected, found=found)
