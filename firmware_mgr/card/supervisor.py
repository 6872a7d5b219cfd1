"""One process of the set as a machine: starting, ready, stopping, restarts with growing pauses. Pure.

`receive(event, now)` gives actions; `next_deadline` says when to send TimePassed. Times are in seconds of one
monotonic clock. Knows policy; refuses to know pids' meaning, sockets and clocks (R-5.1).
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import Enum

from firmware_mgr.card.processes import ProcessEnd, ProcessState
from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.process import ProcessSpec, ReadinessKind, Restart


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: to become ready; first and longest pause before a restart; ready for so long is stable."""

    ready_s: float = 60.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    stable_s: float = 10.0


# Events.


@dataclass(frozen=True, slots=True)
class Start:
    """The process is wanted."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The process is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """`execve` has succeeded."""

    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """It says that it is ready, or its port answers."""


@dataclass(frozen=True, slots=True)
class Said:
    """It says something about itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    end: ProcessEnd


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The time that `next_deadline` named has come."""


Event = Start | Stop | Spawned | SpawnFailed | Ready | Said | Ended | TimePassed


# Actions.


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start it; answer with Spawned or SpawnFailed."""


@dataclass(frozen=True, slots=True)
class Signal:
    pid: int
    number: int


@dataclass(frozen=True, slots=True)
class Report:
    """The status has changed."""


Action = Spawn | Signal | Report


class Reaction(Enum):
    """What an event does in a state."""

    SPAWN = "spawn"
    ADOPT = "adopt"  # it runs; ready at once if that is its readiness
    ADOPT_TO_STOP = "adopt to stop"  # it runs, but is no longer wanted
    BECOME_READY = "become ready"
    NOTE = "note"
    JUDGE = "judge"  # it has ended by itself: again, or not
    OVERDUE = "overdue"  # not ready in time: kill; its end will be judged
    SETTLE = "settle"  # ready for long enough: pauses begin anew
    BEGIN_STOP = "begin stop"
    KILL = "kill"
    REST = "rest"  # stopped, as asked
    STAY = "stay"
    ILLEGAL = "illegal"


_S, _R = ProcessState, Reaction

#: Total: every event in every state.
REACTIONS: dict[ProcessState, dict[type[Event], Reaction]] = {
    _S.STOPPED: {
        Start: _R.SPAWN,
        Stop: _R.STAY,
        Spawned: _R.ILLEGAL,
        SpawnFailed: _R.ILLEGAL,
        Ready: _R.STAY,
        Said: _R.STAY,
        Ended: _R.ILLEGAL,
        TimePassed: _R.STAY,
    },
    _S.STARTING: {
        Start: _R.STAY,
        Stop: _R.BEGIN_STOP,
        Spawned: _R.ADOPT,
        SpawnFailed: _R.JUDGE,
        Ready: _R.BECOME_READY,
        Said: _R.NOTE,
        Ended: _R.JUDGE,
        TimePassed: _R.OVERDUE,
    },
    _S.READY: {
        Start: _R.STAY,
        Stop: _R.BEGIN_STOP,
        Spawned: _R.ILLEGAL,
        SpawnFailed: _R.ILLEGAL,
        Ready: _R.STAY,
        Said: _R.NOTE,
        Ended: _R.JUDGE,
        TimePassed: _R.SETTLE,
    },
    _S.STOPPING: {
        Start: _R.ILLEGAL,
        Stop: _R.STAY,
        Spawned: _R.ADOPT_TO_STOP,
        SpawnFailed: _R.REST,
        Ready: _R.STAY,
        Said: _R.NOTE,
        Ended: _R.REST,
        TimePassed: _R.KILL,
    },
    _S.BACKING_OFF: {
        Start: _R.STAY,
        Stop: _R.REST,
        Spawned: _R.ILLEGAL,
        SpawnFailed: _R.ILLEGAL,
        Ready: _R.STAY,
        Said: _R.STAY,
        Ended: _R.ILLEGAL,
        TimePassed: _R.SPAWN,
    },
    _S.FAILED: {
        Start: _R.SPAWN,
        Stop: _R.STAY,
        Spawned: _R.ILLEGAL,
        SpawnFailed: _R.ILLEGAL,
        Ready: _R.STAY,
        Said: _R.STAY,
        Ended: _R.ILLEGAL,
        TimePassed: _R.STAY,
    },
}


class ProcessMachine:
    """A process and what is to be done with it. The public attributes are for reading."""

    def __init__(self, spec: ProcessSpec, limits: Limits) -> None:
        self._limits = limits
        self.spec = spec
        self.state = ProcessState.STOPPED
        self.pid = 0
        self.detail = ""
        self.restarts = 0
        self.started_at = 0.0
        self.next_deadline: float | None = None
        #: Ends in a row without having been ready for long.
        self.short_lives = 0
        #: Whether it has been ready since Start.
        self.was_ready = False
        self._overdue = False

    def receive(self, event: Event, now: float) -> list[Action]:
        """The actions that follow. Raises UsageError for an event that cannot be in this state."""
        reaction = REACTIONS[self.state][type(event)]
        before = (self.state, self.pid, self.detail)
        actions = self._react(reaction, event, now)
        if before != (self.state, self.pid, self.detail):
            actions.append(Report())
        return actions

    def _react(self, reaction: Reaction, event: Event, now: float) -> list[Action]:
        if reaction is Reaction.ILLEGAL:
            raise UsageError(
                "event is not possible now",
                where=f"process {self.spec.name}",
                expected=f"an event of state {self.state.value}",
                found=type(event).__name__,
            )
        if reaction is Reaction.SPAWN:
            return self._spawn(event, now)
        if reaction is Reaction.OVERDUE:
            self._overdue = True
            self.next_deadline = None
            return self._signal(signal.SIGKILL)
        if reaction is Reaction.BECOME_READY:
            self._become_ready(now)
        elif reaction is Reaction.SETTLE:
            self.short_lives = 0
            self.next_deadline = None
        elif reaction is Reaction.JUDGE:
            self._judge(event, now)
        elif reaction is Reaction.BEGIN_STOP:
            self._enter(ProcessState.STOPPING, "", now + self.spec.grace_s)
            return self._signal(self.spec.stop_signal)
        elif reaction is Reaction.KILL:
            self.next_deadline = None
            return self._signal(signal.SIGKILL)
        elif reaction is Reaction.REST:
            self._rest(event)
        elif isinstance(event, Spawned):  # ADOPT, ADOPT_TO_STOP
            self.pid = event.pid
            if reaction is Reaction.ADOPT_TO_STOP:
                return self._signal(self.spec.stop_signal)
            if self._overdue:
                return self._signal(signal.SIGKILL)
            if self.spec.readiness.kind is ReadinessKind.STARTED:
                self._become_ready(now)
        elif isinstance(event, Said) and reaction is Reaction.NOTE:
            self.detail = event.text
        return []

    def _spawn(self, event: Event, now: float) -> list[Action]:
        if isinstance(event, Start):
            self.restarts = self.short_lives = 0
            self.was_ready = False
        else:
            self.restarts += 1
        self._overdue = False
        self.started_at = now
        self._enter(ProcessState.STARTING, "", now + self._limits.ready_s)
        return [Spawn()]

    def _become_ready(self, now: float) -> None:
        self.was_ready = True
        self._enter(ProcessState.READY, self.detail, now + self._limits.stable_s)

    def _judge(self, event: Event, now: float) -> None:
        self.pid = 0
        self.short_lives += 1
        good = isinstance(event, Ended) and event.end.good and not self._overdue
        if self._overdue:
            reason = f"not ready within {self._limits.ready_s:g} s"
        elif isinstance(event, Ended):
            reason = str(event.end)
        else:
            reason = event.reason if isinstance(event, SpawnFailed) else ""
        if self.spec.restart is Restart.ALWAYS or (self.spec.restart is Restart.ON_FAILURE and not good):
            doublings = min(self.short_lives - 1, 16)
            pause = min(self._limits.first_pause_s * 2**doublings, self._limits.longest_pause_s)
            self._enter(ProcessState.BACKING_OFF, reason, now + pause)
        else:
            self._enter(ProcessState.STOPPED if good else ProcessState.FAILED, reason, None)

    def _rest(self, event: Event) -> None:
        self.pid = 0
        reason = str(event.end) if isinstance(event, Ended) else ""
        self._enter(ProcessState.STOPPED, reason, None)

    def _enter(self, state: ProcessState, detail: str, deadline: float | None) -> None:
        self.state, self.detail, self.next_deadline = state, detail, deadline

    def _signal(self, number: int) -> list[Action]:
        return [Signal(self.pid, int(number))] if self.pid else []
