"""What a machine wrote to its flash, from one medium to another, and what a cut anywhere in it may leave.

The fault model is the power-cut harness's (`Fates`). Refuses to know who wrote what: `phases` does.
"""

from __future__ import annotations

import mmap
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.flash.powercut.bench import Cut
from tests.flash.powercut.fates import Fates, Kind, cut_at
from tests.flash.powercut.medium import SECTOR, Ask, Event, Medium
from tests.flash.recorded.write_log import read_log

#: The site of the sync that stands between two power-ons: the next one began with all that was written.
POWER_ON = "power-on"


@dataclass(frozen=True)
class Recording:
    """`starts` are the numbers of the events that each power-on begins with."""

    base: bytes
    events: tuple[Event, ...]
    starts: tuple[int, ...] = (0,)

    @classmethod
    def of_logs(cls, base: Path, logs: Sequence[Path]) -> Recording:
        """From the flash file as it was and a log for each power-on. Raises FlashFormatError."""
        with base.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        events: list[Event] = []
        starts: list[int] = []
        for log in logs:
            if starts:
                events.append(Event(Ask.SYNC, POWER_ON))
            starts.append(len(events))
            events += read_log(log.read_bytes(), log.name, len(mapped))
        return cls(mapped, tuple(events), tuple(starts))  # type: ignore[arg-type]

    def power_on(self, number: int) -> int:
        """Which power-on an event is of, counted from 0; the sync between two is of the earlier one."""
        return sum(start <= number for start in self.starts) - 1

    def position(self, cut: Cut) -> int:
        """How long the log of this power-on was when power failed."""
        end = cut.number + (cut.kind is not Kind.BEFORE)
        entries = self.events[self.starts[self.power_on(cut.number)] : end]
        return SECTOR + sum(SECTOR + len(event.data) for event in entries if event.site != POWER_ON)

    def durable(self, number: int) -> tuple[Medium, list[Event]]:
        """What is durable just before an event, and the writes that wait for a sync."""
        synced = max((n for n in range(number) if self.events[n].ask is Ask.SYNC), default=-1)
        medium = self._medium(self.events[: synced + 1])
        return medium, [event for event in self.events[synced + 1 : number] if event.ask is Ask.WRITE]

    def fates(self, cut: Cut) -> Fates:
        """What may be left, of which `Fates.draw` takes one."""
        event = self.events[cut.number]
        if event.ask is Ask.SYNC and cut.kind is Kind.AFTER:
            return cut_at(self.durable(cut.number + 1)[0], [], event, cut.kind)
        return cut_at(*self.durable(cut.number), event, cut.kind)

    def left(self, cut: Cut, seed: int) -> Medium:
        """The medium that this cut leaves: always the same one."""
        return self.fates(cut).draw(random.Random(f"{seed} {cut}"))

    def waiting(self, cut: Cut) -> tuple[Medium, list[Event]]:
        """What is durable in any case, and the writes of which any part may be, also the one cut."""
        event = self.events[cut.number]
        if event.ask is Ask.SYNC and cut.kind is Kind.AFTER:
            return self.durable(cut.number + 1)
        durable, waiting = self.durable(cut.number)
        return durable, [
            *waiting,
            event,
        ] if event.ask is Ask.WRITE and cut.kind is not Kind.BEFORE else waiting

    @property
    def first(self) -> Medium:
        return Medium(self.base)

    @property
    def last(self) -> Medium:
        return self._medium(self.events)

    def _medium(self, events: Sequence[Event]) -> Medium:
        return with_writes(self.first, events)


def with_writes(medium: Medium, events: Iterable[Event]) -> Medium:
    """The medium when all of these have got through."""
    sectors: dict[int, bytes] = {}
    for event in events:
        if event.ask is Ask.WRITE:
            sectors.update(event.sectors())
    return medium.with_sectors(sectors)
