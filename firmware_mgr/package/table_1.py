"""A table of contents of format 1, which flash and catalogues hold: read, not written. SPEC-package §11.

Knows how its values become those of today. Refuses to know files, keys and content.
"""

from __future__ import annotations

from collections.abc import Iterable

from construct import Container

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.package import layout, layout_1
from firmware_mgr.package import layout_tables as lt
from firmware_mgr.package.contents import (
    NOTHING,
    WITHOUT_CONTENT,
    Compression,
    Dependency,
    Module,
    Piece,
    TableOfContents,
)
from firmware_mgr.package.forms import (
    COMPRESSION_CODES,
    CPU_CODES,
    KIND_CODES,
    Place,
    only,
    reading,
    records,
    reserved,
    table_bodies,
    text,
    texts,
    value,
)
from firmware_mgr.package.process_form import process_of

TABLES = (lt.TABLE_PACKAGE, lt.TABLE_MODULES, lt.TABLE_PROCESSES)


def decode_table_1(data: bytes, where: str) -> TableOfContents:
    """Raises PackageFormatError, whatever the bytes are."""
    place = Place(where)
    with reading(place):
        about, moduled, processed = table_bodies(data, TABLES, place, layout.MAX_TABLE_1)
        place.part = lt.TABLE_NAMES[lt.TABLE_PACKAGE]
        package = only(about, layout_1.PACKAGE)
        place.part = lt.TABLE_NAMES[lt.TABLE_MODULES]
        modules = records(moduled, lt.MODULE_COUNT, layout_1.MODULE, _module)
        place.part = lt.TABLE_NAMES[lt.TABLE_PROCESSES]
        processes = records(processed, lt.PROCESS_COUNT, lt.PROCESS, process_of)
        place.part = "table of contents"
        return TableOfContents(
            name=text(package.name),
            version=text(package.version),
            build_date=package.build_date,
            local_dependencies=_dependencies(package.local),
            remote_dependencies=_dependencies(package.remote),
            upgrades=_dependencies(package.upgrades),
            modules=modules,
            processes=processes,
            format=layout.FORMAT_1,
        )


def _dependencies(raw: Iterable[Container]) -> tuple[Dependency, ...]:
    return tuple(Dependency(text(one.name), text(one.value)) for one in raw)


def _module(raw: Container) -> Module:
    path = text(raw.path)
    reserved(raw.reserved, path)
    kind = value(KIND_CODES, raw.kind, "kind", path)
    compression = value(COMPRESSION_CODES, raw.compression, "compression", path)
    stored_sha256 = Digest.from_bytes(raw.stored_sha256)
    stored = Piece(raw.stored_length, compression, stored_sha256)
    if not raw.stored_length and (compression, stored_sha256) != (Compression.NONE, NOTHING):
        found = f"{compression.value}, {stored_sha256}"
        raise UsageError("storage of no bytes", where=path, expected=f"none, {NOTHING}", found=found)
    if kind in WITHOUT_CONTENT and raw.stored_length:
        raise UsageError("content of a symlink or directory", where=path, expected=0, found=raw.stored_length)
    return Module(
        path=path,
        kind=kind,
        cpu=value(CPU_CODES, raw.cpu, "CPU", path),
        mode=raw.mode,
        length=raw.length,
        offset=raw.offset,
        pieces=(stored,) if raw.stored_length else (),
        sha256=Digest.from_bytes(raw.sha256),
        substantive=Digest.from_bytes(raw.substantive),
        function=text(raw.function),
        link_target=text(raw.link_target),
        provides=texts(raw.provides),
        consumes=texts(raw.consumes),
        streamed=True,
    )
