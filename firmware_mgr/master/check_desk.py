"""Asks after every change whether what every card should run is complete, and keeps the last report (R-2.7).

Knows the roster and when to ask; what is missing is the algebra's to say (SOFTWARE-SETS C1 to C6), and how it
is told the API's and the command line's. One check at a time; of changes that come meanwhile the last counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from firmware_mgr.master.package_tables import UNASKED, PackageTables, Tables
from firmware_mgr.master.roster import Roster
from firmware_mgr.model.discrepancies import (
    CardSoftware,
    Comparison,
    Discrepancy,
    Lack,
    Report,
    compare_reports,
)
from firmware_mgr.model.file_selection import ModuleSelection, Selection
from firmware_mgr.model.ids import CpuArch, SlotId
from firmware_mgr.model.software import PackageRef

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Changes that come within so many seconds are checked together.
PAUSE_SECONDS: Final = 0.25
#: Packages and modules that are looked through at once; more are left to a thread.
AT_ONCE: Final = 20_000
#: Situations whose reports are kept: before and after a change, and those of a change beside it.
KEPT: Final = 4
#: Discrepancies that one check writes to the log.
MAX_SAID: Final = 20


@dataclass(frozen=True, slots=True)
class Placed:
    """A card, and what it should run."""

    slot: SlotId
    board: str
    cpu: CpuArch
    packages: tuple[PackageRef, ...]
    features: tuple[str, ...] | None
    present: bool


#: What a report depends on, besides the packages that there are.
Situation = tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """A report, of which situation it is, and the tables that it was made with."""

    situation: Situation
    tables: Tables
    report: Report
    by_slot: Mapping[SlotId, tuple[Discrepancy, ...]]


class CheckDesk:
    def __init__(self, roster: Roster, tables: PackageTables, tell: Callable[[], None]) -> None:
        """`tell` is called when a report is another than the one before."""
        self._roster = roster
        self._tables = tables
        self._tell = tell
        self._changed = asyncio.Event()
        self._checking = asyncio.Lock()
        self._kept: list[Checked] = []
        self._task: asyncio.Task[None] | None = None
        self.last = _checked((), Tables(), Report())
        self.looks = 0  # how often all cards were looked at

    def start(self) -> None:
        self._roster.software_changed = self._changed.set
        self._changed.set()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(PAUSE_SECONDS)
            self._changed.clear()
            try:
                await self.current()
            except Exception:  # cards are served all the same
                log.exception("the check of all cards failed")

    # What others ask.

    async def ready(self) -> Tables:
        """The tables of all packages that are there now."""
        return await self._tables.read(self._roster.packages)

    async def current(self) -> Checked:
        """The report of what is so now."""
        checked = await self.of(self.situation())
        if checked.situation == self.situation():
            self._keep_last(checked)
        return checked

    def lacks(self, slot: SlotId) -> tuple[Discrepancy, ...]:
        """What the card lacked when it was last looked at."""
        return self.last.by_slot.get(slot, ())

    def note(self) -> ChangeNote:
        return ChangeNote(self)

    def situation(self) -> Situation:
        """What every card of which board and CPU are known should run."""
        found = []
        for entry in self._roster:
            record = entry.record
            if record.wanted is not None and record.board is not None and record.cpu is not None:
                wanted = record.wanted
                found.append(
                    Placed(
                        record.slot,
                        record.board,
                        record.cpu,
                        wanted.packages,
                        wanted.features,
                        record.present,
                    )
                )
        return tuple(found)

    async def of(self, situation: Situation) -> Checked:
        """The report of a situation, by the packages that are there now."""
        async with self._checking:
            tables = await self.ready()
            for one in self._kept:
                if one.tables is tables and one.situation == situation:
                    return one
            cards = software(situation, tables)
            self.looks += 1
            if _work(cards) > AT_ONCE:
                checked = await asyncio.to_thread(_look, situation, cards, tables)
            else:
                checked = _look(situation, cards, tables)
            self._kept = [*self._kept, checked][-KEPT:]
            return checked

    def _keep_last(self, checked: Checked) -> None:
        before, self.last = self.last, checked
        found = compare_reports(before.report, checked.report)
        for one in found.worse[:MAX_SAID]:
            log.warning("%s", line(one))
        if found.worse or found.better:
            log.info("check of all cards: %d worse, %d better", len(found.worse), len(found.better))
            self._tell()


class ChangeNote:
    """What one change makes worse and better: `around` is called where it is made, `compare` after it."""

    def __init__(self, desk: CheckDesk) -> None:
        self._desk = desk
        self._before: Situation = ()
        self._after: Situation = ()

    def around(self, work: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
        async def noted() -> T:
            self._before = self._after = self._desk.situation()
            result = await work()
            self._after = self._desk.situation()
            return result

        return noted

    async def compare(self) -> Comparison:
        if self._before == self._after:
            return Comparison((), (), ())
        before = await self._desk.of(self._before)
        return compare_reports(before.report, (await self.after()).report)

    async def after(self) -> Checked:
        return await self._desk.of(self._after)


def software(situation: Situation, tables: Tables) -> list[CardSoftware]:
    """The cards as the algebra takes them."""
    return [
        CardSoftware(
            one.slot,
            one.board,
            Selection(ModuleSelection(one.cpu, features=_features(one))),
            tuple(map(tables.of, one.packages)),
            one.present,
        )
        for one in situation
    ]


def _features(one: Placed) -> frozenset[str]:
    return frozenset({UNASKED} if one.features is None else one.features)


def _work(cards: Iterable[CardSoftware]) -> int:
    packages = {package for card in cards for package in card.packages}
    return sum(len(card.packages) for card in cards) + sum(len(package.modules) for package in packages)


def _look(situation: Situation, cards: list[CardSoftware], tables: Tables) -> Checked:
    """Of a card with a package that cannot be read it is unknown which libraries it lacks."""
    unread = {one.slot: [ref for ref in one.packages if not tables.has(ref)] for one in situation}
    found = [
        one
        for one in tables.checker.check(cards).discrepancies
        if one.lack is not Lack.LIBRARY or not unread[one.slot]
    ]
    for card in cards:
        for ref in unread[card.slot]:
            needs = f"file {ref.digest.short}"
            found.append(Discrepancy(card.slot, card.present, ref.name, ref.version, Lack.FILE, needs))
    return _checked(situation, tables, Report(tuple(found)))


def _checked(situation: Situation, tables: Tables, report: Report) -> Checked:
    by_slot: dict[SlotId, list[Discrepancy]] = {}
    for one in report.discrepancies:
        by_slot.setdefault(one.slot, []).append(one)
    return Checked(situation, tables, report, {slot: tuple(found) for slot, found in by_slot.items()})


def line(one: Discrepancy) -> str:
    """For the log; people are told more."""
    what = f"{one.needs} ({one.constraint})" if one.constraint else one.needs
    return f"slot {one.slot}: {one.package} {one.version}: {one.lack.value}: {what}"
