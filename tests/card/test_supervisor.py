"""The table is total, and every life of a process ends where its package wants it."""

from __future__ import annotations

import signal
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.card import supervisor as s
from firmware_mgr.card.processes import ProcessEnd, ProcessState
from firmware_mgr.card.supervisor import REACTIONS, Limits, ProcessMachine, Reaction
from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.process import Restart
from tests.card.software import shell

LIMITS = Limits(ready_s=60, first_pause_s=0.5, longest_pause_s=30, stable_s=10)
KILLED = s.Ended(ProcessEnd(7, 0, 9))
GOOD_END = s.Ended(ProcessEnd(7, 0))
BAD_END = s.Ended(ProcessEnd(7, 3))


def machine(restart: Restart = Restart.ALWAYS, readiness: str = "notify", grace_s: int = 5) -> ProcessMachine:
    return ProcessMachine(shell("p", "", restart=restart, readiness=readiness, grace_s=grace_s), LIMITS)


def started(restart: Restart = Restart.ALWAYS, readiness: str = "notify") -> ProcessMachine:
    m = machine(restart, readiness)
    m.receive(s.Start(), 0)
    m.receive(s.Spawned(7), 0)
    return m


def ready(restart: Restart = Restart.ALWAYS) -> ProcessMachine:
    m = started(restart)
    m.receive(s.Ready(), 1)
    return m


def test_table_has_every_event_in_every_state() -> None:
    assert set(REACTIONS) == set(ProcessState)
    for row in REACTIONS.values():
        assert set(row) == set(get_args(s.Event))
    assert {reaction for row in REACTIONS.values() for reaction in row.values()} == set(Reaction)


def test_start_spawns_and_readiness_is_awaited() -> None:
    m = machine()
    assert m.receive(s.Start(), 5) == [s.Spawn(), s.Report()]
    assert (m.state, m.next_deadline, m.started_at) == (ProcessState.STARTING, 65, 5)
    assert m.receive(s.Spawned(7), 6) == [s.Report()]
    assert m.state is ProcessState.STARTING
    m.receive(s.Ready(), 7)
    assert (m.state, m.was_ready, m.next_deadline) == (ProcessState.READY, True, 17)


def test_started_is_ready_when_it_runs() -> None:
    assert started(readiness="started").state is ProcessState.READY


def test_process_that_is_not_ready_in_time_is_killed_and_judged() -> None:
    m = started()
    assert m.receive(s.TimePassed(), 60) == [s.Signal(7, signal.SIGKILL)]
    m.receive(KILLED, 60)
    assert (m.state, m.detail, m.pid) == (ProcessState.BACKING_OFF, "not ready within 60 s", 0)


def test_process_that_comes_up_after_its_time_is_killed() -> None:
    m = machine(readiness="started")
    m.receive(s.Start(), 0)
    assert m.receive(s.TimePassed(), 60) == []
    assert m.receive(s.Spawned(7), 61) == [s.Signal(7, signal.SIGKILL), s.Report()]


@pytest.mark.parametrize(
    ("restart", "event", "state"),
    [
        (Restart.ALWAYS, GOOD_END, ProcessState.BACKING_OFF),
        (Restart.ALWAYS, BAD_END, ProcessState.BACKING_OFF),
        (Restart.ON_FAILURE, GOOD_END, ProcessState.STOPPED),
        (Restart.ON_FAILURE, BAD_END, ProcessState.BACKING_OFF),
        (Restart.ON_FAILURE, KILLED, ProcessState.BACKING_OFF),
        (Restart.NEVER, GOOD_END, ProcessState.STOPPED),
        (Restart.NEVER, BAD_END, ProcessState.FAILED),
        (Restart.NEVER, KILLED, ProcessState.FAILED),
    ],
)
def test_end_is_judged_by_the_packages_policy(restart: Restart, event: s.Ended, state: ProcessState) -> None:
    m = ready(restart)
    m.receive(event, 2)
    assert (m.state, m.detail) == (state, str(event.end))


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_stable_time() -> None:
    m = started()
    now, pauses = 0.0, []
    for _ in range(8):
        m.receive(BAD_END, now)
        assert m.next_deadline is not None
        pauses.append(m.next_deadline - now)
        now = m.next_deadline
        assert s.Spawn() in m.receive(s.TimePassed(), now)
        m.receive(s.Spawned(7), now)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert m.restarts == 8
    m.receive(s.Ready(), now)
    m.receive(s.TimePassed(), now + 10)
    assert m.next_deadline is None
    m.receive(BAD_END, now + 11)
    assert m.next_deadline == now + 11.5


def test_stop_signals_waits_and_kills() -> None:
    m = ready()
    assert m.receive(s.Stop(), 100)[0] == s.Signal(7, 15)
    assert m.next_deadline == 105
    assert m.receive(s.TimePassed(), 105) == [s.Signal(7, signal.SIGKILL)]
    assert m.next_deadline is None
    m.receive(KILLED, 106)
    assert (m.state, m.pid, m.next_deadline) == (ProcessState.STOPPED, 0, None)


def test_stop_before_it_runs_reaches_it_as_soon_as_it_does() -> None:
    m = machine()
    m.receive(s.Start(), 0)
    assert m.receive(s.Stop(), 0) == [s.Report()]
    assert m.receive(s.Spawned(7), 1)[0] == s.Signal(7, 15)


def test_stop_in_a_pause_ends_it() -> None:
    m = ready()
    m.receive(BAD_END, 2)
    m.receive(s.Stop(), 2)
    assert (m.state, m.next_deadline) == (ProcessState.STOPPED, None)


def test_spawn_that_fails_is_judged_like_a_bad_end() -> None:
    m = machine(Restart.NEVER)
    m.receive(s.Start(), 0)
    m.receive(s.SpawnFailed("no such file"), 0)
    assert (m.state, m.detail) == (ProcessState.FAILED, "no such file")


def test_event_that_cannot_be_is_refused_with_its_name() -> None:
    with pytest.raises(UsageError, match=r"process p: event is not possible now: .*stopped, found Ended"):
        machine().receive(KILLED, 0)


def test_what_a_process_says_is_its_detail() -> None:
    m = ready()
    assert m.receive(s.Said("42 clients"), 3) == [s.Report()]
    assert m.receive(s.Said("42 clients"), 3) == []
    assert m.detail == "42 clients"


EVENTS = st.sampled_from(
    [
        s.Start(),
        s.Stop(),
        s.Spawned(7),
        s.SpawnFailed("x"),
        s.Ready(),
        s.Said("y"),
        GOOD_END,
        KILLED,
        s.TimePassed(),
    ]
)


@given(st.sampled_from(Restart), st.lists(EVENTS, max_size=40))
def test_whatever_happens_the_machine_stays_sound(restart: Restart, events: list[s.Event]) -> None:
    m = machine(restart)
    spawning = False  # a Spawn of which nothing has been heard
    for now, event in enumerate(events):
        if isinstance(event, s.Spawned | s.SpawnFailed) and not spawning:
            continue
        if isinstance(event, s.Ended | s.Ready | s.Said) and not m.pid:
            continue
        if isinstance(event, s.Start) and m.state is ProcessState.STOPPING:
            continue
        actions = m.receive(event, float(now))
        assert not (spawning and s.Spawn() in actions and not isinstance(event, s.SpawnFailed)), "two at once"
        if isinstance(event, s.Spawned | s.SpawnFailed):
            spawning = False
        spawning |= s.Spawn() in actions
        resting = m.state in (ProcessState.STOPPED, ProcessState.FAILED)
        assert not (resting and (m.pid or m.next_deadline is not None or spawning))
        assert (m.state is ProcessState.BACKING_OFF) <= (m.next_deadline is not None and not m.pid)
