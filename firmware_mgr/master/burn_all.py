"""burn-all: the barrier over many cards (R-3.4). Pure.

Each card goes its own way (`card_life`); this says when all have stored, when the whole system is reset, and
when it is over. Knows card states, not cards. It is fed with every change of a card's state and answers with
the events that the cards are to receive next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from firmware_mgr.master.card_life import CardEvent
from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.lifecycle import CardState, OperationState


@dataclass(frozen=True, slots=True)
class Advance:
    """What follows: the operation's next state and the event that every card in `cards` receives."""

    state: OperationState
    event: CardEvent | None = None
    cards: tuple[SlotId, ...] = ()


#: Behind the barrier already: a card in one of these has stored, whatever it is doing now.
STORED = frozenset({CardState.STORED, CardState.READY})
#: These are not waited for: given up, with nothing they may run, or without power.
OUT = frozenset({CardState.FAILED, CardState.HELD, CardState.ABSENT})
_OVER = OUT | {CardState.IN_SERVICE}


def advance(state: OperationState, cards: Mapping[SlotId, CardState]) -> Advance | None:
    """The next step, or None while the operation waits for its cards."""
    return _RULES[state](cards)


def _provisioning(cards: Mapping[SlotId, CardState]) -> Advance | None:
    alive = [slot for slot, state in cards.items() if state not in OUT]
    if not alive:
        return Advance(OperationState.FAILED)
    if any(cards[slot] not in STORED for slot in alive):
        return None
    return Advance(OperationState.RESETTING, CardEvent.ALL_STORED, tuple(alive))


def _resetting(cards: Mapping[SlotId, CardState]) -> Advance | None:
    behind = tuple(slot for slot, state in cards.items() if state in STORED)
    return Advance(OperationState.WARM_BOOTING, CardEvent.SYSTEM_RESET, behind)


def _warm_booting(cards: Mapping[SlotId, CardState]) -> Advance | None:
    # A card still behind the barrier was stored when the master died between two resets.
    behind = tuple(slot for slot, state in cards.items() if state in STORED)
    if behind:
        return Advance(OperationState.WARM_BOOTING, CardEvent.SYSTEM_RESET, behind)
    if any(state not in _OVER for state in cards.values()):
        return None
    failed = any(state in OUT for state in cards.values())
    return Advance(OperationState.FAILED if failed else OperationState.DONE)


def _finished(_cards: Mapping[SlotId, CardState]) -> Advance | None:
    return None


_RULES = {
    OperationState.PROVISIONING: _provisioning,
    OperationState.RESETTING: _resetting,
    OperationState.WARM_BOOTING: _warm_booting,
    OperationState.DONE: _finished,
    OperationState.FAILED: _finished,
    OperationState.CANCELLED: _finished,
}


def counted(state: CardState, history: Iterable[tuple[str, float]]) -> CardState:
    """A card without power at the barrier has stored when that was the last it did; else it is as it is."""
    if state is not CardState.ABSENT:
        return state
    done = [name for name, _ in history if name not in (CardState.ABSENT.value, CardState.LOST.value)]
    return CardState.STORED if done and CardState(done[-1]) in STORED else state


def ready_for_use(cards: Mapping[SlotId, CardState]) -> bool:
    """Whether every card of the operation has stored: one that has not keeps the system from being ready."""
    return bool(cards) and all(state in STORED for state in cards.values())
