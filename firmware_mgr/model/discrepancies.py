"""What a check of cards finds: a value for each thing that is missing or wrong, with what would put it right.

Values, their order, and the comparison of two reports (SOFTWARE-SETS C5, C6). How they are found is
`dependency_check`'s; how they are told to people is the command line's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.file_selection import Selection
from firmware_mgr.model.ids import SlotId, check_name
from firmware_mgr.model.package_facts import PackageFacts


@dataclass(frozen=True, slots=True)
class CardSoftware:
    """What the card in a slot runs or should run: the whole list, and what it loads of it."""

    slot: SlotId
    board: str
    selection: Selection
    packages: tuple[PackageFacts, ...]
    present: bool = True
    loaded: tuple[PackageFacts, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_name(self.board, "board")
        names = [package.name for package in self.packages]
        if len(names) != len(set(names)):
            raise UsageError(
                "a package stands twice in a list", where=f"slot {self.slot}", found=", ".join(names)
            )
        object.__setattr__(self, "loaded", self.selection.loaded(self.packages))


class Lack(Enum):
    """In the order in which reports have them."""

    LOCAL = "local dependency"
    REMOTE = "remote dependency"
    LIBRARY = "library"
    UPGRADE = "orphaned upgrade"
    ORDER = "order"
    CLASH = "clash"
    FILE = "unreadable package"  # found by who reads packages: what it needs is unknown


_RANK = {lack: rank for rank, lack in enumerate(Lack)}


class Way(Enum):
    ACTIVATE = "activate"  # that version, on one of the cards
    RETURN = "return"  # a card that has it comes back, or is counted


@dataclass(frozen=True, slots=True)
class Remedy:
    """What would put it right. No slots: on any card but this one."""

    way: Way
    package: str
    version: str
    slots: tuple[SlotId, ...] = ()


@dataclass(frozen=True, slots=True)
class Instead:
    """What is there, and where."""

    package: str
    version: str
    slots: tuple[SlotId, ...]


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Package `package` on a card lacks `needs`: by `lack` the name of a package (in the versions that
    `constraint` allows), a library, what it must stand before, a path, or its own file. `path` is a file
    concerned, if any.
    """

    slot: SlotId
    present: bool
    package: str
    version: str
    lack: Lack
    needs: str
    constraint: str = ""
    path: str = ""
    instead: tuple[Instead, ...] = ()
    remedies: tuple[Remedy, ...] = ()

    @property
    def key(self) -> tuple[SlotId, str, int, str, str]:
        """What it is about, whatever version of the package says so, and whatever would help."""
        return (self.slot, self.package, _RANK[self.lack], self.needs, self.constraint)


@dataclass(frozen=True, slots=True)
class Report:
    """Sorted, and of each key one."""

    discrepancies: tuple[Discrepancy, ...] = ()

    def __post_init__(self) -> None:
        once = {one.key: one for one in reversed(self.discrepancies)}
        object.__setattr__(self, "discrepancies", tuple(once[key] for key in sorted(once)))

    def of(self, slot: SlotId) -> tuple[Discrepancy, ...]:
        return tuple(one for one in self.discrepancies if one.slot == slot)


@dataclass(frozen=True, slots=True)
class Comparison:
    worse: tuple[Discrepancy, ...]  # was not so before
    better: tuple[Discrepancy, ...]  # as it was before
    same: tuple[Discrepancy, ...]  # as it is now


def compare_reports(before: Report, after: Report) -> Comparison:
    """What a change of software makes better and worse."""
    old, new = ({one.key: one for one in report.discrepancies} for report in (before, after))
    return Comparison(
        worse=tuple(one for key, one in new.items() if key not in old),
        better=tuple(one for key, one in old.items() if key not in new),
        same=tuple(one for key, one in new.items() if key in old),
    )
