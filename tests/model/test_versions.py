"""Versions are ordered as dpkg orders them, and further; constraints are ranges (SOFTWARE-SETS V1 to V4)."""

from __future__ import annotations

import subprocess
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.versions import Constraint, Operator, Version
from firmware_mgr.package.contents import Dependency
from tests.model.software import unhurried

#: Few marks, so that versions often share a beginning.
TEXTS = st.from_regex(r"[01Aaz9][01Aaz9.+~:\-]{0,7}", fullmatch=True)
VERSIONS = TEXTS.map(Version)
CLAUSES = st.builds(lambda operator, version: f"{operator.value} {version}", st.sampled_from(Operator), TEXTS)
CONSTRAINTS = st.lists(CLAUSES, max_size=3).map(", ".join).map(Constraint)

SCRIPT = """while read a b; do
    for word in lt eq gt; do dpkg --compare-versions "$a" $word "$b" 2>/dev/null && echo $word; done
done"""


def dpkg_takes(text: str) -> bool:
    """It takes no epoch that is not a number, and nothing empty."""
    epoch, _, rest = text.partition(":") if ":" in text else ("0", "", text)
    return epoch.isdigit() and rest != "" and not rest.startswith("-") and not rest.endswith("-")


def word(one: Version, other: Version) -> str:
    return "lt" if one < other else "gt" if one > other else "eq"


@settings(unhurried, max_examples=30)
@given(st.lists(st.tuples(TEXTS.filter(dpkg_takes), TEXTS.filter(dpkg_takes)), min_size=1, max_size=12))
def test_versions_are_ordered_as_dpkg_orders_them(pairs: list[tuple[str, str]]) -> None:
    lines = "".join(f"{one} {other}\n" for one, other in pairs)
    asked = subprocess.run(["sh", "-c", SCRIPT], input=lines, capture_output=True, text=True, check=False)
    assert asked.stdout.split() == [word(Version(one), Version(other)) for one, other in pairs]


@pytest.mark.parametrize(
    "ascending",
    [
        # Debian Policy §5.6.12: ~~, ~~a, ~, the empty part, a.
        ["1~~", "1~~a", "1~", "1", "1a"],
        ["1.0~rc1", "1.0", "1.0-1", "1.0-1+deb12u1", "1.0-10", "1.0+b1", "1.0.1", "1.9", "1.10", "1:0.1"],
        ["3.0.11-1~deb12u2", "3.0.13-1~deb12u1", "3.0.13-1"],
        ["1-1", "1-1-1", "1-2-1"],  # the last hyphen parts the revision
        ["Z", "a", "a+", "a."],
        # What dpkg refuses has its place too.
        ["9", "a:1", "b", "1:", "1:0a", "1:1", "99999999999:0"],
    ],
)
def test_examples_are_in_order(ascending: list[str]) -> None:
    versions = [Version(text) for text in ascending]
    assert all(one < other for one, other in pairwise(versions))
    assert sorted(reversed(versions)) == versions


@pytest.mark.parametrize(
    ("one", "other"), [("1.0", "1.00"), ("1.0", "0:1.0-0"), ("1.", "1.0"), ("1-", "1"), ("0:", "0")]
)
def test_versions_that_nothing_tells_apart_are_equal_and_keep_their_text(one: str, other: str) -> None:
    assert Version(one) == Version(other) and hash(Version(one)) == hash(Version(other))
    assert str(Version(one)) == one


@unhurried
@given(st.lists(VERSIONS, min_size=3, max_size=3))
def test_the_order_is_total(three: list[Version]) -> None:
    a, b, c = three
    assert (a < b) + (a == b) + (a > b) == 1
    assert (a < b) == (b > a) and (a <= b) == (a < b or a == b)
    assert a <= c if a <= b <= c else True


@unhurried
@given(VERSIONS)
def test_what_begins_a_version_with_a_tilde_comes_before_it_and_with_a_letter_after(version: Version) -> None:
    assert Version(f"{version}~") < version < Version(f"{version}a")


@unhurried
@given(st.lists(CLAUSES, max_size=4), VERSIONS)
def test_a_constraint_matches_when_each_of_its_clauses_does(clauses: list[str], version: Version) -> None:
    said = {
        "=": lambda other: version == other,
        "<": lambda other: version < other,
        "<=": lambda other: version <= other,
        ">": lambda other: version > other,
        ">=": lambda other: version >= other,
    }
    each = [said[operator](Version(text)) for operator, text in (clause.split(" ") for clause in clauses)]
    assert Constraint(", ".join(clauses)).matches(version) == all(each)


@pytest.mark.parametrize("text", [">= 1, > 01", "> 1, >= 01", "<= 1, < 01", "< 1, <= 01", "= 1, > 1"])
def test_an_end_that_one_clause_leaves_out_is_out(text: str) -> None:
    assert not Constraint(text).matches(Version("1"))
    assert not Constraint.all_of(*(Constraint(clause) for clause in text.split(", "))).matches(Version("1"))


def just_above(text: str) -> str:
    """A version so little above this one that generated ones are not in between."""
    rest = text.partition(":")[2] or text
    end = text if "-" in rest else f"{text}-0"
    return f"{end}A~~~~~~~~~" if end[-1].isdigit() else f"{end}0A~~~~~~~~~"


@unhurried
@given(CONSTRAINTS)
def test_a_constraint_is_satisfiable_when_some_version_fits(constraint: Constraint) -> None:
    ends = [clause.split(" ")[1] for clause in constraint.text.split(", ") if clause] or ["1"]
    witnesses = [*ends, *(f"{end}~~~~~~~~~" for end in ends), *map(just_above, ends)]
    assert constraint.satisfiable == any(constraint.matches(Version(text)) for text in witnesses)


@unhurried
@given(CONSTRAINTS, CONSTRAINTS, VERSIONS)
def test_all_of_two_constraints_fits_what_fits_both(one: Constraint, other: Constraint, v: Version) -> None:
    both = Constraint.all_of(one, other)
    assert both.matches(v) == (one.matches(v) and other.matches(v))
    assert one.overlaps(other) == other.overlaps(one) == both.satisfiable
    if one.matches(v) and other.matches(v):
        assert one.overlaps(other)


@pytest.mark.parametrize(
    ("text", "satisfiable"),
    [
        ("", True),
        ("= 1", True),
        ("> 1, < 2", True),
        ("> 1, < 1a", True),
        (">= 1.0, <= 1", False),
        (">= 1.0, <= 1.00", True),
        ("> 1, <= 1", False),
        ("= 1, = 2", False),
        (">= 2, < 1", False),
        ("< 5, < 3, > 2, >= 3~", True),
    ],
)
def test_examples_of_constraints(text: str, satisfiable: bool) -> None:
    assert Constraint(text).satisfiable is satisfiable


@unhurried
@given(st.one_of(st.text(max_size=12), st.from_regex(r"(?:[<>=]{0,2} ?[1a:]{0,2},? ?){0,3}", fullmatch=True)))
def test_what_a_package_may_say_is_what_can_be_read(text: str) -> None:
    assert accepted(Constraint, text) == accepted(lambda text: Dependency("base", text), text)


def test_a_constraint_is_as_long_as_the_format_allows() -> None:
    clause = f">= {'1' * 60}"
    assert accepted(Constraint, ", ".join([clause] * 3)) and not accepted(Constraint, ", ".join([clause] * 5))


def accepted(read: object, text: str) -> bool:
    try:
        read(text)  # type: ignore[operator]
    except UsageError as e:
        assert e.expected and e.found == repr(text)
        return False
    return True
