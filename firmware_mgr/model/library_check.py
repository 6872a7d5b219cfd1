"""Libraries that a card's files want loaded and none offers; and clashing files (SOFTWARE-SETS C3, F3).

Made once for all packages that any card has, and asked for each card. Only paths that packages of different
names fight for need merging anew for each card; of the others, what a package offers and wants is summed up
once. Gives the same answers as looking through the whole map. Knows what a check needs of files, no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from firmware_mgr.model.effective_files import Clash, FileMap, merge, parents_of
from firmware_mgr.model.file_selection import ModuleSelection
from firmware_mgr.model.package_facts import DIRECTORY, ModuleFacts, PackageFacts


@dataclass(frozen=True, slots=True)
class MissingLibrary:
    """`path` is the first of the package's files that want it."""

    package: PackageFacts
    library: str
    path: str


@dataclass(frozen=True, slots=True)
class FileFindings:
    missing: tuple[MissingLibrary, ...]
    clashes: tuple[Clash, ...]


@dataclass(frozen=True, slots=True)
class _Summary:
    """Of one package for one selection, without its contested paths: what it offers, and wants of others."""

    offers: frozenset[str]
    wants: dict[str, str]  # library -> path
    contested: tuple[ModuleFacts, ...]


class LibraryCheck:
    def __init__(self, packages: Iterable[PackageFacts]) -> None:
        self._contested = _contested(packages)
        self._summaries: dict[tuple[PackageFacts, ModuleSelection], _Summary] = {}

    def findings(self, packages: Sequence[PackageFacts], selection: ModuleSelection) -> FileFindings:
        """Of a card with these packages, all of which this check was made for."""
        summaries = [(package, self._summary(package, selection)) for package in packages]
        fought_for = merge((package, summary.contested) for package, summary in summaries)
        offers = [summary.offers for _, summary in summaries]
        offers.append(frozenset(name for one in fought_for.files.values() for name in one.module.offers))
        wanted = set().union(*(summary.wants for _, summary in summaries))
        wanted.update(name for one in fought_for.files.values() for name in one.module.libraries)
        missing = {name for name in wanted if not any(name in offered for offered in offers)}
        found = _wanters(missing, summaries, fought_for) if missing else ()
        return FileFindings(tuple(found), fought_for.clashes)

    def _summary(self, package: PackageFacts, selection: ModuleSelection) -> _Summary:
        summary = self._summaries.get((package, selection))
        if summary is None:
            modules = selection.of(package)
            alone = [module for module in modules if module.path not in self._contested]
            offers = frozenset(name for module in alone for name in module.offers)
            wants: dict[str, str] = {}
            for module in alone:
                for name in module.libraries:
                    if name not in offers:
                        wants[name] = min(module.path, wants.get(name, module.path))
            contested = tuple(module for module in modules if module.path in self._contested)
            summary = self._summaries[package, selection] = _Summary(offers, wants, contested)
        return summary


def _wanters(
    missing: set[str], summaries: Sequence[tuple[PackageFacts, _Summary]], fought_for: FileMap
) -> list[MissingLibrary]:
    """Per package and library one, in order of the list, then of libraries."""
    paths: dict[tuple[PackageFacts, str], str] = {}
    for package, summary in summaries:
        paths |= {(package, name): summary.wants[name] for name in summary.wants.keys() & missing}
    for path, placed in fought_for.files.items():
        for name in missing.intersection(placed.module.libraries):
            key = (placed.package, name)
            paths[key] = min(path, paths.get(key, path))
    places = {package: place for place, (package, _) in enumerate(summaries)}
    ordered = sorted(paths.items(), key=lambda item: (places[item[0][0]], item[0][1]))
    return [MissingLibrary(package, name, path) for (package, name), path in ordered]


def _contested(packages: Iterable[PackageFacts]) -> frozenset[str]:
    """The paths on which packages of different names may not agree: held by two of them, and not as a
    directory alone; or a file in one and, by what is below it, a directory in another.
    """
    owners: dict[str, str] = {}
    files: set[str] = set()
    shared: set[str] = set()
    for package in set(packages):
        for module in package.modules:
            if owners.setdefault(module.path, package.name) != package.name:
                shared.add(module.path)
            if module.kind != DIRECTORY:
                files.add(module.path)
    contested = shared & files
    inside: dict[str, bool] = {}  # directory -> it, or one above it, is a file elsewhere
    for path in owners:
        folder = path.rpartition("/")[0]
        if folder not in inside:
            above = [up for up in (folder, *parents_of(folder)) if up in files]
            contested.update(above)
            inside[folder] = bool(above)
        if inside[folder]:
            contested.add(path)
    return frozenset(contested)
