"""The order of versions, and constraints on them (docs/SOFTWARE-SETS.md, V1 to V4).

Debian's order (Debian Policy §5.6.12), continued to every string that `ids.check_version` allows. Knows text
only; which versions exist is others' knowledge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, Self

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import check_version

_EPOCH = re.compile(r"([0-9]+):(.*)")
_RUN = re.compile(r"([^0-9]*)([0-9]*)")
MAX_CONSTRAINT: Final = 256

#: A text and a number by turns. A text is its characters' ranks and the end's, so that `~` is before the end.
_Part = tuple[tuple[int, ...] | int, ...]
_END: Final = 0
_RANK_OF_OTHER_MARKS: Final = 256  # over every letter's code


class Order(NamedTuple):
    """Compares as the versions do."""

    epoch: int
    upstream: _Part
    revision: _Part


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version. Equal ones may be written differently (`1.0`, `1.00`); `text` says how this one is."""

    text: str = field(compare=False)
    order: Order = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", debian_order(check_version(self.text)))

    def __str__(self) -> str:
        return self.text


def debian_order(text: str) -> Order:
    """The place of a text in Debian's order of versions, whatever it is (V2)."""
    match = _EPOCH.fullmatch(text)
    epoch, rest = (int(match[1]), match[2]) if match else (0, text)
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return Order(epoch, _part(upstream), _part(revision))


def _part(text: str) -> _Part:
    ranks: list[tuple[int, ...] | int] = []
    for marks, digits in _RUN.findall(text):
        if marks or digits or not ranks:
            ranks += [(*map(_rank, marks), _END), int(digits or "0")]
    return (*ranks, (_END,))


def _rank(mark: str) -> int:
    if mark == "~":
        return -1
    return ord(mark) if mark.isalpha() else ord(mark) + _RANK_OF_OTHER_MARKS


class Operator(Enum):
    EQUAL = "="
    BEFORE = "<"
    AT_MOST = "<="
    AFTER = ">"
    AT_LEAST = ">="


#: operator -> (it sets a lower end, it sets an upper end, the end itself fits).
_ENDS: Final[dict[Operator, tuple[bool, bool, bool]]] = {
    Operator.EQUAL: (True, True, True),
    Operator.BEFORE: (False, True, False),
    Operator.AT_MOST: (False, True, True),
    Operator.AFTER: (True, False, False),
    Operator.AT_LEAST: (True, False, True),
}


class _End(NamedTuple):
    version: Version
    fits: bool


@dataclass(frozen=True, slots=True, order=True)
class Constraint:
    """A range of versions, as clauses that must all hold: `>= 1.2, < 2`. Without clauses every one fits."""

    text: str = ""
    low: _End | None = field(init=False, compare=False, repr=False)
    high: _End | None = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        lows: list[_End] = []
        highs: list[_End] = []
        for operator, version in _clauses(self.text):
            is_low, is_high, fits = _ENDS[operator]
            lows += [_End(version, fits)] * is_low
            highs += [_End(version, fits)] * is_high
        # Of equal ends the one that does not fit is the narrower.
        object.__setattr__(self, "low", max(lows, key=lambda end: (end.version, not end.fits), default=None))
        object.__setattr__(self, "high", min(highs, key=lambda end: (end.version, end.fits), default=None))

    @classmethod
    def all_of(cls, *constraints: Self) -> Self:
        """What fits all of them. Clauses are no more than two then, whatever went in."""
        low = max(
            (one.low for one in constraints if one.low),
            key=lambda end: (end.version, not end.fits),
            default=None,
        )
        high = min(
            (one.high for one in constraints if one.high),
            key=lambda end: (end.version, end.fits),
            default=None,
        )
        clauses = [f"{'>=' if low.fits else '>'} {low.version}"] if low else []
        clauses += [f"{'<=' if high.fits else '<'} {high.version}"] if high else []
        return cls(", ".join(clauses))

    def matches(self, version: Version) -> bool:
        low, high = self.low, self.high
        if low and not (low.version < version or (low.fits and low.version == version)):
            return False
        return not high or version < high.version or (high.fits and version == high.version)

    @property
    def satisfiable(self) -> bool:
        """Whether any version fits; lengths left out of account (V4)."""
        low, high = self.low, self.high
        if not low or not high or low.version < high.version:
            return True
        return low.version == high.version and low.fits and high.fits

    def overlaps(self, other: Self) -> bool:
        """Whether some version fits both."""
        return self.all_of(self, other).satisfiable

    def __str__(self) -> str:
        return self.text


def _clauses(text: str) -> list[tuple[Operator, Version]]:
    if not text:
        return []
    try:
        if len(text) > MAX_CONSTRAINT:
            raise ValueError("too long")
        pairs = [clause.split(" ") for clause in text.split(", ")]
        return [(Operator(operator), Version(version)) for operator, version in pairs]
    except (ValueError, UsageError) as e:
        raise UsageError(
            "not a version constraint", expected="such as '>= 1.2, < 2'", found=repr(text)
        ) from e
