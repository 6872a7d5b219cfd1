"""A card's life: the table is total; a card that does not come is cycled, netbooted, then given up."""

from __future__ import annotations

import itertools

import pytest

from firmware_mgr.master.card_life import TRANSITIONS, CardEvent, CardLife, Deadlines, Do, after
from firmware_mgr.model.lifecycle import CardState

LIMITS = Deadlines()


def test_the_table_has_every_event_in_every_state() -> None:
    assert set(TRANSITIONS) == set(CardState)
    assert all(set(row) == set(CardEvent) for row in TRANSITIONS.values())


@pytest.mark.parametrize(("state", "event"), list(itertools.product(CardState, CardEvent)))
def test_every_pair_gives_a_state_and_a_thing_to_do(state: CardState, event: CardEvent) -> None:
    life = CardLife(state, 0.0, 1, "before")
    following, do = after(life, event, 5.0, LIMITS, "why")
    step = TRANSITIONS[state][event]
    if step is None:
        assert (following, do) == (life, Do.NOTHING)
    elif step.do not in (Do.TRY_AGAIN, Do.TRY_NETBOOT):
        assert (following.state, do) == (step.state, step.do)
        assert following.since == 5.0 and following.reason == "why"


@pytest.mark.parametrize("state", [s for s in CardState if LIMITS.of(s) is not None])
def test_every_state_with_a_deadline_acts_on_it(state: CardState) -> None:
    following, do = after(CardLife(state, 0.0), CardEvent.DEADLINE, 99.0, LIMITS)
    assert do in (Do.CYCLE, Do.CYCLE_NETBOOT)
    assert following.tries == 1


@pytest.mark.parametrize("state", [s for s in CardState if LIMITS.of(s) is None])
def test_no_state_without_a_deadline_acts_on_one(state: CardState) -> None:
    life = CardLife(state, 0.0)
    assert after(life, CardEvent.DEADLINE, 99.0, LIMITS) == (life, Do.NOTHING)


def test_a_card_that_hangs_is_cycled_then_netbooted_then_given_up() -> None:
    life, done = CardLife(CardState.BOOTING, 0.0), []
    for moment in range(1, 20):
        life, do = after(life, CardEvent.DEADLINE, float(moment), LIMITS)
        if do is Do.NOTHING:
            break
        done.append(do)
    assert done == [Do.CYCLE] * LIMITS.tries_from_flash + [Do.CYCLE_NETBOOT] * (
        LIMITS.tries - LIMITS.tries_from_flash
    )
    assert life.state is CardState.FAILED and "given up" in life.reason


def test_service_forgives_earlier_tries() -> None:
    life, _ = after(CardLife(CardState.VALIDATED, 0.0, tries=5), CardEvent.RUNNING, 1.0, LIMITS)
    assert (life.state, life.tries) == (CardState.IN_SERVICE, 0)


def test_a_failed_card_that_comes_back_by_itself_is_heard() -> None:
    life, do = after(CardLife(CardState.FAILED, 0.0), CardEvent.RUNNABLE, 1.0, LIMITS)
    assert (life.state, do) == (CardState.VALIDATED, Do.SEND_RUN)
