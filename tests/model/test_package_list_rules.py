"""The rules of package lists, for any packages, against brute force: R-2.6, SOFTWARE-SETS L1 to L12."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.package_facts import PackageFacts
from firmware_mgr.model.package_list import (
    Change,
    PackageList,
    StepKind,
    activate,
    regress,
    remove,
    reorder,
    settle,
)
from tests.model.software import (
    NAMES,
    RANGES,
    VERSIONS,
    layered_packages,
    package,
    packages,
    range_of,
    unhurried,
)

Packages = tuple[PackageFacts, ...]


def must_precede(one: PackageFacts, other: PackageFacts) -> bool:
    """L1 and L2 for two packages, on a list for all boards."""
    if one.name == other.name:
        return False
    depends = other.name in {dependency.on.name for dependency in one.local}
    return depends or any(up.name == other.name and up.constraint.matches(other.order) for up in one.upgrades)


def right(order: Sequence[PackageFacts]) -> bool:
    return not any(must_precede(behind, front) for front, behind in combinations(order, 2))


def orphaned(upgrade: PackageFacts, others: Sequence[PackageFacts]) -> bool:
    """L3, for packages that upgrade each name once."""
    concerned = [
        (up, other) for up in upgrade.upgrades for other in others if up.name == other.name != upgrade.name
    ]
    foreign = [up for up in upgrade.upgrades if up.name != upgrade.name]
    return bool(foreign) and (
        not concerned or not all(up.constraint.matches(other.order) for up, other in concerned)
    )


def once(some: Sequence[PackageFacts]) -> Packages:
    return tuple({one.name: one for one in some}.values())


def lists(some: st.SearchStrategy[PackageFacts], most: int = 5) -> st.SearchStrategy[PackageList]:
    """Right ones: settled, and without orphans."""
    return st.lists(some, max_size=most).map(
        lambda found: settle(PackageList(without_orphans(once(found)))).packages
    )


def without_orphans(some: Packages) -> Packages:
    while any(orphaned(one, some) for one in some):
        some = tuple(one for one in some if not orphaned(one, some))
    return some


def attempt(act: Callable[..., Change], *arguments: object) -> Change | None:
    try:
        return act(*arguments)
    except UsageError as e:
        assert e.what
        return None


ACTS: dict[str, Callable[..., Change]] = {
    "activate": lambda current, what: activate(current, *what),
    "regress": regress,
    "remove": remove,
    "reorder": lambda current, order: reorder(
        current, [one for one in order if current.get(one) is not None]
    ),
}
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("activate"), st.lists(layered_packages(), min_size=1, max_size=2)),
        st.tuples(st.just("regress"), layered_packages()),
        st.tuples(st.just("remove"), st.sampled_from(NAMES)),
        st.tuples(st.just("reorder"), st.permutations(NAMES)),
    ),
    max_size=12,
)


@unhurried
@given(OPERATIONS)
def test_a_list_is_right_after_any_sequence_of_operations(operations: list) -> None:  # type: ignore[type-arg]
    current = PackageList()
    for word, what in operations:
        change = attempt(ACTS[word], current, what)
        if change is not None:
            told_exactly(current, change)
            current = change.packages
        assert right(current.packages)
        assert not any(orphaned(one, current.packages) for one in current.packages)


def told_exactly(before: PackageList, change: Change) -> None:
    """The report explains the whole difference, and with as few moves as can be."""
    after = change.packages.packages
    expected = set(before.packages)
    for step in change.steps:
        expected -= {step.was} if step.was is not None else set()
        if step.kind in (StepKind.ADDED, StepKind.CHANGED, StepKind.KEPT):
            expected.add(step.package)
    assert expected == set(after) and len(after) == len(expected)
    old, new = [one.name for one in before.packages], [one.name for one in after]
    both = [name for name in old if name in new]
    moved = {step.package.name for step in change.steps if step.kind is StepKind.MOVED}
    still = [name for name in both if name not in moved]
    assert [name for name in new if name in still] == still
    longest = max(
        size
        for size in range(len(both) + 1)
        for some in combinations(both, size)
        if [name for name in new if name in some] == list(some)
    )
    assert len(still) == longest


@unhurried
@given(lists(layered_packages()), layered_packages())
def test_the_rest_keeps_its_order_whenever_some_place_for_the_new_one_lets_it(
    current: PackageList, new: PackageFacts
) -> None:
    rest = tuple(one for one in current.packages if one.name != new.name)
    change = attempt(activate, PackageList(rest), new)
    if change is None:
        assert orphaned(new, rest)
        return
    after = change.packages.packages
    possible = [(*rest[:place], new, *rest[place:]) for place in range(len(rest) + 1)]
    kept = tuple(one for one in after if one != new) == rest
    assert kept == any(map(right, possible))


@unhurried
@given(lists(layered_packages()), layered_packages())
def test_a_new_package_goes_as_far_back_as_its_reason_allows(current: PackageList, new: PackageFacts) -> None:
    """L4: whoever needs something takes as few files as possible from those in front."""
    rest = tuple(one for one in current.packages if one.name != new.name)
    change = attempt(activate, PackageList(rest), new)
    if change is None or tuple(one for one in change.packages.packages if one != new) != rest:
        return
    place = change.packages.packages.index(new)
    legal = [at for at in range(len(rest) + 1) if right((*rest[:at], new, *rest[at:]))]
    upgraded = [one for one in rest if any(up.name == one.name for up in new.upgrades)]
    fellows = [one for one in rest if any(up.name == two.name for up in one.upgrades for two in upgraded)]
    if any(must_precede(new, one) for one in rest):
        limit = min([rest.index(one) for one in fellows], default=len(rest))
        assert place == max([at for at in legal if at <= limit], default=min(legal))
    else:
        assert place == (len(rest) if any(must_precede(one, new) for one in rest) else 0)


@unhurried
@given(st.lists(packages(), max_size=5).map(once))
def test_the_nearest_order_is_the_first_right_one_by_old_places_and_a_circle_means_there_is_none(
    some: Packages,
) -> None:
    settled = attempt(settle, PackageList(some))
    # Permutations come in order of old places.
    first = next((order for order in permutations(some) if right(order)), None)
    assert (None if settled is None else settled.packages.packages) == first
    if right(some):
        assert settled is not None and settled.steps == ()


BASES = ("a", "b", "c")


@st.composite
def bases_and_fixes(draw: st.DrawFn) -> PackageList:
    bases = [package(f"{name} {draw(st.sampled_from(VERSIONS))}") for name in BASES if draw(st.booleans())]
    fixes = [
        package(
            f"{name} 1",
            upgrades=[
                f"{base} {draw(st.sampled_from(RANGES))}".strip()
                for base in draw(st.lists(st.sampled_from(BASES), max_size=2, unique=True))
            ],
        )
        for name in ("x", "y", "z")
    ]
    return PackageList((*without_orphans((*fixes, *bases)),))


@unhurried
@given(bases_and_fixes(), st.sampled_from(BASES), st.sampled_from((*VERSIONS, None)))
def test_exactly_those_upgrades_are_dropped_that_fitted_before_and_fit_no_more(
    current: PackageList, name: str, version: str | None
) -> None:
    if current.get(name) is None:
        return
    if version is None:
        after = [one for one in current.packages if one.name != name]
        change = remove(current, name)
    else:
        new = package(f"{name} {version}")
        after = [new if one.name == name else one for one in current.packages]
        change = activate(current, new)
    expected = {one for one in after if orphaned(one, after) and not orphaned(one, current.packages)}
    dropped = {step.package for step in change.steps if step.kind is StepKind.DROPPED}
    assert dropped == expected
    assert set(change.packages.packages) == set(after) - expected


@unhurried
@given(lists(layered_packages()), st.lists(layered_packages(), min_size=1, max_size=3).map(once))
def test_to_activate_again_changes_nothing(current: PackageList, wanted: Packages) -> None:
    change = attempt(activate, current, *wanted)
    if change is not None:
        again = activate(change.packages, *wanted)
        assert again.packages == change.packages
        assert [step.kind for step in again.steps] == [StepKind.KEPT] * len(wanted)


@unhurried
@given(lists(layered_packages(), 7), st.sampled_from(NAMES))
def test_who_stays_when_one_is_removed_stays_in_order(current: PackageList, name: str) -> None:
    if current.get(name) is None:
        with pytest.raises(UsageError):
            remove(current, name)
        return
    after = remove(current, name).packages.packages
    assert list(after) == [one for one in current.packages if one in after] and name not in map(str, after)


@unhurried
@given(lists(layered_packages()), st.randoms())
def test_a_user_may_have_every_right_order_and_no_other(current: PackageList, random: object) -> None:
    orders = list(permutations(current.packages))
    for order in random.sample(orders, min(len(orders), 12)):  # type: ignore[attr-defined]
        names = [one.name for one in order]
        change = attempt(reorder, current, names)
        assert (change is not None) == right(order)
        assert change is None or change.packages.packages == order


@unhurried
@given(st.lists(st.sampled_from(NAMES), unique=True), st.lists(st.sampled_from("xyz"), unique=True))
def test_packages_that_concern_nobody_stand_in_front_as_they_were_named(
    there: list[str], new: list[str]
) -> None:
    current = PackageList(tuple(package(f"{name} 1") for name in there))
    change = activate(current, *(package(f"{name} 1") for name in new))
    assert [one.name for one in change.packages.packages] == [*new, *there]


@unhurried
@given(lists(layered_packages()), st.lists(layered_packages(), min_size=1, max_size=3).map(once))
def test_the_same_question_has_the_same_answer(current: PackageList, wanted: Packages) -> None:
    one, two = (attempt(activate, current, *wanted) for _ in range(2))
    assert one == two


def test_the_oracle_knows_the_rules() -> None:
    fix, base = package("fix 1", upgrades=["base = 1"]), package("base 1")
    assert right((fix, base)) and not right((base, fix)) and right((package("base 2"), fix))
    assert orphaned(fix, (package("base 2"),)) and orphaned(fix, ()) and not orphaned(fix, (base,))
    assert range_of("base = 1").holds(base)
