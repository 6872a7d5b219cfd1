"""A package from its parts: cut into pieces, compressed, listed, signed. SPEC-package §9.

The same inputs give the same bytes: order is the table's, times are the manifest's, compression is fixed.
Refuses to know where the parts come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package.contents import (
    MAX_MODE,
    WITHOUT_CONTENT,
    Dependency,
    Group,
    Module,
    ModuleKind,
    TableOfContents,
    content_order,
    module_order,
)
from firmware_mgr.package.process import ProcessSpec
from firmware_mgr.package.substantive import substantive_signature
from firmware_mgr.package.table import encode_table
from firmware_mgr.packaging.keys import SigningKey
from firmware_mgr.packaging.sealing import seal, write_package
from firmware_mgr.packaging.storing import store_file

__all__ = ["ModuleSource", "PackageHead", "build_package", "pack", "seal", "write_package"]


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
    groups: tuple[str, ...] = ()
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
    groups: tuple[Group, ...] = ()


def build_package(
    head: PackageHead,
    sources: Iterable[ModuleSource],
    signing_keys: Sequence[SigningKey],
    signed_at: int | None = None,
) -> bytes:
    """The whole file. Raises UsageError when a part is illegal, or no key is given.

    `signed_at` is in seconds since 1970-01-01 UTC, the build date when it is not given.
    """
    toc, content = pack(head, sources)
    return seal(
        encode_table(toc),
        content,
        signing_keys,
        signed_at=head.build_date if signed_at is None else signed_at,
    )


def pack(head: PackageHead, sources: Iterable[ModuleSource]) -> tuple[TableOfContents, bytes]:
    """Table and content, not yet signed. Raises UsageError when a part is illegal."""
    stored = [_store(source) for source in sources]
    content: list[bytes] = []
    modules: list[Module] = []
    position = 0
    for module, data in sorted(stored, key=lambda each: content_order(each[0])):
        modules.append(replace(module, offset=position))
        content.append(data)
        position += len(data)
    toc = TableOfContents(
        name=head.name,
        version=head.version,
        build_date=head.build_date,
        local_dependencies=tuple(sorted(head.local_dependencies, key=lambda one: one.place)),
        remote_dependencies=tuple(sorted(head.remote_dependencies, key=lambda one: one.place)),
        upgrades=tuple(sorted(head.upgrades)),
        modules=tuple(sorted(modules, key=lambda module: module_order(module.path, module.cpu))),
        processes=tuple(sorted(head.processes, key=lambda process: process.name)),
        groups=tuple(sorted(head.groups, key=lambda group: group.name)),
    )
    return toc, b"".join(content)


def _store(source: ModuleSource) -> tuple[Module, bytes]:
    bare = source.kind in WITHOUT_CONTENT
    if bare and source.data:
        raise UsageError("content of a symlink or directory", where=source.path, found=len(source.data))
    pieces, stored = store_file(source.data)
    exact = Digest.of(source.link_target.encode() if bare else source.data)
    module = Module(
        path=source.path,
        kind=source.kind,
        cpu=source.cpu,
        mode=MAX_MODE if source.kind is ModuleKind.SYMLINK else source.mode,
        length=len(source.data),
        offset=0,
        pieces=pieces,
        sha256=exact,
        substantive=exact if bare else substantive_signature(source.data, source.path),
        function=source.function,
        link_target=source.link_target,
        groups=tuple(sorted(set(source.groups))),
        provides=tuple(sorted(set(source.provides))),
        consumes=tuple(sorted(set(source.consumes))),
    )
    return module, stored
