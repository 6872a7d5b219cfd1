"""Many states over all operations: how many of each, dealt out to shards, done unit by unit.

A unit is an operation and one line of our code at which it is cut first. States of different units are
different, so units can be done anywhere and in any order. Refuses to know how progress is shown and kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.flash.powercut.bench import Bench, Failure, read_cuts
from tests.flash.powercut.boot_operations import boot_operations
from tests.flash.powercut.card_operations import card_operations
from tests.flash.powercut.control_operations import control_operations
from tests.flash.powercut.house import House, small_house
from tests.flash.powercut.operation import Operation
from tests.flash.powercut.order import every_state, systematic_states
from tests.flash.powercut.store_operations import store_operations
from tests.flash.powercut.table_operations import table_operations

#: So many states in a row that were all known: the unit has no more.
EXHAUSTED = 3000
#: Operations of less weight take long, and are sampled.
WHOLE_WEIGHT = 0.05
#: A unit ends after so many failures: the first few say it all.
FAILURES_EACH = 5


def all_operations(house: House | None = None) -> list[Operation]:
    """The slow ones first: what a unit falls short of is made up for by those that follow."""
    house = house or small_house()
    return [
        *card_operations(house),
        *table_operations(house),
        *store_operations(house),
        *boot_operations(house),
        *control_operations(house),
    ]


@dataclass(frozen=True)
class Unit:
    operation: Operation
    site: str
    quota: int

    @property
    def name(self) -> str:
        return f"{self.operation.name} at {self.site}"


@dataclass
class Outcome:
    """What was counted in a unit, or in several of one operation."""

    operation: str
    kinds: Counter[str] = field(default_factory=Counter)
    tried: int = 0
    recovered: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def states(self) -> int:
        return sum(self.kinds.values())

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.operation,
            self.kinds + other.kinds,
            self.tried + other.tried,
            self.recovered + other.recovered,
            [*self.failures, *other.failures],
        )

    def document(self) -> dict[str, Any]:
        return {
            "operation": self.operation,
            "states": self.states,
            "kinds": dict(self.kinds),
            "tried": self.tried,
            "recovered": self.recovered,
            "failures": [vars_of(failure) for failure in self.failures],
        }

    @classmethod
    def of_document(cls, doc: dict[str, Any]) -> Outcome:
        failures = [Failure(**failure) for failure in doc["failures"]]
        return cls(doc["operation"], Counter(doc["kinds"]), doc["tried"], doc["recovered"], failures)


def vars_of(failure: Failure) -> dict[str, Any]:
    return {name: getattr(failure, name) for name in ("operation", "state", "site", "what", "seed")}


def plan(operations: Sequence[Operation], states: int, shard: int, shards: int) -> list[Unit]:
    """The units of shard 1 to `shards`, with how many states each is to give."""
    weights = sum(operation.weight for operation in operations)
    units = [
        Unit(operation, site, -(-int(states * operation.weight / weights) // len(operation.sites())))
        for operation in operations
        for site in operation.sites()
    ]
    return units[shard - 1 :: shards]


def run(unit: Unit, seed: int, more: int = 0, *, every: bool = False) -> Iterator[Outcome]:
    """Try states until the unit has given its quota and `more`; what there is so far, and at the end all.

    With `every` no systematic cut and no pair is left out, whatever the quota, but of operations that are
    only sampled.
    """
    bench = Bench(unit.operation, seed)
    wanted, known = unit.quota + more, 0
    sampled = unit.operation.weight < WHOLE_WEIGHT
    sure = 0 if sampled or not every else sum(1 for _ in systematic_states(bench, {unit.site}))
    for number, cuts in enumerate(every_state(bench, {unit.site})):
        known = 0 if bench.try_state(cuts) else known + 1
        if number % 256 == 255:
            yield _outcome(bench)
        if number + 1 < sure and len(bench.failures) < FAILURES_EACH:
            continue
        if len(bench.seen) >= wanted or known >= EXHAUSTED or len(bench.failures) >= FAILURES_EACH:
            break
    yield _outcome(bench)


def _outcome(bench: Bench) -> Outcome:
    return Outcome(
        bench.operation.name, Counter(bench.kinds), bench.tried, len(bench.recovered), list(bench.failures)
    )


def by_operation(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Outcomes of units, added up."""
    found: dict[str, Outcome] = {}
    for outcome in outcomes:
        found[outcome.operation] = found.get(outcome.operation, Outcome(outcome.operation)) + outcome
    return list(found.values())


def replay(operations: Sequence[Operation], name_and_state: str, seed: int) -> list[Failure]:
    """Try one state, named as failures name it. Raises ValueError when there is no such state."""
    name, _, state = name_and_state.rpartition(" ")
    for operation in operations:
        if operation.name == name:
            bench = Bench(operation, seed)
            bench.try_state(read_cuts(state))
            return bench.failures
    raise ValueError(f"no operation {name!r}")
