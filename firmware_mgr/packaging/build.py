"""A package file from its parts: compressed, listed, signed. SPEC-package §9.

The same inputs give the same bytes: order is the table's, time is the manifest's, compression is fixed.
Refuses to know where the parts come from.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package import layout
from firmware_mgr.package.contents import (
    MAX_MODE,
    NOTHING,
    WITHOUT_CONTENT,
    Compression,
    Dependency,
    Module,
    ModuleKind,
    TableOfContents,
    module_order,
)
from firmware_mgr.package.process import ProcessSpec
from firmware_mgr.package.substantive import substantive_signature
from firmware_mgr.package.table import encode_table
from firmware_mgr.packaging.keys import SigningKey

ZSTD_LEVEL = 19


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """A module before it is stored. `cpu` None fits every CPU; symlinks and directories have no `data`."""

    path: str
    kind: ModuleKind
    data: bytes = b""
    cpu: CpuArch | None = None
    mode: int = 0o644
    function: str = ""
    link_target: str = ""
    provides: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PackageHead:
    """What a package says of itself besides its modules. `build_date` in seconds since 1970-01-01 UTC."""

    name: str
    version: str
    build_date: int
    local_dependencies: tuple[Dependency, ...] = ()
    remote_dependencies: tuple[Dependency, ...] = ()
    upgrades: tuple[Dependency, ...] = ()
    processes: tuple[ProcessSpec, ...] = ()


def build_package(
    head: PackageHead, sources: Iterable[ModuleSource], signing_keys: Sequence[SigningKey]
) -> bytes:
    """The whole file. Raises UsageError when a part is illegal, or no key is given."""
    toc, content = pack(head, sources)
    return seal(encode_table(toc), content, signing_keys)


def pack(head: PackageHead, sources: Iterable[ModuleSource]) -> tuple[TableOfContents, bytes]:
    """Table and content, not yet signed. Raises UsageError when a part is illegal."""
    modules: list[Module] = []
    content: list[bytes] = []
    position = 0
    for source in sorted(sources, key=_source_order):
        module, stored = _store(source, position)
        modules.append(module)
        content.append(stored)
        position += len(stored)
    toc = TableOfContents(
        name=head.name,
        version=head.version,
        build_date=head.build_date,
        local_dependencies=tuple(sorted(head.local_dependencies)),
        remote_dependencies=tuple(sorted(head.remote_dependencies)),
        upgrades=tuple(sorted(head.upgrades)),
        modules=tuple(modules),
        processes=tuple(sorted(head.processes, key=lambda process: process.name)),
    )
    return toc, b"".join(content)


def seal(table: bytes, content: bytes, signing_keys: Sequence[SigningKey]) -> bytes:
    """Header, signatures, table and content as one file."""
    keys = sorted({key.id: key for key in signing_keys}.values(), key=lambda key: key.id)
    if not layout.SIGNATURES_MIN <= len(keys) <= layout.SIGNATURES_MAX:
        raise UsageError(
            "illegal number of signing keys",
            expected=f"{layout.SIGNATURES_MIN} to {layout.SIGNATURES_MAX}",
            found=len(keys),
        )
    if len(table) > layout.MAX_TABLE:
        raise UsageError(
            "table of contents is too long", expected=f"{layout.MAX_TABLE} at most", found=len(table)
        )
    table_sha256 = hashlib.sha256(table).digest()
    signatures_length = layout.SIGNATURES_HEAD.sizeof() + len(keys) * layout.SIGNATURE.sizeof()
    header = _header(signatures_length, len(table), len(content), table_sha256)
    message = layout.signed_message(header, table_sha256)
    block = layout.SIGNATURES_HEAD.build({"count": len(keys), "reserved": 0})
    for key in keys:
        block += layout.SIGNATURE.build({"key_id": bytes.fromhex(key.id), "signature": key.sign(message)})
    return b"".join((header, block, table, content))


def write_package(path: Path, package: bytes) -> None:
    """Put the file in its place whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as stream:
            stream.write(package)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as e:
        draft.unlink(missing_ok=True)
        raise UsageError("package cannot be written", where=str(path), found=e.strerror) from e


def _source_order(source: ModuleSource) -> tuple[str, int]:
    return module_order(source.path, source.cpu)


def _store(source: ModuleSource, offset: int) -> tuple[Module, bytes]:
    bare = source.kind in WITHOUT_CONTENT
    if bare and source.data:
        raise UsageError("content of a symlink or directory", where=source.path, found=len(source.data))
    compressed = _compress(source.data)
    shrinks = len(compressed) < len(source.data)
    stored = compressed if shrinks else source.data
    exact = Digest.of(source.link_target.encode() if bare else source.data)
    module = Module(
        path=source.path,
        kind=source.kind,
        cpu=source.cpu,
        mode=MAX_MODE if source.kind is ModuleKind.SYMLINK else source.mode,
        length=len(source.data),
        stored_length=len(stored),
        offset=offset,
        compression=Compression.ZSTD if shrinks else Compression.NONE,
        sha256=exact,
        stored_sha256=Digest.of(stored) if stored else NOTHING,
        substantive=exact if bare else substantive_signature(source.data),
        function=source.function,
        link_target=source.link_target,
        provides=tuple(sorted(set(source.provides))),
        consumes=tuple(sorted(set(source.consumes))),
    )
    return module, stored


def _compress(data: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor(
        level=ZSTD_LEVEL, write_content_size=True, write_checksum=False, threads=0
    )
    return compressor.compress(data)


def _header(signatures_length: int, table_length: int, content_length: int, table_sha256: bytes) -> bytes:
    sections = []
    position = layout.HEADER_SIZE
    for kind, length in (
        (layout.SECTION_SIGNATURES, signatures_length),
        (layout.SECTION_TABLE, table_length),
        (layout.SECTION_CONTENT, content_length),
    ):
        sections.append({"kind": kind, "flags": 0, "reserved": 0, "offset": position, "length": length})
        position += length
    fields = {
        "magic": layout.MAGIC,
        "version": layout.FORMAT_VERSION,
        "header_length": layout.HEADER_SIZE,
        "section_count": layout.SECTION_COUNT,
        "flags": 0,
        "total_length": position,
        "table_sha256": table_sha256,
        "sections": sections,
        "reserved": bytes(layout.RESERVED_SIZE),
        "crc32c": 0,
    }
    draft: bytes = layout.HEADER.build(fields)
    return bytes(layout.HEADER.build({**fields, "crc32c": layout.crc32c(draft[: layout.CRC_OFFSET])}))
