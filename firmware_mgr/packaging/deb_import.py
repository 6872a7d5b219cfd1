"""From the .debs of several CPUs to one package: read, laid out by CPU, checked, merged. docs/IMPORTING.md.

The one place of the import that knows all its parts. Refuses to know where .debs come from and where the
package goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from firmware_mgr.imaging.debs import DEBIAN_ARCH
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.contents import MAX_MODE, RUNNABLE, Dependency, ModuleKind
from firmware_mgr.packaging.build import ModuleSource, PackageHead, build_package
from firmware_mgr.packaging.deb_file import ContentPool, DebPackage, read_deb_file
from firmware_mgr.packaging.deb_needs import Met, Need, Outside, check_needs, needs_of
from firmware_mgr.packaging.debian_control import ALL
from firmware_mgr.packaging.elf_facts import ELF_MAGIC
from firmware_mgr.packaging.groups import grouped
from firmware_mgr.packaging.import_cpu import CpuImport, Patterns, check_libraries, import_for_cpu
from firmware_mgr.packaging.import_kinds import Found
from firmware_mgr.packaging.import_manifest import ExtraManifest
from firmware_mgr.packaging.import_notes import NoteKind, Notes
from firmware_mgr.packaging.import_report import DebLine, ImportedModule, ImportReport
from firmware_mgr.packaging.keys import SigningKey
from firmware_mgr.packaging.maintainer_scripts import lines_for
from firmware_mgr.packaging.manifest import dependencies_of, groups_of

_CPUS = {arch: cpu for cpu, arch in DEBIAN_ARCH.items()}
_BY_HAND = "extra manifest"


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """What is to be imported. `source_date` is SOURCE_DATE_EPOCH, when it is set."""

    debs: tuple[Path, ...]
    name: str
    version: str
    outside: Outside = field(default_factory=Outside)
    extra: ExtraManifest = field(default_factory=ExtraManifest)
    source_date: int | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """A package that is not yet packed, and what there is to say of it."""

    head: PackageHead
    sources: tuple[ModuleSource, ...]
    report: ImportReport

    def build(self, signing_keys: Sequence[SigningKey]) -> bytes:
        """The package file. Raises UsageError."""
        return build_package(self.head, self.sources, signing_keys)


def import_debs(order: ImportOrder) -> Imported:
    """Read the .debs and work out the package. Raises UsageError, or PeerError when a .deb is unsound."""
    pool = ContentPool()
    debs = sorted(
        (read_deb_file(path, pool) for path in order.debs),
        key=lambda deb: (deb.control.name, deb.control.architecture, deb.file),
    )
    by_cpu = _by_cpu(debs)
    notes, patterns = Notes(), Patterns(order.extra)
    parts = {cpu: import_for_cpu(group, cpu, order.extra, patterns, notes) for cpu, group in by_cpu.items()}
    patterns.check()
    needs = {cpu: tuple(needs_of(group, order.outside)) for cpu, group in by_cpu.items()}
    check_needs(
        {cpu.value: listed for cpu, listed in needs.items()},
        {cpu.value: _wanters(part) for cpu, part in parts.items()},
    )
    for cpu, part in parts.items():
        check_libraries(part, needs[cpu])
    _note_debs(by_cpu, order.outside, needs, notes)
    modules = _merged({cpu: part.modules for cpu, part in parts.items()}) + _by_hand(order.extra)
    _check_paths(modules)
    _note_servers(modules, order.extra, parts, notes)
    build_date, date_from = _build_date(debs, order.source_date)
    report = ImportReport(
        debs=tuple(
            DebLine(c.name, c.version.text, c.architecture, c.source) for c in (deb.control for deb in debs)
        ),
        cpus=tuple(by_cpu),
        build_date=build_date,
        date_from=date_from,
        modules=tuple(
            sorted(modules, key=lambda m: (m.source.path, m.source.cpu.value if m.source.cpu else ""))
        ),
        uses={cpu: part.uses for cpu, part in parts.items()},
        needs=needs,
        notes=notes.sorted(),
    )
    sources = grouped(order.extra.group, [module.source for module in report.modules], _BY_HAND)
    return Imported(_head(order, needs, build_date), tuple(sources), report)


def _by_cpu(debs: Sequence[DebPackage]) -> dict[CpuArch, list[DebPackage]]:
    """The .debs of each CPU with those for all; only such ones are for every CPU. Raises UsageError."""
    if not debs:
        raise UsageError("no .deb is given", expected="one .deb file at least")
    first: dict[str, DebPackage] = {}
    seen: dict[str, DebPackage] = {}
    for deb in debs:
        architecture = deb.control.architecture
        if architecture != ALL and architecture not in _CPUS:
            raise UsageError(
                ".deb for a CPU that no card has",
                where=deb.file,
                expected=", ".join((*_CPUS, ALL)),
                found=architecture,
            )
        twin = seen.setdefault(deb.label, deb)
        if twin is not deb:
            found = f"{twin.file} and {deb.file}"
            raise UsageError("two .debs of one package and architecture", expected="one of each", found=found)
        other = first.setdefault(deb.control.name, deb)
        if other.control.version.source != deb.control.version.source:
            raise UsageError(
                "the CPUs' .debs are of different versions",
                where=deb.label,
                expected=f"{other.control.version.text}, as of {other.label}",
                found=deb.control.version.text,
                hint="a package has one version of each file: take .debs of one release",
            )
    cpus = sorted(
        {_CPUS[arch] for deb in debs if (arch := deb.control.architecture) != ALL}, key=lambda c: c.value
    )
    return {
        cpu: [deb for deb in debs if deb.control.architecture in (DEBIAN_ARCH[cpu], ALL)]
        for cpu in cpus or sorted(CpuArch, key=lambda c: c.value)
    }


def _wanters(part: CpuImport) -> dict[str, str]:
    """Libraries that are not in the import, each with one file that wants it."""
    return {name: path for path, names in sorted(part.missing.items(), reverse=True) for name in names}


def _note_debs(
    by_cpu: Mapping[CpuArch, Sequence[DebPackage]],
    outside: Outside,
    needs: Mapping[CpuArch, Sequence[Need]],
    notes: Notes,
) -> None:
    names = {deb.control.name for group in by_cpu.values() for deb in group}
    for cpu, group in by_cpu.items():
        for name in sorted(names - {deb.control.name for deb in group}):
            notes.add(NoteKind.HINT, name, "has no .deb for this CPU in the import", cpu)
        for deb in group:
            for line in lines_for(deb.scripts):
                notes.add(NoteKind.SCRIPT, deb.control.name, line, cpu)
    asked = {relation.name for listed in needs.values() for need in listed for relation in need.wanted}
    for name in sorted({*outside.assumed, *outside.depended} - asked):
        for cpu in by_cpu:
            notes.add(NoteKind.HINT, name, "is assumed or depended on, and no .deb asks for it", cpu)


def _merged(parts: Mapping[CpuArch, Sequence[ImportedModule]]) -> list[ImportedModule]:
    """What all of two or more CPUs have the same is neutral, and what came for all too; ELF files never."""
    groups: dict[str, list[tuple[CpuArch, ImportedModule]]] = {}
    for cpu, modules in parts.items():
        for module in modules:
            groups.setdefault(module.source.path, []).append((cpu, module))
    merged: list[ImportedModule] = []
    for group in groups.values():
        first = group[0][1]
        came_so = all(module.source.cpu is None for _, module in group)
        same = len(group) == len(parts) > 1 and len({_for(None, module).source for _, module in group}) == 1
        if came_so or (same and not first.source.data.startswith(ELF_MAGIC)):
            merged.append(_for(None, first))
        else:
            merged += [_for(cpu, module) for cpu, module in group]
    return merged


def _for(cpu: CpuArch | None, module: ImportedModule) -> ImportedModule:
    return replace(module, source=replace(module.source, cpu=cpu))


def _by_hand(extra: ExtraManifest) -> list[ImportedModule]:
    links = [
        ModuleSource(link.path, ModuleKind.SYMLINK, cpu=link.cpu, mode=MAX_MODE, link_target=link.target)
        for link in extra.symlink
    ]
    folders = [
        ModuleSource(folder.path, ModuleKind.DIRECTORY, mode=folder.mode) for folder in extra.directory
    ]
    return [
        *(ImportedModule(link, Found.SYMLINK, _BY_HAND) for link in links),
        *(ImportedModule(folder, Found.DIRECTORY, _BY_HAND) for folder in folders),
    ]


def _check_paths(modules: Sequence[ImportedModule]) -> None:
    """No two modules in one place, and none below another that is no directory, whatever the CPU."""
    places: dict[str, dict[CpuArch | None, str]] = {}
    leaves: dict[str, str] = {}
    for module in modules:
        source = module.source
        owners = places.setdefault(source.path, {})
        if owners and (source.cpu in owners or None in owners or source.cpu is None):
            raise UsageError(
                "two things have one path",
                where=source.path,
                expected=next(iter(owners.values())),
                found=module.deb,
            )
        owners[source.cpu] = module.deb
        if source.kind is not ModuleKind.DIRECTORY:
            leaves[source.path] = f"{source.kind.value} of {module.deb}"
    for path in places:
        parent = path
        while "/" in parent:
            parent = parent.rpartition("/")[0]
            if parent in leaves:
                raise UsageError(
                    "a path lies below something else than a directory",
                    where=path,
                    expected=f"{parent} a directory",
                    found=leaves[parent],
                    hint="[[drop]] one of the two in the extra manifest",
                )


def _note_servers(
    modules: Sequence[ImportedModule], extra: ExtraManifest, parts: Mapping[CpuArch, CpuImport], notes: Notes
) -> None:
    run = {process.module for process in extra.process}
    for module in modules:
        if module.found is Found.SERVER and module.source.kind in RUNNABLE and module.source.path not in run:
            for cpu in parts:
                if module.source.cpu in (None, cpu):
                    text = "is a server that no [[process]] of the extra manifest runs"
                    notes.add(NoteKind.HINT, module.source.path, text, cpu)


def _build_date(debs: Sequence[DebPackage], source_date: int | None) -> tuple[int, str]:
    if source_date is not None:
        return source_date, "SOURCE_DATE_EPOCH"
    return max(deb.newest for deb in debs), "the newest member of any data.tar"


def _head(order: ImportOrder, needs: Mapping[CpuArch, Sequence[Need]], build_date: int) -> PackageHead:
    met = {need.by for listed in needs.values() for need in listed if need.met is Met.DEPENDED}
    local = {dependency for dependency in order.outside.depended.values() if dependency.name in met}
    local |= set(order.extra.local_dependencies())
    return PackageHead(
        name=order.name,
        version=order.version,
        build_date=build_date,
        local_dependencies=_once(local),
        remote_dependencies=dependencies_of(order.extra.package.remote_dependencies),
        upgrades=dependencies_of(order.extra.package.upgrades),
        processes=tuple(process.spec() for process in order.extra.process),
        groups=groups_of(order.extra.group),
    )


def _once(dependencies: set[Dependency]) -> tuple[Dependency, ...]:
    """Each package once: one without a constraint gives way to one that has it. Raises UsageError."""
    constrained = {dependency.name for dependency in dependencies if dependency.constraint}
    wanted = [one for one in dependencies if one.constraint or one.name not in constrained]
    kept = sorted(wanted, key=lambda one: (one.place, one.constraint))
    for one, other in pairwise(kept):
        if one.place == other.place:
            raise UsageError(
                "two local dependencies on one package",
                where=one.name,
                expected=one.constraint,
                found=other.constraint,
            )
    return tuple(kept)
