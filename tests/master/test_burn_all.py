"""The barrier of burn-all: nobody is reset before all have stored."""

from __future__ import annotations

import itertools

import pytest

from firmware_mgr.master.burn_all import OUT, STORED, advance, counted, ready_for_use
from firmware_mgr.master.card_life import CardEvent
from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.lifecycle import CardState, OperationState

S, O = CardState, OperationState  # noqa: E741


def cards(*states: CardState) -> dict[SlotId, CardState]:
    return {SlotId(n): state for n, state in enumerate(states, 1)}


@pytest.mark.parametrize("other", sorted(set(CardState) - STORED - OUT, key=str))
def test_nothing_is_reset_while_one_card_has_not_stored(other: CardState) -> None:
    assert advance(O.PROVISIONING, cards(S.STORED, other)) is None
    assert not ready_for_use(cards(S.STORED, other))


def test_when_all_have_stored_the_system_is_ready_and_all_are_told() -> None:
    step = advance(O.PROVISIONING, cards(S.STORED, S.STORED))
    assert step is not None and step.state is O.RESETTING
    assert step.event is CardEvent.ALL_STORED and step.cards == (SlotId(1), SlotId(2))
    assert ready_for_use(cards(S.STORED, S.READY))


def test_a_card_given_up_does_not_hold_the_others_but_the_system_is_not_ready() -> None:
    states = cards(S.STORED, S.FAILED)
    step = advance(O.PROVISIONING, states)
    assert step is not None and step.cards == (SlotId(1),)
    assert not ready_for_use(states)


def test_with_every_card_given_up_the_operation_has_failed() -> None:
    step = advance(O.PROVISIONING, cards(S.FAILED, S.FAILED))
    assert step is not None and step.state is O.FAILED


def test_a_master_that_died_between_two_resets_resets_the_rest() -> None:
    step = advance(O.WARM_BOOTING, cards(S.BOOTING, S.READY))
    assert step is not None and step.event is CardEvent.SYSTEM_RESET and step.cards == (SlotId(2),)


@pytest.mark.parametrize(("last", "end"), [(S.IN_SERVICE, O.DONE), (S.FAILED, O.FAILED)])
def test_it_is_over_when_every_card_is_in_service_or_given_up(last: CardState, end: OperationState) -> None:
    step = advance(O.WARM_BOOTING, cards(S.IN_SERVICE, last))
    assert step is not None and step.state is end


@pytest.mark.parametrize(("state", "card"), list(itertools.product(OperationState, CardState)))
def test_every_state_has_an_answer_for_every_card(state: OperationState, card: CardState) -> None:
    step = advance(state, cards(card))
    assert step is None or step.state in OperationState
    if state.finished:
        assert step is None


@pytest.mark.parametrize(
    ("states", "counts"),
    [
        ((S.BURNING, S.STORED, S.ABSENT), S.STORED),
        ((S.STORED, S.LOST, S.ABSENT), S.STORED),
        ((S.STORED, S.ABSENT, S.BURNING, S.ABSENT), S.ABSENT),
        ((S.NETBOOTING, S.ABSENT), S.ABSENT),
        ((), S.ABSENT),
    ],
)
def test_a_card_that_stored_and_then_lost_its_power_has_stored(states: tuple[S, ...], counts: S) -> None:
    assert counted(S.ABSENT, [(state.value, 0.0) for state in states]) is counts


def test_a_card_with_power_counts_as_it_is() -> None:
    assert counted(S.FAILED, [(S.STORED.value, 0.0)]) is S.FAILED
