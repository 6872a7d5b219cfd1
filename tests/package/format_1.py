"""Packages of format 1, as earlier versions wrote them: nothing writes them any more but tests.

Knows SPEC-package §11. What it makes is, byte for byte, what the builder of format 1 made (`test_format_1`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import zstandard

from firmware_mgr.model.ids import Digest
from firmware_mgr.package import layout, layout_1
from firmware_mgr.package import layout_tables as lt
from firmware_mgr.package.contents import (
    MAX_MODE,
    WITHOUT_CONTENT,
    Compression,
    Dependency,
    Module,
    ModuleKind,
    Piece,
    TableOfContents,
    module_order,
)
from firmware_mgr.package.forms import COMPRESSION_CODES, CPU_CODES, KIND_CODES, build_tables, code, pair
from firmware_mgr.package.pieces import NOTHING
from firmware_mgr.package.process_form import process_fields
from firmware_mgr.package.substantive import substantive_signature
from firmware_mgr.package.table_1 import TABLES
from firmware_mgr.packaging.build import ModuleSource, PackageHead
from firmware_mgr.packaging.keys import SigningKey


def build_package_1(
    head: PackageHead, sources: Iterable[ModuleSource], signing_keys: Sequence[SigningKey]
) -> bytes:
    """The whole file."""
    toc, content = pack_1(head, sources)
    return seal_1(encode_table_1(toc), content, signing_keys)


def pack_1(head: PackageHead, sources: Iterable[ModuleSource]) -> tuple[TableOfContents, bytes]:
    """Table and content, not yet signed."""
    modules: list[Module] = []
    content: list[bytes] = []
    position = 0
    for source in sorted(sources, key=lambda one: module_order(one.path, one.cpu)):
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
        format=layout.FORMAT_1,
    )
    return toc, b"".join(content)


def encode_table_1(toc: TableOfContents) -> bytes:
    """The one encoding of the table."""
    package = layout_1.PACKAGE.build(
        {
            "name": toc.name.encode(),
            "version": toc.version.encode(),
            "build_date": toc.build_date,
            "local": _pairs(toc.local_dependencies),
            "remote": _pairs(toc.remote_dependencies),
            "upgrades": _pairs(toc.upgrades),
        }
    )
    modules = lt.MODULE_COUNT.build(len(toc.modules))
    modules += b"".join(layout_1.MODULE.build(module_fields_1(module)) for module in toc.modules)
    processes = lt.PROCESS_COUNT.build(len(toc.processes))
    processes += b"".join(lt.PROCESS.build(process_fields(process)) for process in toc.processes)
    return build_tables(dict(zip(TABLES, (package, modules, processes), strict=True)))


def seal_1(table: bytes, content: bytes, signing_keys: Sequence[SigningKey]) -> bytes:
    """Header, signatures, table and content as one file."""
    keys = sorted(signing_keys, key=lambda key: key.id)
    table_sha256 = hashlib.sha256(table).digest()
    lengths = (4 + 96 * len(keys), len(table), len(content))
    sections, position = [], layout.HEADER_SIZE
    for number, length in enumerate(lengths, 1):
        sections.append({"kind": number, "flags": 0, "reserved": 0, "offset": position, "length": length})
        position += length
    fields = {
        "magic": layout.MAGIC,
        "version": 1,
        "header_length": layout.HEADER_SIZE,
        "section_count": 3,
        "kind": 0,
        "total_length": position,
        "table_sha256": table_sha256,
        "sections": sections,
        "signed_at": 0,
        "reserved": bytes(layout.RESERVED_SIZE),
        "crc32c": 0,
    }
    draft: bytes = layout.HEADER.build(fields)
    header: bytes = layout.HEADER.build({**fields, "crc32c": layout.crc32c(draft[: layout.CRC_OFFSET])})
    message = layout.signed_message(header, table_sha256, 1)
    block = layout.SIGNATURES_HEAD.build({"count": len(keys), "reserved": 0})
    for key in keys:
        block += layout.SIGNATURE.build({"key_id": bytes.fromhex(key.id), "signature": key.sign(message)})
    return b"".join((header, block, table, content))


def module_fields_1(module: Module) -> dict[str, Any]:
    """A module's fields, for building."""
    stored = module.pieces[0] if module.pieces else Piece(0, Compression.NONE, NOTHING)
    return {
        "path": module.path.encode(),
        "kind": code(KIND_CODES, module.kind),
        "cpu": code(CPU_CODES, module.cpu),
        "compression": code(COMPRESSION_CODES, stored.compression),
        "reserved": 0,
        "mode": module.mode,
        "length": module.length,
        "stored_length": stored.stored_length,
        "offset": module.offset,
        "sha256": module.sha256.to_bytes(),
        "stored_sha256": stored.sha256.to_bytes(),
        "substantive": module.substantive.to_bytes(),
        "function": module.function.encode(),
        "link_target": module.link_target.encode(),
        "provides": [name.encode() for name in module.provides],
        "consumes": [name.encode() for name in module.consumes],
    }


def _store(source: ModuleSource, offset: int) -> tuple[Module, bytes]:
    bare = source.kind in WITHOUT_CONTENT
    compressor = zstandard.ZstdCompressor(level=19, write_content_size=True, write_checksum=False, threads=0)
    compressed = compressor.compress(source.data)
    shrinks = len(compressed) < len(source.data)
    stored = compressed if shrinks else source.data
    exact = Digest.of(source.link_target.encode() if bare else source.data)
    piece = Piece(len(stored), Compression.ZSTD if shrinks else Compression.NONE, Digest.of(stored))
    module = Module(
        path=source.path,
        kind=source.kind,
        cpu=source.cpu,
        mode=MAX_MODE if source.kind is ModuleKind.SYMLINK else source.mode,
        length=len(source.data),
        offset=offset,
        pieces=(piece,) if stored else (),
        sha256=exact,
        substantive=exact if bare else substantive_signature(source.data),
        function=source.function,
        link_target=source.link_target,
        provides=tuple(sorted(set(source.provides))),
        consumes=tuple(sorted(set(source.consumes))),
        streamed=True,
    )
    return module, stored


def _pairs(dependencies: Iterable[Dependency]) -> list[dict[str, bytes]]:
    return [pair(dependency.name, dependency.constraint) for dependency in dependencies]
