"""Which package's file is at which path, and what differs between two such maps (SOFTWARE-SETS F2 to F4).

The same rule as the card's when it makes a root; but a clash is a value here, since whoever plans a set wants
to hear of all of them. Knows paths as text, no file system.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from firmware_mgr.model.file_selection import ModuleSelection
from firmware_mgr.model.package_facts import DIRECTORY, ModuleFacts, PackageFacts


@dataclass(frozen=True, slots=True)
class Placed:
    """The module that won a path."""

    package: PackageFacts
    module: ModuleFacts


@dataclass(frozen=True, slots=True)
class Clash:
    """`behind` has something at `path` that cannot be beside what `front` has at `at`."""

    path: str
    behind: PackageFacts
    at: str
    front: PackageFacts


@dataclass(frozen=True, slots=True)
class FileMap:
    """Every path with what won it, in the order in which they won. Cards refuse a map with clashes."""

    files: Mapping[str, Placed]
    clashes: tuple[Clash, ...]


def effective_files(packages: Sequence[PackageFacts], selection: ModuleSelection) -> FileMap:
    """What a card with these packages gets. The first package wins a path."""
    return merge((package, selection.of(package)) for package in packages)


def merge(chosen: Iterable[tuple[PackageFacts, Sequence[ModuleFacts]]]) -> FileMap:
    """The map of modules that were chosen, packages in order of the list."""
    won: dict[str, Placed] = {}
    below: dict[str, str] = {}  # directory -> the first path won in it
    clashes: list[Clash] = []
    for package, modules in chosen:
        for module in modules:
            path = module.path
            if path in won:
                continue
            # Where something was won in a folder already, nothing above it is a file.
            parents = [] if path.rpartition("/")[0] in below else parents_of(path)
            at = next((up for up in parents if up in won and won[up].module.kind != DIRECTORY), None)
            if at is None and module.kind != DIRECTORY:
                at = below.get(path)
            if at is not None:
                clashes.append(Clash(path, package, at, won[at].package))
                continue
            won[path] = Placed(package, module)
            for up in parents:
                below.setdefault(up, path)
    return FileMap(won, tuple(clashes))


def parents_of(path: str) -> list[str]:
    """The directories that a path is in, the nearest first."""
    parents = []
    while (cut := path.rfind("/")) >= 0:
        path = path[:cut]
        parents.append(path)
    return parents


class FileChange(Enum):
    ADDED = "added"
    REMOVED = "removed"
    REPLACED = "replaced"  # it may behave differently
    REBUILT = "rebuilt"  # only its exact hash differs: what is there may stay


def compare_files(before: FileMap, after: FileMap) -> dict[str, FileChange]:
    """The paths that differ, in order (R-4.7). From which package a file comes makes no difference."""
    changes: dict[str, FileChange] = {}
    for path in sorted(before.files.keys() | after.files.keys()):
        old, new = before.files.get(path), after.files.get(path)
        if old is None:
            changes[path] = FileChange.ADDED
        elif new is None:
            changes[path] = FileChange.REMOVED
        elif _substance(old.module) != _substance(new.module):
            changes[path] = FileChange.REPLACED
        elif old.module.exact != new.module.exact:
            changes[path] = FileChange.REBUILT
    return changes


def _substance(module: ModuleFacts) -> tuple[object, ...]:
    return (module.kind, module.mode, module.substantive)
