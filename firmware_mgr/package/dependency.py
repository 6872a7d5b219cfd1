"""What a package says of other packages, and of the groups in itself: SPEC-package §4.1 and §4.2.

Knows names, constraints as text, and boards. Refuses to compare versions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import check_name
from firmware_mgr.package.checks import check_set
from firmware_mgr.package.paths import has_control

MAX_CONSTRAINT = 256
MAX_SUMMARY = 256

_CLAUSE = re.compile(r"(?:=|<|<=|>|>=) [A-Za-z0-9][A-Za-z0-9.+~:\-]{0,63}")


@dataclass(frozen=True, slots=True, order=True)
class Dependency:
    """On a package by name; `constraint` is empty or such as `>= 1.2, < 2`; no boards: it holds on all."""

    name: str
    constraint: str = ""
    boards: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name, "package")
        clauses = self.constraint.split(", ") if self.constraint else []
        if len(self.constraint) > MAX_CONSTRAINT or not all(_CLAUSE.fullmatch(clause) for clause in clauses):
            raise UsageError(
                "not a version constraint",
                where=self.name,
                expected="such as '>= 1.2, < 2'",
                found=repr(self.constraint),
            )
        check_set(self.boards, f"{self.name}: boards")
        for board in self.boards:
            check_name(board, "board")

    @property
    def place(self) -> tuple[str, tuple[str, ...]]:
        """By what dependencies are sorted."""
        return self.name, self.boards

    def holds_on(self, board: str) -> bool:
        """Whether a card of that board needs it."""
        return not self.boards or board in self.boards


@dataclass(frozen=True, slots=True)
class Group:
    """Modules that are asked for together, as a feature; `wanted` without being asked for."""

    name: str
    summary: str = ""
    wanted: bool = True

    def __post_init__(self) -> None:
        check_name(self.name, "group")
        if len(self.summary.encode("utf-8", "replace")) > MAX_SUMMARY or has_control(self.summary):
            raise UsageError(
                "not a summary",
                where=f"group {self.name}",
                expected=f"a line of {MAX_SUMMARY} bytes at most",
                found=repr(self.summary[:80]),
            )


def check_dependencies(dependencies: Sequence[Dependency], what: str) -> None:
    """Return when they are in order and none holds twice on a board; raise UsageError otherwise."""
    check_set([dependency.place for dependency in dependencies], what)
    seen: dict[str, set[str]] = {}  # an empty set: on every board
    for dependency in dependencies:
        before = seen.get(dependency.name)
        if before is not None and not (before and dependency.boards and before.isdisjoint(dependency.boards)):
            raise UsageError(
                "two dependencies on one package hold on one board",
                where=f"{what}: {dependency.name}",
                expected="other boards for each",
                found=", ".join(dependency.boards) or "every board",
            )
        seen.setdefault(dependency.name, set()).update(dependency.boards)
