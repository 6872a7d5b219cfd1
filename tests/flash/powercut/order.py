"""In which order states are tried: every single cut, every pair of cuts, then seeded ones without end.

Knows numbers of cuts only. The same seed gives the same order.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Set

from tests.flash.powercut.bench import Bench, Cut, Cuts
from tests.flash.powercut.fates import Fates, Kind, Record

#: So many of an event, then the next one's turn comes.
TURN = 8
#: Of the systematic fates of each first and each second cut of a pair so many are tried, evenly spread.
FIRST_FATES = 2
SECOND_FATES = 2
#: In each seeded round: fates of each single cut; first cuts; fates of each second one.
SINGLES = 6
PAIRS = 6
SECONDS = 3


def single_cuts(record: Record, sites: Set[str]) -> Iterator[Cuts]:
    """All systematic ones at these lines, a few of each event in turn."""
    places = {
        (number, kind): record.fates(number, kind).systematic
        for number, event in enumerate(record.events)
        if event.site in sites
        for kind in Kind
    }
    for low in range(0, max(places.values(), default=0), TURN):
        for (number, kind), count in places.items():
            for fate in range(low, min(low + TURN, count)):
                yield (Cut(number, kind, fate),)


def _spread(fates: Fates, count: int) -> list[int]:
    """The numbers of some fates, the first and the last among them."""
    total = fates.systematic
    if total <= count:
        return list(range(total))
    return sorted({index * (total - 1) // (count - 1) for index in range(count)})


def paired_cuts(bench: Bench, sites: Set[str]) -> Iterator[Cuts]:
    """Every pair of events and of kinds, with a first cut at these lines."""
    record = bench.operation.record
    for number, event in enumerate(record.events):
        if event.site not in sites:
            continue
        for kind in Kind:
            for fate in _spread(record.fates(number, kind), FIRST_FATES):
                first = Cut(number, kind, fate)
                yield from _seconds(bench, first)


def _seconds(bench: Bench, first: Cut) -> Iterator[Cuts]:
    after, _ = bench.record_after(first)
    for number in range(len(after)):
        for kind in Kind:
            for fate in _spread(after.fates(number, kind), SECOND_FATES):
                yield first, Cut(number, kind, fate)


def seeded_cuts(bench: Bench, sites: Set[str], rng: random.Random) -> Iterator[Cuts]:
    """One round: single cuts that go on from the systematic ones, and pairs."""
    record = bench.operation.record
    here = [number for number, event in enumerate(record.events) if event.site in sites]
    for number in here:
        for kind in Kind:
            fates = record.fates(number, kind)
            if fates.endless:
                for _ in range(SINGLES):
                    yield (Cut(number, kind, fates.systematic + rng.getrandbits(40)),)
    for _ in range(PAIRS):
        first = _any_cut(record, rng.choice(here), rng)
        if first is None:
            continue
        after, _ = bench.record_after(first)
        for number in range(len(after)):
            for _ in range(SECONDS):
                second = _any_cut(after, number, rng)
                if second is not None:
                    yield first, second


def _any_cut(record: Record, number: int, rng: random.Random) -> Cut | None:
    kind = rng.choice((Kind.BEFORE, Kind.TORN, Kind.TORN, Kind.TORN, Kind.AFTER))
    fates = record.fates(number, kind)
    if fates.endless and rng.random() < 0.7:
        return Cut(number, kind, fates.systematic + rng.getrandbits(40))
    return Cut(number, kind, rng.randrange(fates.systematic)) if fates.systematic else None


def systematic_states(bench: Bench, sites: Set[str]) -> Iterator[Cuts]:
    """Those that are not left to chance: what every unit begins with."""
    yield from single_cuts(bench.operation.record, sites)
    yield from paired_cuts(bench, sites)


def every_state(bench: Bench, sites: Set[str] | None = None) -> Iterator[Cuts]:
    """Without end, as long as there is something seeded to try."""
    record = bench.operation.record
    sites = set(bench.operation.sites()) if sites is None else sites
    if not any(event.site in sites for event in record.events):
        return
    yield from systematic_states(bench, sites)
    number = 0
    while True:
        rng = random.Random(f"{bench.seed} {bench.operation.name} {sorted(sites)} {number}")
        yield from seeded_cuts(bench, sites, rng)
        number += 1
