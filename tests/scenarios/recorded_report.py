"""What a campaign of recorded cuts saw, as a table: a row for each board, kind of record and phase."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.flash.recorded.phases import Phase
from tests.flash.recorded.view import NEW, OLD
from tests.scenarios.recorded_cuts import NETWORK, PRISTINE, UPDATE, Outcome


@dataclass(frozen=True)
class Failed:
    record: str
    board: str
    cut: str
    phase: str
    what: str


def again(one: Failed, seed: int) -> str:
    return f"tools/recorded-cuts --seed {seed} --only '{one.record} {one.cut}'"


def table(outcomes: Sequence[Outcome], failures: Sequence[Failed]) -> str:
    """A row for each board, kind of record and phase; and the sums."""
    head = ("board", "record", "phase", "cuts", "old", "new", "network", "nothing", "packages", "image")
    rows: list[tuple[str, ...]] = [(*head, "median s", "longest s", "failed")]
    boards = sorted({one.board for one in (*outcomes, *failures)})
    for board in boards:
        for kind in (PRISTINE, UPDATE):
            for phase in Phase:
                rows += _row(outcomes, failures, board, kind, phase)
        rows += _row(outcomes, failures, board)
    rows += _row(outcomes, failures)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows
    )


def _row(
    outcomes: Sequence[Outcome],
    failures: Sequence[Failed],
    board: str | None = None,
    kind: str | None = None,
    phase: Phase | None = None,
) -> list[tuple[str, ...]]:
    def mine(one: Outcome | Failed) -> bool:
        return (
            (board is None or one.board == board)
            and (kind is None or one.record.startswith(kind))
            and (phase is None or one.phase == phase.value)
        )

    good, bad = [one for one in outcomes if mine(one)], [one for one in failures if mine(one)]
    if not good and not bad:
        return []

    def count(which: Callable[[Outcome], bool]) -> str:
        return str(sum(map(which, good)))

    seconds = [one.seconds for one in good] or [0.0]
    return [
        (
            board or "all",
            kind or "",
            phase.value if phase is not None else "",
            str(len(good) + len(bad)),
            count(lambda one: one.source == OLD),
            count(lambda one: one.source == NEW),
            count(lambda one: one.source == NETWORK),
            count(lambda one: not one.boot_written and not one.package_written),
            count(lambda one: bool(one.package_written)),
            count(lambda one: bool(one.boot_written)),
            f"{statistics.median(seconds):.0f}",
            f"{max(seconds):.0f}",
            str(len(bad)),
        )
    ]
