"""Whether what every card runs is complete: dependencies, libraries, upgrades, order (R-2.7).

All cards are looked at together, since one may need what another has (SOFTWARE-SETS C1 to C5). Pure: it is
asked after each change, and before one to see what it would do. Nothing is decided or repaired here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from firmware_mgr.model.discrepancies import CardSoftware, Discrepancy, Instead, Lack, Remedy, Report, Way
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.known_packages import KnownPackages
from firmware_mgr.model.list_check import ListCheck
from firmware_mgr.model.package_facts import PackageFacts, PackageRange


def check(cards: Sequence[CardSoftware], known: KnownPackages, *, absent_count: bool = False) -> Report:
    """Every discrepancy of every card. Remedies come from `known`. Raises UsageError for a slot twice."""
    return Checker(known).check(cards, absent_count=absent_count)


class Checker:
    """Asked again after each change: lists that were there before are not looked at again. For one thread."""

    def __init__(self, known: KnownPackages) -> None:
        self._known = known
        self._lists = ListCheck(known)

    def check(self, cards: Sequence[CardSoftware], *, absent_count: bool = False) -> Report:
        """As the function `check`."""
        others = _Others(cards, self._known, absent_count=absent_count)
        self._lists.take(cards)
        found: list[Discrepancy] = []
        for card in cards:
            found += self._lists.discrepancies(card)
            found += others.discrepancies(card)
        return Report(tuple(found))


class _Others:
    """What cards need of other cards, in one run over all of them."""

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
        self._satisfying: dict[PackageRange, tuple[SlotId, ...]] = {}

    def discrepancies(self, card: CardSoftware) -> Iterator[Discrepancy]:
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
