"""A card's ordered list of package versions, and what users do to it (docs/SOFTWARE-SETS.md, L1 to L13).

Each operation gives the new list and a report of what it did and why, as values; or refuses, and nothing has
changed. Knows no files and no other cards; which versions there are is the caller's knowledge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.package_facts import PackageFacts
from firmware_mgr.model.package_order import Relation, Why, misplaced, nearest_order, orphans, relations


@dataclass(frozen=True, slots=True)
class PackageList:
    """The first wins a file. `board` None: cards of several boards share it (L13)."""

    packages: tuple[PackageFacts, ...] = ()
    board: str | None = None

    def __post_init__(self) -> None:
        _check_once([package.name for package in self.packages])

    def get(self, name: str) -> PackageFacts | None:
        return next((package for package in self.packages if package.name == name), None)


class StepKind(Enum):
    ADDED = "added"
    CHANGED = "changed"  # another version than before
    KEPT = "kept"  # it was there already
    REMOVED = "removed"
    DROPPED = "dropped"  # because of something else
    MOVED = "moved"  # against the others; it was there before


class Reason(Enum):
    ASKED = "asked for"
    BEFORE_OTHERS = "before what it depends on and upgrades"
    BASE = "others depend on it"
    APPLICATION = "concerns no other"
    ORPHANED = "what it upgrades is not there in a version that fits"
    ORDER = "what it concerns must stand before or behind it"


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to one package. `because` are the packages that are the reason, in their new versions."""

    kind: StepKind
    package: PackageFacts
    reason: Reason = Reason.ASKED
    because: tuple[PackageFacts, ...] = ()
    was: PackageFacts | None = None  # what was there before; None for an added one


@dataclass(frozen=True, slots=True)
class Change:
    """The list afterwards, and the steps: of packages asked for, in that order; dropped ones; moved ones."""

    packages: PackageList
    steps: tuple[Step, ...]


def activate(current: PackageList, *wanted: PackageFacts) -> Change:
    """Add packages, or change their versions (L3 to L7). Raises UsageError."""
    _check_once([package.name for package in wanted])
    new = [package for package in wanted if current.get(package.name) is None]
    changes = {package.name: package for package in wanted}
    replaced = [changes.get(package.name, package) for package in current.packages]
    staying, dropped = _without_orphans(current.packages, [*replaced, *new], asked=set(wanted))
    packages = [package for package in replaced if package in staying]
    for package in [one for one in packages if one.name in changes]:
        if any(package in (one.first, one.then) for one in misplaced(packages, current.board)):
            packages.remove(package)
            packages.insert(_place(packages, package, current.board)[0], package)
    added = {}
    for package in _one_after_another(new, current.board):
        place, reason, because = _place(packages, package, current.board)
        packages.insert(place, package)
        added[package] = Step(StepKind.ADDED, package, reason, because)
    after = nearest_order(packages, relations(packages, current.board))
    steps = [added[one] if one in added else _step_of(current, one) for one in wanted]
    return _change(current, after, [*steps, *dropped])


def change_version(current: PackageList, package: PackageFacts) -> Change:
    """Another version of a package that is in the list (L7). Raises UsageError."""
    _listed(current, package.name)
    return activate(current, package)


def regress(current: PackageList, package: PackageFacts) -> Change:
    """Back to this earlier version (L7, R-4.11). Raises UsageError when it is no earlier one."""
    now = _listed(current, package.name)
    if not package.order < now.order:
        raise UsageError(
            "not an earlier version",
            where=f"package {package.name}",
            expected=f"a version before {now.version}",
            found=package.version,
        )
    return activate(current, package)


def remove(current: PackageList, *names: str) -> Change:
    """Take packages out (L8). Raises UsageError when one is not there."""
    _check_once(names)
    gone = [_listed(current, name) for name in names]
    rest = [package for package in current.packages if package not in gone]
    staying, dropped = _without_orphans(current.packages, rest, asked=set())
    after = tuple(package for package in rest if package in staying)
    # No order is sought: a list whose dependencies run in a circle can be taken apart (L10).
    removed = (Step(StepKind.REMOVED, package, was=package) for package in gone)
    return Change(PackageList(after, current.board), (*removed, *dropped))


def reorder(current: PackageList, names: Sequence[str]) -> Change:
    """Exactly the same packages in the user's order (L9). Raises UsageError when it breaks a rule."""
    _check_once(names)
    if set(names) != {package.name for package in current.packages}:
        expected = ", ".join(package.name for package in current.packages) or "no package"
        raise UsageError(
            "an order of a list names each of its packages", expected=expected, found=", ".join(names)
        )
    after = tuple(_listed(current, name) for name in names)
    for broken in misplaced(after, current.board):
        raise UsageError(
            "the order breaks a rule",
            where=f"package {broken.first}",
            expected=f"before {broken.then}, which it {broken.why.value}",
            found=f"place {after.index(broken.first) + 1}, behind place {after.index(broken.then) + 1}",
            hint=f"name {broken.first.name} before {broken.then.name}",
        )
    return _change(current, after, [], Reason.ASKED)


def settle(current: PackageList) -> Change:
    """The nearest order that is right (L6), for lists made elsewhere. Raises UsageError for a circle."""
    return _change(current, nearest_order(current.packages, relations(current.packages, current.board)), [])


def _place(
    packages: Sequence[PackageFacts], new: PackageFacts, board: str | None
) -> tuple[int, Reason, tuple[PackageFacts, ...]]:
    """Where in the list, why, and because of whom (L4)."""
    concerning = relations([*packages, new], board)
    needed = [one.then for one in concerning if one.first is new]
    needing = [one.first for one in concerning if one.then is new]
    upgraded = [one.then for one in concerning if one.first is new and one.why is Why.UPGRADES]
    others = [
        one.first
        for one in concerning
        if one.why is Why.UPGRADES and one.then in upgraded and one.first is not new
    ]
    least = max((packages.index(one) + 1 for one in needing), default=0)
    if needed:
        first = min(packages.index(one) for one in (*needed, *others))
        return max(least, first), Reason.BEFORE_OTHERS, (packages[first],)
    if needing:
        return len(packages), Reason.BASE, tuple(dict.fromkeys(needing))
    return 0, Reason.APPLICATION, ()


def _one_after_another(new: Sequence[PackageFacts], board: str | None) -> tuple[PackageFacts, ...]:
    """In which order packages that were named together are placed (L5)."""
    inverse = [Relation(one.then, one.first, one.why) for one in relations(new, board)]
    try:
        return nearest_order(new[::-1], inverse)
    except UsageError:
        nearest_order(new, relations(new, board))  # the same circle, told the right way round
        raise


def _without_orphans(
    before: Sequence[PackageFacts], after: Sequence[PackageFacts], asked: set[PackageFacts]
) -> tuple[list[PackageFacts], list[Step]]:
    """Without the upgrades that have become orphaned, and what that orphans in its turn (L7, L11)."""
    known = set(orphans(before))
    named = {package.name: package for package in (*before, *after)}
    staying, steps = list(after), []
    while fallen := [one for one in orphans(staying) if one not in known]:
        for package in fallen:
            upgraded = tuple(named[one.name] for one in package.upgraded if one.name in named)
            if package in asked:
                raise _no_home(package, [one for one in upgraded if one in staying])
            staying.remove(package)
            steps.append(Step(StepKind.DROPPED, package, Reason.ORPHANED, upgraded, was=package))
    return staying, steps


def _no_home(package: PackageFacts, here: Sequence[PackageFacts]) -> UsageError:
    return UsageError(
        "package upgrades what is not there",
        where=f"package {package}",
        expected=", ".join(str(one) for one in package.upgraded),
        found=", ".join(str(one) for one in here) or "none of them",
        hint="activate it together with a version that it upgrades",
    )


def _step_of(current: PackageList, package: PackageFacts) -> Step:
    was = current.get(package.name)
    return Step(StepKind.KEPT if was == package else StepKind.CHANGED, package, was=was)


def _change(
    current: PackageList, after: tuple[PackageFacts, ...], steps: list[Step], why: Reason = Reason.ORDER
) -> Change:
    moved = _moved(current.packages, after)
    among = relations(after, current.board) if moved and why is Reason.ORDER else []
    for package in moved:
        relatives = _relatives(among, package)
        because = tuple(one for one in after if one in relatives)
        steps.append(Step(StepKind.MOVED, package, why, because, was=package))
    return Change(PackageList(after, current.board), tuple(steps))


def _relatives(among: Sequence[Relation], package: PackageFacts) -> set[PackageFacts]:
    """Those it must stand before or behind."""
    return {one.then for one in among if one.first is package} | {
        one.first for one in among if one.then is package
    }


def _moved(before: Sequence[PackageFacts], after: Sequence[PackageFacts]) -> list[PackageFacts]:
    """The fewest packages that explain the difference; of several answers, one that blames changed versions.

    It is what is left when the heaviest subsequence that both orders share is taken away.
    """
    places = {package.name: place for place, package in enumerate(before)}
    both = [package for package in after if package.name in places]
    same = set(before)
    weights = [len(both) + (package in same) for package in both]  # to stay counts more than to be the same
    best: list[tuple[int, list[int]]] = []
    for index, package in enumerate(both):
        chains = [best[one] for one in range(index) if places[both[one].name] < places[package.name]]
        weight, chain = max(chains, key=lambda found: found[0], default=(0, []))
        best.append((weight + weights[index], [*chain, index]))
    staying = set(max(best, key=lambda found: found[0], default=(0, []))[1])
    return [package for index, package in enumerate(both) if index not in staying]


def _listed(current: PackageList, name: str) -> PackageFacts:
    package = current.get(name)
    if package is None:
        there = ", ".join(one.name for one in current.packages) or "no package"
        raise UsageError("package is not in the list", expected=f"one of {there}", found=name)
    return package


def _check_once(names: Sequence[str]) -> None:
    if len(names) != len(set(names)):
        raise UsageError("a package is named twice", found=", ".join(names))
