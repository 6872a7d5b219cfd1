"""What must stand before what in a list of packages, and the nearest order that is right.

docs/SOFTWARE-SETS.md, L1 to L3, L6, L10.
Knows one list at a time. What users do to lists, and what they are told of it, is `package_list`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from heapq import heapify, heappop, heappush

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.package_facts import PackageFacts


class Why(Enum):
    DEPENDS = "depends on"
    UPGRADES = "upgrades"


@dataclass(frozen=True, slots=True)
class Relation:
    """`first` must stand before `then`, which it depends on or upgrades."""

    first: PackageFacts
    then: PackageFacts
    why: Why

    def __str__(self) -> str:
        return f"{self.first} {self.why.value} {self.then}"


def relations(packages: Sequence[PackageFacts], board: str | None) -> list[Relation]:
    """All that must stand before something else here; on a card of this board, or for cards of any (None)."""
    named = {package.name: package for package in packages}
    found = []
    for package in packages:
        needed = {dependency.on.name for dependency in package.local if dependency.concerns(board)}
        upgraded = {one.name for one in package.upgraded if one.name in named and one.holds(named[one.name])}
        for names, why in ((needed & named.keys(), Why.DEPENDS), (upgraded, Why.UPGRADES)):
            found += [Relation(package, named[name], why) for name in sorted(names - {package.name})]
    return found


def misplaced(packages: Sequence[PackageFacts], board: str | None) -> list[Relation]:
    """The relations that this order breaks, those first whose `then` stands first."""
    places = {package.name: place for place, package in enumerate(packages)}
    broken = [one for one in relations(packages, board) if places[one.first.name] > places[one.then.name]]
    return sorted(broken, key=lambda one: (places[one.then.name], places[one.first.name]))


def orphans(packages: Iterable[PackageFacts]) -> list[PackageFacts]:
    """The upgrades that are without what they upgrade, or beside a version of it that does not fit (L3)."""
    named = {package.name: package for package in packages}
    return [package for package in named.values() if package.upgraded and not _at_home(package, named)]


def _at_home(upgrade: PackageFacts, named: dict[str, PackageFacts]) -> bool:
    here = {one.name for one in upgrade.upgraded} & named.keys()
    fitting = {one.name for one in upgrade.upgraded if one.name in here and one.holds(named[one.name])}
    return bool(here) and fitting == here


def nearest_order(packages: Sequence[PackageFacts], before: Iterable[Relation]) -> tuple[PackageFacts, ...]:
    """Of all before which nothing has to stand any more the one that stood first, again and again.

    An order that was right stays. Raises UsageError that shows the circle when there is no right one.
    """
    places = {package.name: place for place, package in enumerate(packages)}
    waiting: list[list[Relation]] = [[] for _ in packages]  # by place: what must stand before it
    freed: list[list[int]] = [[] for _ in packages]  # by place: who waits for it
    for relation in before:
        waiting[places[relation.then.name]].append(relation)
        freed[places[relation.first.name]].append(places[relation.then.name])
    count = [len(relations) for relations in waiting]
    ready = [place for place, still in enumerate(count) if not still]
    heapify(ready)
    taken = []
    while ready:
        place = heappop(ready)
        taken.append(packages[place])
        for other in freed[place]:
            count[other] -= 1
            if not count[other]:
                heappush(ready, other)
    if len(taken) < len(packages):
        raise _circle({packages[place].name for place, still in enumerate(count) if still}, waiting, places)
    return tuple(taken)


def _circle(stuck: set[str], waiting: Sequence[Sequence[Relation]], places: dict[str, int]) -> UsageError:
    """Every stuck package waits for a stuck one, so that going from one to the next comes round."""
    name = min(stuck, key=lambda one: places[one])
    path: list[Relation] = []
    seen: list[str] = []
    while name not in seen:
        seen.append(name)
        path.append(next(one for one in waiting[places[name]] if one.first.name in stuck))
        name = path[-1].first.name
    circle = path[seen.index(name) :][::-1]
    return UsageError(
        "dependencies of packages run in a circle",
        where=f"package {circle[0].first}",
        expected="an order in which each stands before what it depends on and upgrades",
        found=", ".join(str(relation) for relation in circle),
        hint="leave one of them out, or build it without that dependency",
    )
