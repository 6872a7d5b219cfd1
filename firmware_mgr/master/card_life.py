"""One card's life as the master sees it: a total table of states and events. Pure.

Knows what is to be done next, not how. The service feeds events and performs the actions; it writes the new
state to the catalogue before it performs them, so that a master that dies in between does them again.
Deadlines are seconds from the moment a state was entered (R-3.3 to R-3.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

from firmware_mgr.model.lifecycle import CardState


class CardEvent(Enum):
    """What happened to a card, judged already where judging is needed (`verdict`)."""

    BURN_ASKED = "burn asked"
    NETBOOT_SEEN = "netboot seen"  # a netboot request of the card's firmware was answered
    UP_FROM_NETWORK = "up from the network"  # hello received, not judged yet
    UP_FROM_FLASH = "up from flash"
    RUNNABLE = "runnable"  # hello: its flash holds what it should run
    NEEDS_BURN = "needs burn"  # hello: something is missing or bad
    KEEPS_RUNNING = "keeps running"  # hello: it runs a validated set, another one is wanted at the next boot
    NEEDS_NETBOOT = "needs netboot"  # hello: it has to start another image, and from the network
    NOTHING_TO_RUN = "nothing to run"  # hello: no software set for it, or it does not fit
    STORED_WAIT = "stored, wait"  # stored, and others are still burning
    STORED_REBOOT = "stored, reboot"  # stored, and the boot image changed
    STORED_RUN = "stored, run"  # stored, and what runs is the wanted boot image
    ALL_STORED = "all stored"
    SYSTEM_RESET = "system reset"
    RELEASED = "released"  # as a system reset, of a card that runs the wanted image and needs no restart
    RUNNING = "running"
    REFUSED = "refused"  # the card said that it cannot carry out an order
    LINK_LOST = "link lost"
    DEADLINE = "deadline"
    POWERED_OFF = "powered off"
    POWERED_ON = "powered on"


class Do(Enum):
    """What the service does on a transition."""

    NOTHING = "nothing"
    CYCLE_NETBOOT = "power cycle into netboot"
    CYCLE = "power cycle"
    SEND_BURN = "send burn"
    SEND_RUN = "send run"
    SEND_HOLD = "send hold"
    TRY_AGAIN = "power cycle, into netboot after enough tries, or give up"
    TRY_NETBOOT = "power cycle into netboot, or give up after enough tries"


@dataclass(frozen=True, slots=True)
class Step:
    state: CardState
    do: Do = Do.NOTHING


_S, _E = CardState, CardEvent
_STAY = None  # the event means nothing in this state

_NETBOOT = Step(_S.RESET, Do.CYCLE_NETBOOT)
_BURN = Step(_S.BURNING, Do.SEND_BURN)
_RUN = Step(_S.VALIDATED, Do.SEND_RUN)
_HOLD = Step(_S.HELD, Do.SEND_HOLD)
_BOOT = Step(_S.BOOTING, Do.CYCLE)
_AGAIN = Step(_S.BOOTING, Do.TRY_AGAIN)
_OVER_NETWORK = Step(_S.RESET, Do.TRY_NETBOOT)
_GONE = Step(_S.ABSENT)
_COMES = Step(_S.BOOTING)
_LOST = Step(_S.LOST)
_WAIT = Step(_S.STORED, Do.SEND_HOLD)

#: What happens in every state unless the state's own row says otherwise.
_ANYWHERE: dict[CardEvent, Step | None] = {
    _E.BURN_ASKED: _NETBOOT,
    _E.NETBOOT_SEEN: Step(_S.NETBOOTING),
    _E.UP_FROM_NETWORK: Step(_S.AGENT_UP),
    _E.UP_FROM_FLASH: Step(_S.AWAITING_VALIDATION),
    _E.RUNNABLE: _RUN,
    _E.NEEDS_BURN: _BURN,
    _E.KEEPS_RUNNING: Step(_S.IN_SERVICE),
    _E.NEEDS_NETBOOT: _OVER_NETWORK,
    _E.NOTHING_TO_RUN: _HOLD,
    _E.STORED_WAIT: _STAY,
    _E.STORED_REBOOT: _STAY,
    _E.STORED_RUN: _STAY,
    _E.ALL_STORED: _STAY,
    _E.SYSTEM_RESET: _STAY,
    _E.RELEASED: _STAY,
    _E.RUNNING: _STAY,
    _E.REFUSED: Step(_S.FAILED),
    _E.LINK_LOST: _STAY,
    _E.DEADLINE: _STAY,
    _E.POWERED_OFF: _GONE,
    _E.POWERED_ON: _STAY,
}

_OWN: dict[CardState, dict[CardEvent, Step | None]] = {
    _S.ABSENT: {_E.POWERED_ON: _COMES, _E.POWERED_OFF: _STAY, _E.REFUSED: _STAY},
    _S.RESET: {_E.DEADLINE: _AGAIN},
    _S.NETBOOTING: {_E.DEADLINE: _AGAIN, _E.NETBOOT_SEEN: _STAY},
    _S.AGENT_UP: {_E.DEADLINE: _AGAIN},
    _S.BURNING: {
        _E.STORED_WAIT: _WAIT,
        _E.STORED_REBOOT: _BOOT,
        _E.STORED_RUN: _RUN,
        _E.DEADLINE: _AGAIN,
    },
    _S.STORED: {
        _E.ALL_STORED: Step(_S.READY),
        _E.SYSTEM_RESET: _BOOT,
        _E.RELEASED: _RUN,
        _E.STORED_WAIT: _WAIT,
        _E.STORED_REBOOT: _BOOT,
        _E.STORED_RUN: _RUN,
    },
    _S.READY: {_E.SYSTEM_RESET: _BOOT, _E.RELEASED: _RUN, _E.STORED_WAIT: Step(_S.READY, Do.SEND_HOLD)},
    _S.BOOTING: {_E.DEADLINE: _AGAIN},
    _S.AWAITING_VALIDATION: {_E.DEADLINE: _AGAIN, _E.LINK_LOST: _LOST},
    _S.VALIDATED: {_E.RUNNING: Step(_S.IN_SERVICE), _E.DEADLINE: _AGAIN, _E.LINK_LOST: _LOST},
    _S.IN_SERVICE: {
        _E.LINK_LOST: _LOST,
        _E.RUNNING: Step(_S.IN_SERVICE),
        _E.STORED_RUN: _RUN,
        _E.STORED_REBOOT: _BOOT,
    },
    _S.HELD: {_E.LINK_LOST: _LOST},
    _S.LOST: {_E.DEADLINE: _AGAIN},
    _S.FAILED: {_E.REFUSED: _STAY},
}

#: Total: every event in every state; None means that the event changes nothing there.
TRANSITIONS: dict[CardState, dict[CardEvent, Step | None]] = {
    state: {event: _OWN.get(state, {}).get(event, _ANYWHERE[event]) for event in CardEvent}
    for state in CardState
}


#: Of a board of which nothing is known.
NO_NEEDS: Mapping[CardState, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that a card may stay in a state before the master acts; a state not named here has none."""

    reset: float = 60.0
    netbooting: float = 150.0
    agent_up: float = 60.0
    burning: float = 120.0  # without progress
    booting: float = 120.0
    awaiting_validation: float = 60.0
    validated: float = 90.0
    lost: float = 300.0  # a card that was in service: its network may be gone, and it runs on
    #: Power cycles before the board's lever forces netboot, and in all before the card is given up.
    tries_from_flash: int = 4
    tries: int = 6

    def of(self, state: CardState, needs: Mapping[CardState, float] = NO_NEEDS) -> float | None:
        """The seconds allowed in a state; None: any. A card of a board that `needs` more is given those."""
        limit = {
            _S.RESET: self.reset,
            _S.NETBOOTING: self.netbooting,
            _S.AGENT_UP: self.agent_up,
            _S.BURNING: self.burning,
            _S.BOOTING: self.booting,
            _S.AWAITING_VALIDATION: self.awaiting_validation,
            _S.VALIDATED: self.validated,
            _S.LOST: self.lost,
        }.get(state)
        return None if limit is None else max(limit, needs.get(state, 0.0))


@dataclass(frozen=True, slots=True)
class CardLife:
    """The state of one card. `tries` counts the master's power cycles since it was last in service."""

    state: CardState
    since: float
    tries: int = 0
    reason: str = ""


def after(
    life: CardLife, event: CardEvent, now: float, limits: Deadlines, reason: str = ""
) -> tuple[CardLife, Do]:
    """The life after an event, and what to do. The same life and NOTHING when the event means nothing."""
    step = TRANSITIONS[life.state][event]
    if step is None:
        return life, Do.NOTHING
    tries = life.tries
    if step.state is CardState.IN_SERVICE or event is CardEvent.BURN_ASKED:
        tries = 0
    if step.do is Do.TRY_NETBOOT:
        return _try_again(replace(life, since=now), limits, reason, over_network=True)
    if step.do is not Do.TRY_AGAIN:
        return CardLife(step.state, now, tries, reason), step.do
    waited = limits.of(life.state)
    why = f"nothing heard in state “{life.state.value}” for {waited:g} s" + (f"; {reason}" if reason else "")
    return _try_again(replace(life, since=now), limits, why)


def _try_again(
    life: CardLife, limits: Deadlines, why: str, *, over_network: bool = False
) -> tuple[CardLife, Do]:
    tries = life.tries + 1
    if tries > limits.tries:
        reason = f"{why}; given up after {life.tries} power cycles"
        return CardLife(CardState.FAILED, life.since, life.tries, reason), Do.NOTHING
    waits_for_network = life.state in (CardState.RESET, CardState.NETBOOTING)
    if over_network or waits_for_network or tries > limits.tries_from_flash:
        return CardLife(CardState.RESET, life.since, tries, why), Do.CYCLE_NETBOOT
    return CardLife(CardState.BOOTING, life.since, tries, why), Do.CYCLE
