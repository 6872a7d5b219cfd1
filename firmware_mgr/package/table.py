"""A package's table of contents as bytes, both ways: SPEC-package §4, format 2.

Knows which field stands where. Refuses to know files, keys and content.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from construct import Container

from firmware_mgr.model.ids import Digest
from firmware_mgr.package import layout
from firmware_mgr.package import layout_tables as lt
from firmware_mgr.package.checks import check_names
from firmware_mgr.package.contents import Dependency, Group, Module, TableOfContents
from firmware_mgr.package.forms import (
    CPU_CODES,
    FLAG_CODES,
    KIND_CODES,
    Place,
    at_end,
    build_tables,
    code,
    pair,
    reading,
    records,
    records_in,
    table_bodies,
    text,
    texts,
    value,
)
from firmware_mgr.package.piece_form import piece_fields, pieces_of
from firmware_mgr.package.process_form import process_fields, process_of

TABLES = (lt.TABLE_PACKAGE, lt.TABLE_GROUPS, lt.TABLE_MODULES, lt.TABLE_PROCESSES)


def decode_table(data: bytes, where: str) -> TableOfContents:
    """Raises PackageFormatError, whatever the bytes are."""
    place, names = Place(where), _Names()
    with reading(place):
        about, grouped, moduled, processed = table_bodies(data, TABLES, place, layout.MAX_TABLE)
        place.part = lt.TABLE_NAMES[lt.TABLE_PACKAGE]
        stream = io.BytesIO(about)
        package = lt.ABOUT.parse_stream(stream)
        local = records_in(stream, lt.LIMITED_COUNT, lt.LIMITED, names.limited)
        remote = records_in(stream, lt.LIMITED_COUNT, lt.LIMITED, names.limited)
        upgrades = layout.PAIRS.parse_stream(stream)
        at_end(stream)
        place.part = lt.TABLE_NAMES[lt.TABLE_GROUPS]
        groups = records(grouped, lt.GROUP_COUNT, lt.GROUP, _group)
        place.part = lt.TABLE_NAMES[lt.TABLE_MODULES]
        modules = records(moduled, lt.MODULE_COUNT, lt.MODULE, names.module)
        place.part = lt.TABLE_NAMES[lt.TABLE_PROCESSES]
        processes = records(processed, lt.PROCESS_COUNT, lt.PROCESS, process_of)
        place.part = "table of contents"
        return TableOfContents(
            name=text(package.name),
            version=text(package.version),
            build_date=package.build_date,
            local_dependencies=local,
            remote_dependencies=remote,
            upgrades=tuple(Dependency(text(one.name), text(one.value)) for one in upgrades),
            modules=modules,
            processes=processes,
            groups=groups,
        )


def encode_table(toc: TableOfContents) -> bytes:
    """The one encoding of the table."""
    package = lt.PACKAGE.build(
        {
            "name": toc.name.encode(),
            "version": toc.version.encode(),
            "build_date": toc.build_date,
            "local": [_limited_fields(dependency) for dependency in toc.local_dependencies],
            "remote": [_limited_fields(dependency) for dependency in toc.remote_dependencies],
            "upgrades": [pair(dependency.name, dependency.constraint) for dependency in toc.upgrades],
        }
    )
    groups = lt.GROUP_COUNT.build(len(toc.groups))
    groups += b"".join(lt.GROUP.build(_group_fields(group)) for group in toc.groups)
    modules = lt.MODULE_COUNT.build(len(toc.modules))
    modules += b"".join(lt.MODULE.build(_module_fields(module)) for module in toc.modules)
    processes = lt.PROCESS_COUNT.build(len(toc.processes))
    processes += b"".join(lt.PROCESS.build(process_fields(process)) for process in toc.processes)
    return build_tables(dict(zip(TABLES, (package, groups, modules, processes), strict=True)))


@dataclass(slots=True)
class _Names:
    """Counts names while records are read, so that no more are held than are legal."""

    count: int = 0

    def limited(self, raw: Container) -> Dependency:
        self._add(raw.boards)
        return Dependency(text(raw.name), text(raw.value), texts(raw.boards))

    def module(self, raw: Container) -> Module:
        self._add(raw.groups, raw.provides, raw.consumes)
        return _module(raw)

    def _add(self, *lists: list[bytes]) -> None:
        self.count += sum(map(len, lists))
        check_names(self.count)


def _limited_fields(dependency: Dependency) -> dict[str, Any]:
    boards = [board.encode() for board in dependency.boards]
    return {**pair(dependency.name, dependency.constraint), "boards": boards}


def _group(raw: Container) -> Group:
    name = text(raw.name)
    return Group(name, text(raw.summary), value(FLAG_CODES, raw.wanted, "flag", name))


def _group_fields(group: Group) -> dict[str, Any]:
    wanted = code(FLAG_CODES, group.wanted)
    return {"name": group.name.encode(), "summary": group.summary.encode(), "wanted": wanted}


def _module(raw: Container) -> Module:
    path = text(raw.path)
    return Module(
        path=path,
        kind=value(KIND_CODES, raw.kind, "kind", path),
        cpu=value(CPU_CODES, raw.cpu, "CPU", path),
        mode=raw.mode,
        length=raw.length,
        offset=raw.offset,
        pieces=pieces_of(raw.pieces, path),
        sha256=Digest.from_bytes(raw.sha256),
        substantive=Digest.from_bytes(raw.substantive),
        function=text(raw.function),
        link_target=text(raw.link_target),
        groups=texts(raw.groups),
        provides=texts(raw.provides),
        consumes=texts(raw.consumes),
    )


def _module_fields(module: Module) -> dict[str, Any]:
    return {
        "path": module.path.encode(),
        "kind": code(KIND_CODES, module.kind),
        "cpu": code(CPU_CODES, module.cpu),
        "mode": module.mode,
        "length": module.length,
        "offset": module.offset,
        "sha256": module.sha256.to_bytes(),
        "substantive": module.substantive.to_bytes(),
        "function": module.function.encode(),
        "link_target": module.link_target.encode(),
        "groups": [name.encode() for name in module.groups],
        "provides": [name.encode() for name in module.provides],
        "consumes": [name.encode() for name in module.consumes],
        "pieces": piece_fields(module.pieces),
    }
