"""What a package says of itself: its name and dependencies, its groups, modules and processes.

SPEC-package §4. Every value is checked when it is made, and what must hold between values when the table is
made. Refuses to know bytes: encoding is another file's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, check_name, check_version
from firmware_mgr.package.checks import check_names, check_range, check_set, refuse
from firmware_mgr.package.dependency import Dependency, Group, check_dependencies
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.layout import (
    FORMAT_1,
    FORMAT_VERSION,
    FORMATS,
    MAX_CONTENT,
    MAX_MODULES,
    MAX_PROCESSES,
    MAX_TIME,
)
from firmware_mgr.package.layout_tables import MAX_GROUPS
from firmware_mgr.package.module import (
    MAX_MODE,
    NOTHING,
    RUNNABLE,
    WITHOUT_CONTENT,
    Module,
    ModuleKind,
    Substance,
)
from firmware_mgr.package.pieces import Compression, Piece
from firmware_mgr.package.process import ProcessSpec

#: The words of a package in one place, for those who use it.
__all__ = [
    "MAX_MODE",
    "NOTHING",
    "RUNNABLE",
    "WITHOUT_CONTENT",
    "Compression",
    "Dependency",
    "Group",
    "Module",
    "ModuleKind",
    "Piece",
    "Substance",
    "TableOfContents",
    "content_order",
    "module_order",
    "processes_of",
    "select",
]


@dataclass(frozen=True, slots=True)
class TableOfContents:
    """A whole package. `build_date` is in seconds since 1970-01-01 UTC; `format` is that of the file."""

    name: str
    version: str
    build_date: int
    local_dependencies: tuple[Dependency, ...]
    remote_dependencies: tuple[Dependency, ...]
    upgrades: tuple[Dependency, ...]
    modules: tuple[Module, ...]
    processes: tuple[ProcessSpec, ...]
    groups: tuple[Group, ...] = ()
    format: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        check_name(self.name, "package")
        check_version(self.version)
        check_range(self.build_date, MAX_TIME, "build date out of range")
        check_dependencies(self.local_dependencies, "local dependencies")
        check_dependencies(self.remote_dependencies, "remote dependencies")
        check_set([dependency.name for dependency in self.upgrades], "upgrades")
        if any(dependency.boards for dependency in self.upgrades):
            raise UsageError("an upgrade is not limited to boards", where="upgrades")
        for what, values, limit in (
            ("modules", self.modules, MAX_MODULES),
            ("processes", self.processes, MAX_PROCESSES),
        ):
            if len(values) > limit:
                raise UsageError(f"too many {what}", expected=f"{limit} at most", found=len(values))
        check_set([group.name for group in self.groups], "groups", MAX_GROUPS)
        _check_order(self.modules)
        _check_places(self.modules)
        _check_groups(self.modules, {group.name for group in self.groups})
        if self.format != FORMAT_1:
            check_names(self._names())
        _check_offsets(self.modules, self.format)
        check_set([process.name for process in self.processes], "processes")
        runnable = {module.path for module in self.modules if module.kind in RUNNABLE}
        for process in self.processes:
            if process.module not in runnable:
                refuse(
                    f"process {process.name}",
                    "process without a program",
                    "path of a server-binary or program of the package",
                    repr(process.module),
                )
        self._check_format()

    def _check_format(self) -> None:
        limited = any(d.boards for d in (*self.local_dependencies, *self.remote_dependencies))
        old = self.format == FORMAT_1
        wrong = self.format not in FORMATS or any(module.streamed is not old for module in self.modules)
        if wrong or (old and (self.groups or limited)):
            raise UsageError("table does not fit its format", where=self.name, found=self.format)

    def _names(self) -> int:
        dependencies = (*self.local_dependencies, *self.remote_dependencies)
        names = sum(len(each.groups) + len(each.provides) + len(each.consumes) for each in self.modules)
        return names + sum(len(each.boards) for each in dependencies)

    @property
    def content_length(self) -> int:
        """The length of content in bytes, as the modules have it."""
        return sum(module.stored_length for module in self.modules)


#: CPUs in the order of their codes (§4.3).
_CPU_ORDER: tuple[CpuArch | None, ...] = (None, CpuArch.AARCH64, CpuArch.ARMV7, CpuArch.X86_64)


def module_order(path: str, cpu: CpuArch | None) -> tuple[str, int]:
    """The key by which modules are sorted: path, then CPU in the order of its codes, `any` first."""
    return (path, _CPU_ORDER.index(cpu))


def content_order(module: Module) -> tuple[int, str]:
    """The key by which modules lie in content: CPU, then path, so that what a card needs lies together."""
    return (_CPU_ORDER.index(module.cpu), module.path)


def select(
    toc: TableOfContents,
    cpu: CpuArch,
    *,
    features: Collection[str] | None = None,
    kinds: Collection[ModuleKind] | None = None,
    functions: Collection[str] | None = None,
) -> tuple[Module, ...]:
    """The modules for a card with this CPU, in order of path (§4.3, R-2.4).

    `features` are names of groups; None is what is wanted without being asked for. `kinds` and `functions`
    narrow the choice; links and directories go with every kind. Raises PackageRefused when the package has
    modules by CPU but none for this one.
    """
    built_for = {module.cpu.value for module in toc.modules if module.cpu is not None}
    if built_for and cpu.value not in built_for:
        raise PackageRefused(
            "package is for another CPU",
            where=f"package {toc.name} {toc.version}",
            expected=cpu.value,
            found=", ".join(sorted(built_for)),
        )
    if features is None:
        features = {group.name for group in toc.groups if group.wanted}
    return tuple(
        module
        for module in toc.modules
        if module.cpu in (None, cpu)
        and (not module.groups or not set(module.groups).isdisjoint(features))
        and (kinds is None or module.kind in kinds or module.kind in WITHOUT_CONTENT)
        and (functions is None or not module.function or module.function in functions)
    )


def processes_of(toc: TableOfContents, chosen: Collection[Module], cpu: CpuArch) -> tuple[ProcessSpec, ...]:
    """The processes of a card with this CPU that chose these modules.

    Left out are those whose program it could have had and did not choose: features that nobody asked for. One
    without a program for the CPU is not left out, so that whoever starts it finds that it cannot be.
    """
    offered = {module.path for module in toc.modules if module.cpu in (None, cpu)}
    passed_over = offered - {module.path for module in chosen}
    return tuple(process for process in toc.processes if process.module not in passed_over)


def _check_order(modules: Sequence[Module]) -> None:
    for before, after in pairwise(modules):
        if module_order(before.path, before.cpu) >= module_order(after.path, after.cpu):
            raise UsageError(
                "modules are not sorted and unique",
                expected="order of path, then CPU",
                found=f"{before.path!r} ({before.cpu_text}) before {after.path!r} ({after.cpu_text})",
            )
        if before.path == after.path and before.cpu is None:
            raise UsageError(
                "a path stands for every CPU and for one",
                where=before.path,
                found=f"any and {after.cpu_text}",
            )


def _check_places(modules: Sequence[Module]) -> None:
    leaves = {module.path: module.kind for module in modules if module.kind is not ModuleKind.DIRECTORY}
    for module in modules:
        parent = module.path
        while "/" in parent:
            parent = parent.rpartition("/")[0]
            if parent in leaves:
                raise UsageError(
                    "module stands below one that is no directory",
                    where=module.path,
                    expected=f"{parent} a directory, or not there",
                    found=leaves[parent].value,
                )


def _check_groups(modules: Sequence[Module], known: set[str]) -> None:
    for module in modules:
        unknown = set(module.groups) - known
        if unknown:
            expected = ", ".join(sorted(known)) or "a package with groups"
            refuse(module.path, "module of an unknown group", expected, ", ".join(sorted(unknown)))


def _check_offsets(modules: Sequence[Module], version: int) -> None:
    position = unpacked = 0
    for module in modules if version == FORMAT_1 else sorted(modules, key=content_order):
        if module.offset != position:
            refuse(module.path, "gap or overlap in content", position, module.offset)
        position += module.stored_length
        unpacked += module.length
    check_range(max(position, unpacked), MAX_CONTENT, "content is too long")
