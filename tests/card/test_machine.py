"""The agent's tables: every order in every state, and the link's deadlines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firmware_mgr.card import machine as cm
from firmware_mgr.link import messages as m
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import BootImageRef, SoftwareSet

IMAGE = BootImageRef("qemu-aarch64", "1", Digest.of(b"image"), 10)
SET = SoftwareSet(IMAGE, ())
OTHER = SoftwareSet(BootImageRef("qemu-aarch64", "2", Digest.of(b"other"), 10), ())
BURN = m.Burn(SET, m.BootPieces(1, ()))
EMPTY = m.BootPartitionReport(m.AreaState.EMPTY)
CONTROL = m.ControlReport(m.AreaState.GOOD, m.AreaState.GOOD)
FLASH = m.FlashReport(m.AreaState.GOOD, CONTROL, EMPTY, EMPTY, m.AreaState.GOOD)
STORED = m.Stored(SET.digest, 0, 0, "a", True, 1.0, FLASH)


def machine(**fields: object) -> cm.CardMachine:
    made = cm.CardMachine(last_validated=SET.digest)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def linked(**fields: object) -> cm.CardMachine:
    return machine(link=cm.LinkState.UP, stored=frozenset({SET.digest}), **fields)


ORDERS: dict[cm.Order, m.FromMaster] = {
    cm.Order.BURN: BURN,
    cm.Order.RUN: m.Run(SET.digest),
    cm.Order.HOLD: m.Hold("x"),
    cm.Order.RESET: m.Reset("x"),
}


def test_the_table_has_every_order_in_every_state() -> None:
    assert set(cm.ORDERS) == set(cm.WorkState)
    assert all(set(row) == set(cm.Order) for row in cm.ORDERS.values())


EXPECTED = {
    cm.Response.BEGIN_BURN: cm.BeginBurn,
    cm.Response.BEGIN_SET: cm.BeginSet,
    cm.Response.REFUSE: cm.Send,
    cm.Response.RESET: cm.ResetCard,
    cm.Response.REPORT_RUNNING: cm.BeginSet,
}


@pytest.mark.parametrize("state", list(cm.WorkState))
@pytest.mark.parametrize("order", list(cm.Order))
def test_each_order_in_each_state_does_what_the_table_says(state: cm.WorkState, order: cm.Order) -> None:
    card = linked(work=state, running=SET.digest if state is cm.WorkState.RUNNING else None, burning=SET)
    actions = card.receive(cm.Received(ORDERS[order]), 0.0)
    response = cm.ORDERS[state][order]
    assert [type(action) for action in actions] == ([EXPECTED[response]] if response in EXPECTED else [])


def test_a_second_burn_of_another_set_is_refused_and_the_first_goes_on() -> None:
    card = linked(work=cm.WorkState.BURNING, burning=SET)
    (action,) = card.receive(cm.Received(m.Burn(OTHER, m.BootPieces(1, ()))), 0.0)
    assert isinstance(action, cm.Send) and isinstance(action.message, m.Failed)
    assert card.burning == SET


def test_a_set_that_is_not_stored_is_not_run() -> None:
    (action,) = linked().receive(cm.Received(m.Run(OTHER.digest)), 0.0)
    assert isinstance(action, cm.Send) and isinstance(action.message, m.Failed)
    assert action.message.error["expected"] == f"set {OTHER.digest.short}"


def test_another_set_is_not_started_over_a_running_one() -> None:
    card = linked(work=cm.WorkState.RUNNING, running=SET.digest)
    (action,) = card.receive(cm.Received(m.Run(OTHER.digest)), 0.0)
    assert isinstance(action, cm.Send) and isinstance(action.message, m.Failed)


def test_a_burn_that_ends_without_a_link_is_kept_and_told_by_the_next_hello() -> None:
    card = machine(work=cm.WorkState.BURNING, burning=SET)
    assert card.receive(cm.BurnFinished(STORED, frozenset({SET.digest})), 0.0) == []
    assert card.work is cm.WorkState.WAITING and SET.digest in card.stored


def test_processes_run_on_while_the_card_burns() -> None:
    card = linked(work=cm.WorkState.RUNNING, running=SET.digest)
    card.receive(cm.Received(BURN), 0.0)
    card.receive(cm.BurnFinished(STORED, frozenset({SET.digest})), 0.0)
    assert card.work is cm.WorkState.RUNNING


def test_bytes_of_burns_that_the_master_was_not_told_of_are_told_with_the_next() -> None:
    card = linked(work=cm.WorkState.BURNING)
    card.receive(cm.JobFailed(cm.Order.BURN, {"what": "x"}, 1, 10), 0.0)
    card.receive(cm.LinkLost("gone"), 0.0)
    unheard = replace(STORED, boot_bytes_written=2, package_bytes_written=20)
    assert card.receive(cm.BurnFinished(unheard, frozenset({SET.digest})), 0.0) == []
    card.link = cm.LinkState.UP
    [sent] = card.receive(cm.BurnFinished(STORED, frozenset({SET.digest})), 0.0)
    assert sent == cm.Send(replace(STORED, boot_bytes_written=3, package_bytes_written=30))
    assert card.receive(cm.BurnFinished(STORED, frozenset({SET.digest})), 0.0) == [cm.Send(STORED)]


def test_a_lost_link_is_dialled_again_ever_more_slowly() -> None:
    card, now, waits = machine(), 0.0, []
    assert card.receive(cm.Started(), now) == [cm.Dial()]
    for _ in range(7):
        card.receive(cm.LinkLost("refused"), now)
        deadline = card.next_deadline
        assert deadline is not None
        waits.append(deadline - now)
        now = deadline
        assert card.receive(cm.TimePassed(), now) == [cm.Dial()]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_silent_master_counts_as_gone() -> None:
    card = machine()
    card.receive(cm.Started(), 0.0)
    assert card.receive(cm.LinkOpened(), 0.0) == [cm.SendHello()]
    card.receive(cm.Received(m.Welcome(1, 5.0, "card")), 1.0)
    assert card.next_deadline == 1.0 + cm.SILENCE_SECONDS
    (action,) = card.receive(cm.TimePassed(), card.next_deadline)
    assert isinstance(action, cm.CloseLink) and card.link is cm.LinkState.DOWN


def test_a_process_that_ends_later_is_told() -> None:
    card = linked(work=cm.WorkState.STARTING)
    up = m.ProcessReport("web", 7, "ready")
    assert card.receive(cm.ProcessesChanged((up,)), 0.0) == []
    report = m.Running(SET.digest, (up,), CONTROL)
    assert card.receive(cm.SetStarted(report), 0.0) == [cm.Send(report)]
    down = m.ProcessReport("web", 0, "backing-off", "exit 1")
    assert card.receive(cm.ProcessesChanged((down,)), 0.0) == [
        cm.Send(m.Running(SET.digest, (down,), CONTROL))
    ]


def test_the_master_sets_the_clock() -> None:
    card = machine(link=cm.LinkState.GREETING)
    assert card.receive(cm.Received(m.Welcome(1, 1234.5, "card")), 0.0) == [cm.SetClock(1234.5)]


def test_without_a_master_the_card_waits_when_told_to_wait() -> None:
    card = machine()
    card.receive(cm.Started(), 0.0)
    for moment in (10.0, 1000.0, 100_000.0):
        assert not any(isinstance(action, cm.BeginSet) for action in card.receive(cm.TimePassed(), moment))


def test_without_a_master_the_card_runs_its_last_validated_set_when_told_to() -> None:
    card = machine(policy=cm.Policy("run", 60.0))
    card.receive(cm.Started(), 0.0)
    card.receive(cm.LinkLost("no route"), 1.0)
    actions = card.receive(cm.TimePassed(), 60.0)
    assert cm.BeginSet(SET.digest, validated=False) in actions
    assert card.work is cm.WorkState.STARTING


def test_a_card_that_never_was_validated_runs_nothing_alone() -> None:
    card = cm.CardMachine(last_validated=None, policy=cm.Policy("run", 60.0))
    card.receive(cm.Started(), 0.0)
    assert not any(isinstance(action, cm.BeginSet) for action in card.receive(cm.TimePassed(), 60.0))
