"""What is missing or wrong in one card's list, whatever other cards have (SOFTWARE-SETS C1, C3, C4).

Kept from one check to the next: of equal lists, boards and selections each is looked at once, as long as the
same packages are known. What cards need of each other is `dependency_check`'s to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from firmware_mgr.model.discrepancies import CardSoftware, Discrepancy, Instead, Lack, Remedy, Way
from firmware_mgr.model.file_selection import ModuleSelection, Selection
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.model.known_packages import KnownPackages
from firmware_mgr.model.library_check import LibraryCheck
from firmware_mgr.model.package_facts import ModuleFacts, PackageFacts, PackageRange
from firmware_mgr.model.package_order import misplaced, orphans

#: What tells lists apart.
_Key = tuple[Selection, str, tuple[PackageFacts, ...]]


@dataclass(frozen=True, slots=True)
class Found:
    """A discrepancy of some card, before it is said of which."""

    lack: Lack
    package: PackageFacts
    needs: str
    constraint: str = ""
    path: str = ""
    instead: PackageFacts | None = None  # on the same card
    help: tuple[tuple[str, str], ...] = ()  # package and version, on the same card

    def on(self, card: CardSoftware) -> Discrepancy:
        here, other = (card.slot,), self.instead
        return Discrepancy(
            card.slot,
            card.present,
            self.package.name,
            self.package.version,
            self.lack,
            self.needs,
            self.constraint,
            self.path,
            (Instead(other.name, other.version, here),) if other else (),
            tuple(Remedy(Way.ACTIVATE, name, version, here) for name, version in self.help),
        )


class ListCheck:
    def __init__(self, known: KnownPackages) -> None:
        self._known = known
        self._found: dict[_Key, tuple[Found, ...]] = {}
        self._packages: set[PackageFacts] = set()
        self._libraries = LibraryCheck(())
        self._offering: dict[str, list[tuple[PackageFacts, ModuleFacts]]] | None = None
        self._bringing: dict[tuple[str, ModuleSelection], tuple[PackageFacts, ...]] = {}

    def take(self, cards: Iterable[CardSoftware]) -> None:
        """These cards, and no others, will be asked about; what was found of other lists is forgotten."""
        cards = list(cards)
        packages = {package for card in cards for package in card.loaded}
        if not packages <= self._packages:
            self._packages |= packages
            self._libraries = LibraryCheck(self._packages)
        keys = {_key(card) for card in cards}
        self._found = {key: found for key, found in self._found.items() if key in keys}

    def discrepancies(self, card: CardSoftware) -> list[Discrepancy]:
        key = _key(card)
        if key not in self._found:
            self._found[key] = tuple(self._look(card))
        return [one.on(card) for one in self._found[key]]

    def _look(self, card: CardSoftware) -> Iterator[Found]:
        there = {package.name: package for package in card.loaded}
        cpu = card.selection.modules.cpu
        for package in card.loaded:
            for dependency in package.local:
                wanted = dependency.on
                other = there.get(wanted.name)
                if dependency.concerns(card.board) and (other is None or not wanted.holds(other)):
                    yield self._lacking(Lack.LOCAL, package, wanted, other, cpu)
        for package in orphans(card.loaded):
            ranges = [one for one in package.upgraded if one.name in there] or list(package.upgraded)
            homes = {one.name for one in ranges if one.name in there and one.holds(there[one.name])}
            for wanted in ranges:
                if wanted.name not in homes:
                    yield self._lacking(Lack.UPGRADE, package, wanted, there.get(wanted.name), cpu)
        for broken in misplaced(card.loaded, card.board):
            yield Found(Lack.ORDER, broken.first, broken.then.name, instead=broken.then)
        files = self._libraries.findings(card.loaded, card.selection.modules)
        for clash in files.clashes:
            yield Found(Lack.CLASH, clash.behind, clash.path, path=clash.at, instead=clash.front)
        for missing in files.missing:
            bringing = self._bringers(missing.library, card.selection.modules)
            # A version that is loaded and yet does not help has lost that file to a package in front.
            remedies = [(one.name, one.version) for one in bringing if one not in card.loaded]
            yield Found(
                Lack.LIBRARY,
                missing.package,
                missing.library,
                path=missing.path,
                help=tuple(dict.fromkeys(remedies)),
            )

    def _lacking(
        self,
        lack: Lack,
        package: PackageFacts,
        wanted: PackageRange,
        instead: PackageFacts | None,
        cpu: CpuArch,
    ) -> Found:
        fitting = [(one.name, one.version) for one in self._known.fitting(wanted, cpu)]
        return Found(
            lack,
            package,
            wanted.name,
            wanted.constraint.text,
            instead=instead,
            help=tuple(dict.fromkeys(fitting)),
        )

    def _bringers(self, library: str, selection: ModuleSelection) -> tuple[PackageFacts, ...]:
        """The known packages that bring it to a card that selects so; of each name the newest."""
        if self._offering is None:
            self._offering = {}
            for package in self._known:
                for module in package.modules:
                    for name in module.offers:
                        self._offering.setdefault(name, []).append((package, module))
        key = (library, selection)
        if key not in self._bringing:
            newest: dict[str, PackageFacts] = {}
            for package, module in self._offering.get(library, ()):
                if selection.chooses(module):
                    newest.setdefault(package.name, package)
            self._bringing[key] = tuple(newest.values())
        return self._bringing[key]


def _key(card: CardSoftware) -> _Key:
    return (card.selection, card.board, card.packages)
