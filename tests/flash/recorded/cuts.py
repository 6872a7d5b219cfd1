"""Which cuts of a record are tried: seeded, each phase in turn, right at flushes and within writes.

Knows phases and kinds of cuts. What a cut leaves is the recording's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.flash.powercut.bench import Cut
from tests.flash.powercut.fates import Kind
from tests.flash.powercut.medium import Ask
from tests.flash.recorded.phases import Phase
from tests.flash.recorded.recording import Recording

#: Numbers that a cut's fate is drawn from.
FATES = 1 << 16
#: A record with fewer cuts than are asked for ends the search.
TRIES_EACH = 1000


def phase_of(recording: Recording, cut: Cut) -> Phase:
    return Phase(recording.events[cut.number].site)


def cuts(recording: Recording, seed: int, name: str) -> Iterator[Cut]:
    """Different ones without end, as good as: the same seed and name give the same.

    Each phase in turn. Half are at a sync (before, within, after), the others at a write.
    """
    rng = random.Random(f"{seed} {name}")
    events: dict[tuple[Phase, Ask], list[int]] = {}
    for number, event in enumerate(recording.events):
        events.setdefault((Phase(event.site), event.ask), []).append(number)
    phases = [phase for phase in Phase if any(of is phase for of, _ in events)]
    seen: set[Cut] = set()
    while True:
        for phase in phases:
            for _ in range(TRIES_EACH):
                ask = rng.choice(list(Ask))
                number = rng.choice(events.get((phase, ask)) or events[phase, _other(ask)])
                cut = Cut(number, rng.choice(list(Kind)), rng.randrange(FATES))
                if cut not in seen:
                    break
            seen.add(cut)
            yield cut


def _other(ask: Ask) -> Ask:
    return Ask.SYNC if ask is Ask.WRITE else Ask.WRITE
