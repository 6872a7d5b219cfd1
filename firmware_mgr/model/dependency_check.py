"""Whether what every card runs is complete: dependencies, libraries, upgrades, order (R-2.7).

All cards are looked at together, since one may need what another has (SOFTWARE-SETS C1 to C5). Pure: it is
asked after each change, and before one to see what it would do. Nothing is decided or repaired here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from firmware_mgr.model.discrepancies import CardSoftware, Discrepancy, Instead, Lack, Remedy, Report, Way
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.file_selection import ModuleSelection, Selection
from firmware_mgr.model.ids import CpuArch, SlotId
from firmware_mgr.model.known_packages import KnownPackages
from firmware_mgr.model.library_check import LibraryCheck
from firmware_mgr.model.package_facts import ModuleFacts, PackageFacts, PackageRange
from firmware_mgr.model.package_order import misplaced, orphans


def check(cards: Sequence[CardSoftware], known: KnownPackages, *, absent_count: bool = False) -> Report:
    """Every discrepancy of every card. Remedies come from `known`. Raises UsageError for a slot twice."""
    return _Check(cards, known, absent_count=absent_count).report()


@dataclass(frozen=True, slots=True)
class _Found:
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


class _Check:
    """One run over all cards, with what is worked out once for many of them."""

    def __init__(self, cards: Sequence[CardSoftware], known: KnownPackages, *, absent_count: bool) -> None:
        self._cards = {card.slot: card for card in cards}
        if len(self._cards) < len(cards):
            raise UsageError("a slot is named twice", found=", ".join(str(card.slot) for card in cards))
        self._known = known
        self._counts = {card.slot for card in cards if card.present or absent_count}
        self._holders: dict[str, dict[PackageFacts, list[SlotId]]] = {}
        for slot in sorted(self._cards):
            for package in self._cards[slot].loaded:
                self._holders.setdefault(package.name, {}).setdefault(package, []).append(slot)
        self._libraries = LibraryCheck({package for card in cards for package in card.loaded})
        self._own: dict[tuple[Selection, str, tuple[PackageFacts, ...]], tuple[_Found, ...]] = {}
        self._satisfying: dict[PackageRange, tuple[SlotId, ...]] = {}
        self._offering: dict[str, list[tuple[PackageFacts, ModuleFacts]]] | None = None
        self._bringing: dict[tuple[str, ModuleSelection], tuple[PackageFacts, ...]] = {}

    def report(self) -> Report:
        found: list[Discrepancy] = []
        for card in self._cards.values():
            key = (card.selection, card.board, card.packages)
            if key not in self._own:
                self._own[key] = tuple(self._of_itself(card))
            found += [one.on(card) for one in self._own[key]]
            found += self._remote(card)
        return Report(tuple(found))

    # What does not depend on other cards.

    def _of_itself(self, card: CardSoftware) -> Iterator[_Found]:
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
            yield _Found(Lack.ORDER, broken.first, broken.then.name, instead=broken.then)
        files = self._libraries.findings(card.loaded, card.selection.modules)
        for clash in files.clashes:
            yield _Found(Lack.CLASH, clash.behind, clash.path, path=clash.at, instead=clash.front)
        for missing in files.missing:
            bringing = self._bringers(missing.library, card.selection.modules)
            # A version that is loaded and yet does not help has lost that file to a package in front.
            remedies = [(one.name, one.version) for one in bringing if one not in card.loaded]
            yield _Found(
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
    ) -> _Found:
        fitting = [(one.name, one.version) for one in self._known.fitting(wanted, cpu)]
        return _Found(
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

    # What other cards have.

    def _remote(self, card: CardSoftware) -> Iterator[Discrepancy]:
        for package in card.loaded:
            for dependency in package.remote:
                wanted = dependency.on
                if dependency.concerns(card.board) and not self._satisfied(wanted, card.slot):
                    yield Discrepancy(
                        card.slot,
                        card.present,
                        package.name,
                        package.version,
                        Lack.REMOTE,
                        wanted.name,
                        wanted.constraint.text,
                        instead=tuple(self._instead(wanted, card.slot)),
                        remedies=tuple(self._remedies(wanted, card.slot)),
                    )

    def _satisfied(self, wanted: PackageRange, slot: SlotId) -> bool:
        """Whether a card other than this one counts and has it. Of those that do, two are enough to know."""
        if wanted not in self._satisfying:
            slots = {
                one
                for package, holders in self._holders.get(wanted.name, {}).items()
                if wanted.holds(package)
                for one in holders
                if one in self._counts
            }
            self._satisfying[wanted] = tuple(sorted(slots)[:2])
        return any(one != slot for one in self._satisfying[wanted])

    def _instead(self, wanted: PackageRange, slot: SlotId) -> Iterator[Instead]:
        for package, holders in self._others(wanted, slot):
            yield Instead(package.name, package.version, holders)

    def _remedies(self, wanted: PackageRange, slot: SlotId) -> Iterator[Remedy]:
        others = list(self._others(wanted, slot))
        for package, holders in others:
            if wanted.holds(package):
                yield Remedy(Way.RETURN, package.name, package.version, holders)
        changing = sorted(
            {one for package, holders in others if not wanted.holds(package) for one in holders}
        )
        by_version: dict[str, set[SlotId]] = {}
        for package in self._known.fitting(wanted):
            fitting = {one for one in changing if package.fits(self._cards[one].selection.modules.cpu)}
            by_version.setdefault(package.version, set()).update(fitting)
        for version, slots in by_version.items():
            yield Remedy(Way.ACTIVATE, wanted.name, version, tuple(sorted(slots)))

    def _others(
        self, wanted: PackageRange, slot: SlotId
    ) -> Iterable[tuple[PackageFacts, tuple[SlotId, ...]]]:
        """Who else has a package of that name, the newest version first."""
        holding = self._holders.get(wanted.name, {})
        for package in sorted(holding, key=lambda one: (one.order, one.version, one.digest), reverse=True):
            others = tuple(one for one in holding[package] if one != slot)
            if others:
                yield package, others
