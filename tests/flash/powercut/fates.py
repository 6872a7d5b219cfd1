"""What a cut may leave: for one record, one place in it and one kind of cut, all media, each under a number.

Small numbers are the systematic ones; from `systematic` on each number seeds a choice. The same number gives
the same medium. Refuses to know what the record is of. docs/POWER-CUTS.md, "Fault model".
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import Enum
from functools import cached_property
from itertools import accumulate, zip_longest

from tests.flash.powercut.medium import SECTOR, Ask, Event, Medium, Odd, Unreadable, Unstable, mixed

#: Subsets of so many sectors are tried whole.
EXHAUSTIVE = 8
#: The rhythms of unstable cells that are tried: which of four reads give new; below 0 a mixture each time.
RHYTHMS = (0b0001, 0b0010, 0b0011, 0b0101, 0b1000, 0b1010, 0b1100, 0b1110, -1, -2)
#: All damage, and what of it a disk image can hold: bytes that read the same each time.
DAMAGES = ("prefix", "suffix", "bits", "bits", "noise", "unstable", "unreadable")
HELD_DAMAGES = ("prefix", "suffix", "bits", "bits", "noise")
#: Where sectors are torn first of all: in and behind magic numbers and checksums, then anywhere.
TEARS = (1, 4, 7, 8, 9, 12, 16, 24, 32, 40, 64, 96, 128, 160, 161, 163, 164, 256, 384, 511)


class Kind(Enum):
    """When power fails in relation to an operation."""

    BEFORE = "before"
    TORN = "torn"
    AFTER = "after"


class Record:
    """The writes and syncs of one run, and the medium at each sync of it."""

    def __init__(self, start: Medium, events: Sequence[Event]) -> None:
        self.start = start
        self.events = events
        self.durable: list[Medium] = [start]
        self._fates: dict[tuple[int, Kind], Fates] = {}
        self._synced_before: list[tuple[int, int]] = []  # for each event: which medium, first event after it
        waiting: dict[int, bytes] = {}
        since = 0
        for number, event in enumerate(events):
            self._synced_before.append((len(self.durable) - 1, since))
            if event.ask is Ask.WRITE:
                waiting.update(event.sectors())
            else:
                self.durable.append(self.durable[-1].with_sectors(waiting))
                waiting = {}
                since = number + 1

    def __len__(self) -> int:
        return len(self.events)

    def fates(self, number: int, kind: Kind) -> Fates:
        """What a cut at event `number` may leave."""
        if (number, kind) not in self._fates:
            self._fates[number, kind] = self._make_fates(number, kind)
        return self._fates[number, kind]

    def _make_fates(self, number: int, kind: Kind) -> Fates:
        durable, since = self._synced_before[number]
        event = self.events[number]
        earlier = [e for e in self.events[since:number] if e.ask is Ask.WRITE]
        if event.ask is Ask.SYNC and kind is Kind.AFTER:
            durable += 1
        return cut_at(self.durable[durable], earlier, event, kind)


class Fates:
    """`writes` had not been synced; those at the places `current` are the ones that power failed in."""

    def __init__(self, durable: Medium, writes: list[Event], current: list[int], kind: Kind) -> None:
        self.durable = durable
        self._kind = kind
        self._current = current
        # Of each write only sectors that change anything; two writes to one sector are two versions of it.
        self._writes = [
            [(s, data) for s, data in event.sectors() if s in durable.odd or data != durable.sector(s)]
            for event in writes
        ]
        self._sectors = [(w, s, data) for w, sectors in enumerate(self._writes) for s, data in sectors]

    @cached_property
    def _torn(self) -> list[tuple[int, int, bytes]]:
        """The sectors that may be damaged."""
        return [item for item in self._sectors if item[0] in self._current]

    @cached_property
    def _subsets(self) -> list[frozenset[int]]:
        """Which sectors survive: all subsets when few, else the telling ones."""
        count = len(self._sectors)
        everything = frozenset(range(count))
        if self._kind is Kind.AFTER and self._current:
            now = frozenset(i for i, item in enumerate(self._sectors) if item[0] in self._current)
            others = sorted(everything - now)
            return [now | s for s in _telling(others, self._runs(others))]
        return _telling(sorted(everything), self._runs(sorted(everything)))

    def _runs(self, among: list[int]) -> list[frozenset[int]]:
        """Each write alone, all but one, the first and the last ones, among these sectors."""
        by_write: dict[int, set[int]] = {}
        for index in among:
            by_write.setdefault(self._sectors[index][0], set()).add(index)
        groups = [frozenset(group) for group in by_write.values()]
        whole = frozenset(among)
        firsts = list(accumulate(groups, frozenset.union))
        lasts = [whole - first for first in firsts]
        return [*groups, *(whole - group for group in groups), *firsts, *lasts]

    @cached_property
    def _damages(self) -> list[tuple[int, str, int]]:
        """Index into `_torn`, the kind of damage and its number."""
        kinds: list[tuple[str, Sequence[int]]] = [
            ("prefix", TEARS),
            ("unstable", RHYTHMS),
            ("bits", range(4)),
            ("noise", range(1)),
            ("unreadable", range(1)),
            ("suffix", TEARS),
        ]
        turns = zip_longest(*([(kind, number) for number in numbers] for kind, numbers in kinds))
        one = [damage for turn in turns for damage in turn if damage is not None]
        return [(index, kind, number) for kind, number in one for index in range(len(self._torn))]

    @cached_property
    def systematic(self) -> int:
        """How many numbers are systematic."""
        if self._kind is Kind.TORN:
            return 3 * len(self._damages) + (len(self._subsets) if len(self._torn) > 1 else 0)
        return len(self._subsets)

    @cached_property
    def endless(self) -> bool:
        """Whether further numbers give further media."""
        if self._kind is Kind.TORN:
            return bool(self._torn)
        return len(self._sectors) > EXHAUSTIVE

    def pick(self, number: int, seed: int) -> Medium:
        """The medium under this number. Raises IndexError behind the last one."""
        if number < self.systematic:
            if self._kind is not Kind.TORN:
                return self._settle(self._subsets[number])
            if number >= 3 * len(self._damages):
                return self._settle(self._subsets[number - 3 * len(self._damages)])
            which, of_others = number % len(self._damages), number // len(self._damages)
            rng = random.Random(f"{seed} {number}")
            return self._damaged([self._damages[which]], ("all", "none", "some")[of_others], rng)
        if not self.endless:
            raise IndexError(number)
        rng = random.Random(f"{seed} {number}")
        if self._kind is not Kind.TORN:
            now = [i for i, item in enumerate(self._sectors) if item[0] in self._current]
            return self._settle(
                frozenset([*now, *(i for i in range(len(self._sectors)) if rng.random() < 0.5)])
            )
        damages = [
            self._any_damage(index, rng)
            for index in rng.sample(range(len(self._torn)), min(len(self._torn), rng.choice((1, 1, 2))))
        ]
        return self._damaged(damages, rng.choice(("all", "none", "some", "some")), rng)

    def draw(self, rng: random.Random) -> Medium:
        """A seeded one that holds bytes alone: none of its sectors is unstable or unreadable."""
        others = rng.choice(("all", "none", "some", "first"))
        if self._kind is Kind.TORN and self._torn:
            index = rng.randrange(len(self._torn))
            return self._damaged([self._any_damage(index, rng, HELD_DAMAGES)], others, rng)
        count = len(self._sectors)
        first = rng.randrange(count + 1) if others == "first" else count
        share = {"none": 0.0, "some": 0.5}.get(others, 1.0)
        now = self._kind is Kind.AFTER
        return self._settle(
            frozenset(
                index
                for index, (write, _, _) in enumerate(self._sectors)
                if (now and write in self._current) or (index < first and rng.random() < share)
            )
        )

    def _any_damage(
        self, index: int, rng: random.Random, kinds: Sequence[str] = DAMAGES
    ) -> tuple[int, str, int]:
        kind = rng.choice(kinds)
        if kind in ("prefix", "suffix"):
            _, sector, new = self._torn[index]
            old = self.durable.sector(sector)
            places = [at for at in range(1, SECTOR) if old[at] != new[at]] or [1]
            return (
                index,
                kind,
                rng.choice(places),
            )  # between bytes that differ: elsewhere it would be the same
        if kind == "unstable":
            return index, kind, rng.choice((*RHYTHMS, -rng.randrange(3, 1 << 30)))
        return index, kind, rng.getrandbits(30)

    def _damaged(self, damages: list[tuple[int, str, int]], others: str, rng: random.Random) -> Medium:
        changes: dict[int, bytes | Odd] = {}
        hit = {self._torn[index][1] for index, _, _ in damages}
        first = rng.randrange(len(self._sectors) + 1) if others == "first" else 0
        for number, (_, sector, data) in enumerate(self._sectors):
            survives = others == "all" or number < first or (others == "some" and rng.random() < 0.5)
            if sector not in hit and survives:
                changes[sector] = data
        for index, kind, number in damages:
            _, sector, new = self._torn[index]
            changes[sector] = damage(self.durable.sector(sector), new, kind, number)
        return self.durable.with_sectors(changes)

    def _settle(self, subset: frozenset[int]) -> Medium:
        return self.durable.with_sectors({self._sectors[i][1]: self._sectors[i][2] for i in sorted(subset)})


def cut_at(durable: Medium, earlier: list[Event], event: Event, kind: Kind) -> Fates:
    """A cut at `event`, when `earlier` writes wait for a sync. After a sync, `durable` must hold them."""
    if kind is Kind.AFTER and event.ask is Ask.SYNC:
        return Fates(durable, [], [], kind)
    if event.ask is Ask.SYNC and kind is Kind.TORN:
        return Fates(durable, earlier, list(range(len(earlier))), kind)
    if kind is Kind.BEFORE or event.ask is Ask.SYNC:
        return Fates(durable, earlier, [], kind)
    return Fates(durable, [*earlier, event], [len(earlier)], kind)


def damage(old: bytes, new: bytes, kind: str, number: int) -> bytes | Odd:
    """A sector that was to become new when power failed."""
    if kind == "prefix":
        return new[:number] + old[number:]
    if kind == "suffix":
        return old[:number] + new[number:]
    if kind == "bits":
        return mixed(old, new, random.Random(number))
    if kind == "noise":
        return random.Random(number).randbytes(len(new))
    if kind == "unstable":
        return Unstable(old, new, number)
    if kind == "unreadable":
        return Unreadable()
    raise ValueError(kind)


def _telling(among: list[int], runs: list[frozenset[int]]) -> list[frozenset[int]]:
    if len(among) <= EXHAUSTIVE:
        return [
            frozenset(index for bit, index in enumerate(among) if mask >> bit & 1)
            for mask in range(1 << len(among))
        ]
    return list(dict.fromkeys([frozenset[int](), frozenset(among), *runs]))
