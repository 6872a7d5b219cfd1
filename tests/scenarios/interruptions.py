"""burn-all with the master killed, or a card's power cut, at seeded moments.

Knows when to strike and what must hold afterwards: all in service, and what was stored was not written again.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from firmware_mgr.flash.boot_partition import PIECE_SIZE
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.stage import Stage
from tests.scenarios.words import IN_SERVICE, Words

#: TLS, HTTP and package heads on top of what is stored: a share of it.
WRAPPING = 1.02


class Victim(Enum):
    MASTER = "master"
    CARD = "card"


#: What one interruption may cost a card in bytes that travel again: the heads of its packages, and a run of
#: eight pieces that was fetched and not written yet; where its own power fails, also what its store had not
#: made durable (4 MiB). A killed master costs no byte that is written.
LOST_BYTES = {
    Victim.MASTER: (1 << 20) + 8 * PIECE_SIZE,
    Victim.CARD: (1 << 20) + 8 * PIECE_SIZE + (4 << 20),
}


@dataclass(frozen=True, slots=True)
class Strike:
    """One interruption: when, after the beginning of the burn-all, and what the cards were doing.

    `written` is what each card that was burning had told of bytes written to flash.
    """

    seconds: float
    victim: str
    states: tuple[str, ...]
    written: dict[str, int]

    def __str__(self) -> str:
        return f"{self.victim} at {self.seconds:.1f} s ({', '.join(self.states)})"


@dataclass(slots=True)
class BurnAll:
    """One interrupted burn-all, over: its strikes and what each card fetched and stored."""

    operation: dict[str, Any]
    strikes: list[Strike]
    fetched: dict[SlotId, int] = field(default_factory=dict)

    def __str__(self) -> str:
        cards = "; ".join(
            f"slot {slot}: fetched {fetched}, stored {work['boot_written']} + {work['package_written']}"
            for slot, fetched in self.fetched.items()
            if (work := self.operation["cards"][str(slot)])
        )
        return f"{', '.join(map(str, self.strikes))}. {cards}. Masters: {self.operation['masters']}"


def interrupted_burn_alls(
    stage: Stage,
    victim: Victim,
    rng: random.Random,
    *,
    strikes: int,
    each: int,
    within: float = 1.0,
    tell: Callable[[str], None] = lambda _: None,
) -> list[BurnAll]:
    """As many burn-alls of pristine cards as it takes for that many strikes, `each` in one at most.

    Moments are drawn from `within` times what an undisturbed burn-all takes: the disturbed ones take longer.
    """
    done: list[BurnAll] = []
    left = strikes
    while left > 0:
        burn_all = _burn_all(stage, victim, rng, min(each, left), within)
        left -= len(burn_all.strikes)
        _check(burn_all, victim, stage)
        tell(str(burn_all))
        done.append(burn_all)
    return done


def _burn_all(stage: Stage, victim: Victim, rng: random.Random, count: int, within: float) -> BurnAll:
    rig = stage.fresh()
    first = {slot: rig.power_ons(slot) + 1 for slot in rig.slots}
    rig.start_master()
    identifier = rig.burn_all(slots=[str(slot) for slot in rig.one_of_each])
    begun = rig.now()
    strikes: list[Strike] = []
    # Every card in its turn, so that each board is struck.
    victims = itertools.cycle(rng.sample(rig.one_of_each, len(rig.one_of_each)))
    for moment in sorted(rng.uniform(0, within * stage.seconds) for _ in range(count)):
        if not rig.wait_moment(begun + moment, lambda: bool(rig.operation(identifier)["finished"])):
            break
        cards = rig.operation(identifier)["cards"]
        states = tuple(card["state"] for card in cards.values())
        written = {
            slot: card["progress"]["written"] for slot, card in cards.items() if card["state"] == "burning"
        }
        struck = _strike(rig, victim, victims)
        if victim is Victim.MASTER and rig.operation(identifier)["masters"] < len(strikes) + 2:
            break  # it ended just before the master did
        strikes.append(Strike(moment, struck, states, written))
    operation = rig.wait_burned(identifier)
    result = BurnAll(operation, strikes)
    for slot in rig.one_of_each:
        _wait_page(rig, slot)
        rig.wait_in_service(slot)
        result.fetched[slot] = rig.bulk_bytes(slot, first[slot])
    return result


def _wait_page(rig: Words, slot: SlotId) -> None:
    """The card's own word: the master may not have seen yet that the last cut came after its service."""
    rig.wait_until(
        f"slot {slot} serves its page",
        lambda: "This card is in service" in rig.page(slot),
        IN_SERVICE,
        describe=rig.situation,
    )


def _strike(rig: Words, victim: Victim, victims: Iterator[SlotId]) -> str:
    if victim is Victim.MASTER:
        rig.kill_master()
        rig.start_master()
        return "master"
    slot = next(victims)
    rig.power(slot, PowerAction.CYCLE)
    return f"slot {slot}"


def _check(burn_all: BurnAll, victim: Victim, stage: Stage) -> None:
    strikes, lost = burn_all.strikes, LOST_BYTES[victim]
    killed = len(strikes) if victim is Victim.MASTER else 0
    assert burn_all.operation["masters"] == 1 + killed
    for slot, fetched in burn_all.fetched.items():
        undisturbed = stage.undisturbed[slot]
        travels = undisturbed.travels * WRAPPING
        whole = undisturbed.boot_written + undisturbed.package_written
        work = burn_all.operation["cards"][str(slot)]
        stored = work["boot_written"] + work["package_written"]
        struck = [strike for strike in strikes if strike.victim in ("master", f"slot {slot}")]
        # What is stored is not fetched again; this bounds what was written also by burns that told no end.
        assert fetched <= travels + len(struck) * lost, burn_all
        assert stored <= whole, burn_all
        if victim is Victim.CARD:
            before = max((strike.written.get(str(slot), 0) for strike in struck), default=0)
            assert stored <= whole - before + lost, burn_all
