"""An import as one CPU sees it: its .debs laid over each other, its ELF files, its libraries, its modules.

Knows one CPU at a time. Refuses to know the other CPUs, and how what is the same for all becomes neutral.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from firmware_mgr.imaging.tree import File, Folder, Link, Node, resolve
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.contents import MAX_MODE, ModuleKind
from firmware_mgr.package.paths import MOUNT_POINTS
from firmware_mgr.packaging.build import ModuleSource
from firmware_mgr.packaging.closure import library_directories
from firmware_mgr.packaging.deb_file import DebPackage
from firmware_mgr.packaging.deb_needs import Met, Need
from firmware_mgr.packaging.deb_tree import DebTree, LeaveOut, Placed, lay_debs
from firmware_mgr.packaging.elf_facts import LOADABLE, ElfFacts, read_elf
from firmware_mgr.packaging.import_kinds import (
    MODULE_KINDS,
    find_kind,
    script_interpreter,
    started_by,
)
from firmware_mgr.packaging.import_manifest import ExtraManifest, MarkEntry, matches
from firmware_mgr.packaging.import_notes import NoteKind, Notes
from firmware_mgr.packaging.import_report import ImportedModule
from firmware_mgr.packaging.library_use import LibraryUse, Loader

#: Left out unless the extra manifest keeps it; licences (copyright) always stay.
_DOCUMENTATION = ("doc", "doc-base", "man", "info", "lintian", "bug", "gtk-doc", "reportbug")
_DLOPEN = b"\0dlopen\0"  # among the names of symbols
_C_LIBRARY = ("libc.so.", "ld-linux")  # has it for others


class Patterns:
    """Which patterns of the extra manifest have matched something, over all CPUs."""

    def __init__(self, extra: ExtraManifest) -> None:
        self.unmatched = {
            *(("drop", entry.path) for entry in extra.drop),
            *(("rename", entry.path) for entry in extra.rename),
            *(("mark", entry.path) for entry in extra.mark),
        }

    def matched(self, what: str, pattern: str) -> None:
        self.unmatched.discard((what, pattern))

    def check(self) -> None:
        """Raise UsageError when one has matched nothing: it would be obeyed by nobody and seen by nobody."""
        for what, pattern in sorted(self.unmatched):
            raise UsageError(
                "nothing in the .debs has this path",
                where=f"extra manifest: {what}",
                expected="a path or pattern of what is imported, such as usr/sbin/*",
                found=repr(pattern),
            )


@dataclass(frozen=True, slots=True)
class CpuImport:
    """The modules for one CPU, and what was found on the way. `missing`: by path, names not in the import."""

    cpu: CpuArch
    modules: tuple[ImportedModule, ...]
    uses: Mapping[str, LibraryUse]
    facts: Mapping[str, ElfFacts]
    owners: Mapping[str, str]
    missing: Mapping[str, tuple[str, ...]]


def import_for_cpu(
    debs: Sequence[DebPackage], cpu: CpuArch, extra: ExtraManifest, patterns: Patterns, notes: Notes
) -> CpuImport:
    """Raises UsageError or PeerError."""
    tree = _renamed(lay_debs(debs, cpu, _leaver(extra, patterns), notes), extra, patterns)
    nodes = {path: placed.node for path, placed in tree.items()}
    facts = _elf_facts(tree, cpu, extra)
    loader = Loader(nodes, facts, cpu)
    uses = {path: loader.use(path) for path in sorted(facts)}
    linked = {place for use in uses.values() for place in use.direct.values() if place is not None}
    starts = started_by(nodes)
    parents = {parent for path in tree for parent in _parents(path)}
    modules: list[ImportedModule] = []
    missing: dict[str, tuple[str, ...]] = {}
    for path, placed in sorted(tree.items()):
        node = placed.node
        if isinstance(node, Folder) and path in parents and node.mode == Folder().mode:
            continue
        found = find_kind(
            path,
            node,
            facts.get(path),
            starts=path in starts,
            linked=path in linked or posixpath.dirname(path) in library_directories(cpu),
            conffile=placed.conffile,
        )
        marks = [mark for mark in extra.mark if isinstance(node, File) and matches(path, mark.path)]
        for mark in marks:
            patterns.matched("mark", mark.path)
        source = _source(path, placed, MODULE_KINDS[found], own=cpu, facts=facts.get(path), marks=marks)
        modules.append(ImportedModule(source, found, placed.deb))
        wanted = _missing(path, uses.get(path), marks, loader)
        if wanted:
            missing[path] = wanted
    _note_what_to_know(nodes, facts, modules, cpu, notes)
    owners = {path: placed.deb for path, placed in tree.items()}
    return CpuImport(cpu, tuple(modules), uses, facts, owners, missing)


def check_libraries(imported: CpuImport, needs: Sequence[Need]) -> None:
    """Libraries from outside belong to .debs from outside, and needed symbol versions are defined."""
    vouched = {need.deb for need in needs if need.met in (Met.DEPENDED, Met.ASSUMED)}
    for path, names in imported.missing.items():
        if imported.owners[path] not in vouched:
            raise UsageError(
                "libraries are missing",
                where=f"{path} ({imported.cpu.value}), of {imported.owners[path]}",
                expected=", ".join(names),
                found="neither in the import nor in a Debian package that it depends on",
                hint="add the .deb that has them, or [[drop]] the file in the extra manifest",
            )
    for path, facts in imported.facts.items():
        for soname, version in facts.needs:
            place = imported.uses[path].direct.get(soname)
            library = imported.facts[place] if place is not None else None
            if library is not None and library.defines and version not in library.defines:
                raise UsageError(
                    "a library does not define the symbols that a file needs",
                    where=f"{path} ({imported.cpu.value}), of {imported.owners[path]}",
                    expected=f"{version} in {place}",
                    found=f"another version of {imported.owners[place or '']}",
                    hint="import .debs of one release together",
                )


def _leaver(extra: ExtraManifest, patterns: Patterns) -> LeaveOut:
    def leave_out(path: str) -> tuple[str, str] | None:
        for entry in extra.drop:
            if matches(path, entry.path):
                patterns.matched("drop", entry.path)
                return entry.path, "dropped by the extra manifest"
        if not extra.keep_documentation and _is_documentation(path):
            return "usr/share", "documentation; the extra manifest keeps it with keep_documentation = true"
        return None

    return leave_out


def _is_documentation(path: str) -> bool:
    parts = path.split("/")
    licence = parts[-1] == "copyright"
    return parts[:2] == ["usr", "share"] and len(parts) > 2 and parts[2] in _DOCUMENTATION and not licence


def _renamed(tree: DebTree, extra: ExtraManifest, patterns: Patterns) -> DebTree:
    for entry in extra.rename:
        placed = tree.get(entry.path)
        if placed is None:
            continue
        patterns.matched("rename", entry.path)
        if entry.to in tree or isinstance(placed.node, Folder):
            raise UsageError(
                "cannot be renamed",
                where=f"extra manifest: {entry.path}",
                expected="a file or link, and nothing at its new path",
                found=f"a directory, or something at {entry.to}",
            )
        del tree[entry.path]
        tree[entry.to] = placed
    return tree


def _elf_facts(tree: DebTree, cpu: CpuArch, extra: ExtraManifest) -> dict[str, ElfFacts]:
    """Of what can be loaded. Files that are marked as data or config are not looked into."""
    facts: dict[str, ElfFacts] = {}
    for path, placed in tree.items():
        if not isinstance(placed.node, File) or _marked_plain(path, extra):
            continue
        hint = '[[drop]] it in the extra manifest, or [[mark]] it with kind = "data"'
        try:
            found = read_elf(placed.node.data, f"{placed.deb}: {path}")
        except PeerError as e:
            raise PeerError(e.what, where=e.where, found=e.found, hint=hint) from e
        if found is None or found.kind not in LOADABLE:
            continue
        if placed.neutral or found.cpu is not cpu:
            raise UsageError(
                "program or library for another CPU than its .deb",
                where=f"{placed.deb}: {path}",
                expected="no ELF file in a package for all" if placed.neutral else cpu.value,
                found=found.machine,
                hint=hint,
            )
        facts[path] = found
    return facts


def _marked_plain(path: str, extra: ExtraManifest) -> bool:
    return any(
        mark.kind in (ModuleKind.DATA, ModuleKind.CONFIG) and matches(path, mark.path) for mark in extra.mark
    )


def _source(
    path: str,
    placed: Placed,
    kind: ModuleKind,
    *,
    own: CpuArch,
    facts: ElfFacts | None,
    marks: Sequence[MarkEntry],
) -> ModuleSource:
    node, cpu = placed.node, None if placed.neutral else own
    if isinstance(node, Link):
        return ModuleSource(path, ModuleKind.SYMLINK, cpu=cpu, mode=MAX_MODE, link_target=node.target)
    source = ModuleSource(path, kind, cpu=cpu, mode=node.mode)
    if isinstance(node, Folder):
        return source
    source = replace(source, data=node.data)
    if facts is not None:
        provides = (*facts.provides, *facts.symbols_provided)
        source = replace(source, provides=provides, consumes=(*facts.consumes, *facts.symbols_consumed))
    for mark in marks:
        source = replace(
            source,
            kind=mark.kind or source.kind,
            function=mark.function or source.function,
            mode=source.mode if mark.mode is None else mark.mode,
            provides=(*source.provides, *mark.provides),
            consumes=(*source.consumes, *mark.consumes),
        )
    return source


def _missing(
    path: str, use: LibraryUse | None, marks: Sequence[MarkEntry], loader: Loader
) -> tuple[str, ...]:
    """Libraries that a file asks for itself, or that a person says it opens, and that are not there."""
    names = {name for name, place in use.direct.items() if place is None} if use else set()
    by_hand = (name.removeprefix("so:") for mark in marks for name in mark.consumes if name.startswith("so:"))
    return tuple(sorted(names | {name for name in by_hand if loader.find(name, path) is None}))


def _note_what_to_know(
    nodes: Mapping[str, Node],
    facts: Mapping[str, ElfFacts],
    modules: Sequence[ImportedModule],
    cpu: CpuArch,
    notes: Notes,
) -> None:
    for module in modules:
        path, node = module.source.path, nodes[module.source.path]
        if isinstance(node, Link) and resolve(nodes, path) is None and not _leads_to_mount(path, node.target):
            notes.add(NoteKind.HINT, path, f"leads to {node.target}, which is not in this package", cpu)
        interpreter = script_interpreter(node)
        if interpreter and resolve(nodes, interpreter.lstrip("/")) is None:
            notes.add(NoteKind.HINT, interpreter, "is wanted by scripts and is not in this package", cpu)
        elf = facts.get(path)
        by_hand = any(
            name.startswith("so:") for name in set(module.source.consumes) - set(elf.consumes if elf else ())
        )
        if elf and _DLOPEN in module.source.data and not elf.soname.startswith(_C_LIBRARY) and not by_hand:
            text = "opens libraries by name at run time (dlopen): [[mark]] has room for their names"
            notes.add(NoteKind.HINT, path, text, cpu)


def _leads_to_mount(path: str, target: str) -> bool:
    """Such as to /dev/null, which every card has."""
    end = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), target))
    return end.split("/")[1] in MOUNT_POINTS


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
