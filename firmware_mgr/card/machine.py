"""The agent's decisions: what a card does on each order, answer and deadline. Pure.

Two small tables run side by side: the link (is there a master, and has it admitted us) and the work (what
is being done to flash and processes). The shell performs the actions and reports back as events. Knows no
clock, socket or flash; `next_deadline` says when it wants to be told the time (R-3.3, R-3.5).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from firmware_mgr.link import messages as m
from firmware_mgr.link.service import ListKept, ReadKept, Settings
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import SoftwareSet


class LinkState(Enum):
    DOWN = "down"  # between two tries
    DIALLING = "dialling"
    GREETING = "greeting"  # hello is out, the answer is due
    UP = "up"


class WorkState(Enum):
    WAITING = "waiting"  # the waiting stage: nothing runs, the master's word is due
    BURNING = "burning"
    STARTING = "starting"
    RUNNING = "running"
    RESETTING = "resetting"


class Order(Enum):
    """The master's orders, as keys of the table."""

    BURN = "burn"
    RUN = "run"
    HOLD = "hold"
    RESET = "reset"


class Response(Enum):
    """What the card does with an order in a given work state."""

    BEGIN_BURN = "begin burn"
    ALREADY_BURNING = "already burning"
    BEGIN_SET = "begin set"
    REPORT_RUNNING = "report running"
    REFUSE = "refuse"
    STAY = "stay"
    COMMIT_LATER = "commit when started"
    RESET = "reset"


_W, _O, _R = WorkState, Order, Response

#: Total: every order in every work state.
ORDERS: dict[WorkState, dict[Order, Response]] = {
    _W.WAITING: {
        _O.BURN: _R.BEGIN_BURN,
        _O.RUN: _R.BEGIN_SET,
        _O.HOLD: _R.STAY,
        _O.RESET: _R.RESET,
    },
    _W.BURNING: {
        _O.BURN: _R.ALREADY_BURNING,
        _O.RUN: _R.REFUSE,
        _O.HOLD: _R.STAY,
        _O.RESET: _R.RESET,
    },
    _W.STARTING: {
        _O.BURN: _R.REFUSE,
        _O.RUN: _R.COMMIT_LATER,
        _O.HOLD: _R.STAY,
        _O.RESET: _R.RESET,
    },
    _W.RUNNING: {
        _O.BURN: _R.BEGIN_BURN,
        _O.RUN: _R.REPORT_RUNNING,
        _O.HOLD: _R.STAY,
        _O.RESET: _R.RESET,
    },
    _W.RESETTING: {
        _O.BURN: _R.REFUSE,
        _O.RUN: _R.REFUSE,
        _O.HOLD: _R.STAY,
        _O.RESET: _R.STAY,
    },
}


# Events: what the shell tells the machine.


@dataclass(frozen=True, slots=True)
class Started:
    """Flash has been inspected; the agent is ready to dial."""


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """TLS with the master is up."""


@dataclass(frozen=True, slots=True)
class LinkLost:
    """No connection could be made, or the one we had is gone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    message: m.FromMaster


@dataclass(frozen=True, slots=True)
class BurnFinished:
    report: m.Stored
    now_stored: frozenset[Digest]


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The burn or the start of a set failed; `order` is which. A burn tells what it had written."""

    order: Order
    error: dict[str, str]
    boot_bytes_written: int = 0
    package_bytes_written: int = 0


@dataclass(frozen=True, slots=True)
class SetStarted:
    report: m.Running


@dataclass(frozen=True, slots=True)
class ProcessesChanged:
    """A process of the running set came up, ended or failed. `processes` are all of the set."""

    processes: tuple[m.ProcessReport, ...]


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The deadline that `next_deadline` named has come."""


Event = (
    Started
    | LinkOpened
    | LinkLost
    | Received
    | BurnFinished
    | JobFailed
    | SetStarted
    | ProcessesChanged
    | TimePassed
)


# Actions: what the machine asks of the shell.


@dataclass(frozen=True, slots=True)
class Dial:
    """Enrol when needed, then connect to the master."""


@dataclass(frozen=True, slots=True)
class SendHello:
    """Inspect what changed and introduce ourselves."""


@dataclass(frozen=True, slots=True)
class Send:
    message: m.FromCard


@dataclass(frozen=True, slots=True)
class CloseLink:
    reason: str


@dataclass(frozen=True, slots=True)
class DropCertificate:
    """The master does not take us as we showed ourselves: enrol again, with the same key."""


@dataclass(frozen=True, slots=True)
class SetClock:
    """Unix seconds as the master sees them."""

    time: float


@dataclass(frozen=True, slots=True)
class BeginBurn:
    order: m.Burn


@dataclass(frozen=True, slots=True)
class BeginSet:
    """Run the stored set. `validated` is false when no master said so (the no-master policy)."""

    set_digest: Digest
    validated: bool


@dataclass(frozen=True, slots=True)
class ResetCard:
    reason: str
    netboot: bool = False


@dataclass(frozen=True, slots=True)
class Serve:
    """Whatever the card is doing: take settings, or answer what is kept of logs and core dumps."""

    message: Settings | ListKept | ReadKept


Action = (
    Dial
    | SendHello
    | Send
    | CloseLink
    | DropCertificate
    | SetClock
    | BeginBurn
    | BeginSet
    | ResetCard
    | Serve
)

#: Seconds between tries to reach a master: doubled from the first to the last.
FIRST_RETRY = 0.5
LAST_RETRY = 8.0
#: The master has this long to answer a hello.
GREETING_SECONDS = 20.0
#: Nothing heard for so long (the master pings) means that the link is dead.
SILENCE_SECONDS = 30.0


@dataclass(slots=True)
class Policy:
    """What to do when no master answers (issue: as the user configured). `seconds` 0 means wait for ever."""

    policy: str = "wait"
    seconds: float = 0.0


@dataclass(slots=True)
class CardMachine:
    """One card's agent. Feed events to `receive`; perform what it returns, in order."""

    last_validated: Digest | None
    policy: Policy = field(default_factory=Policy)
    link: LinkState = LinkState.DOWN
    work: WorkState = WorkState.WAITING
    running: Digest | None = None
    stored: frozenset[Digest] = frozenset()
    burning: SoftwareSet | None = None
    last_report: m.Running | None = None
    _retry: float = FIRST_RETRY
    _validated_meanwhile: Digest | None = None
    #: Bytes of boot image and of packages, written by burns whose end the master was not told.
    _untold: tuple[int, int] = (0, 0)
    _link_deadline: float | None = None
    _alone_deadline: float | None = None

    @property
    def next_deadline(self) -> float | None:
        """Seconds on the clock whose `now` is handed in, or None."""
        deadlines = [d for d in (self._link_deadline, self._alone_deadline) if d is not None]
        return min(deadlines) if deadlines else None

    def receive(self, event: Event, now: float) -> list[Action]:
        handler: Any = _HANDLERS[type(event)]
        actions: list[Action] = handler(self, event, now)
        return actions

    # Link.

    def _on_started(self, _event: Started, now: float) -> list[Action]:
        self._count_time_alone(now)
        self.link = LinkState.DIALLING
        return [Dial()]

    def _on_opened(self, _event: LinkOpened, now: float) -> list[Action]:
        if self.link is not LinkState.DIALLING:
            return []
        self.link = LinkState.GREETING
        self._link_deadline = now + GREETING_SECONDS
        return [SendHello()]

    def _on_lost(self, _event: LinkLost, now: float) -> list[Action]:
        if self.link is LinkState.DOWN:
            return []
        # A master that does not take our certificate ends the link without a word (TLS 1.3).
        actions: list[Action] = [DropCertificate()] if self.link is LinkState.GREETING else []
        self.link = LinkState.DOWN
        self._link_deadline = now + self._retry
        self._retry = min(self._retry * 2, LAST_RETRY)
        if self._alone_deadline is None:
            self._count_time_alone(now)
        return actions

    def _count_time_alone(self, now: float) -> None:
        """From here on the card is without a master; after the time that the user set it helps itself."""
        waits = self.work is WorkState.WAITING and self.last_validated is not None
        if waits and self.policy.policy == "run" and self.policy.seconds > 0:
            self._alone_deadline = now + self.policy.seconds

    def _on_time(self, _event: TimePassed, now: float) -> list[Action]:
        actions: list[Action] = []
        if self._alone_deadline is not None and now >= self._alone_deadline:
            self._alone_deadline = None
            if self.work is WorkState.WAITING and self.last_validated is not None:
                self.work = WorkState.STARTING
                actions.append(BeginSet(self.last_validated, validated=False))
        if self._link_deadline is not None and now >= self._link_deadline:
            self._link_deadline = None
            if self.link is LinkState.DOWN:
                self.link = LinkState.DIALLING
                actions.append(Dial())
            elif self.link is not LinkState.DIALLING:
                reason = "no answer to hello" if self.link is LinkState.GREETING else "the master is silent"
                actions.append(CloseLink(reason))
                actions += self._on_lost(LinkLost(reason), now)
        return actions

    def _on_received(self, event: Received, now: float) -> list[Action]:
        message = event.message
        if self.link not in (LinkState.GREETING, LinkState.UP):
            return []  # a late word of a link that is gone
        if isinstance(message, m.Refused):
            self._retry = max(FIRST_RETRY, min(message.retry_seconds, 300.0))
            self.link = LinkState.GREETING  # as if the answer to our hello
            return [CloseLink("refused"), *self._on_lost(LinkLost("refused"), now)]
        self._link_deadline = now + SILENCE_SECONDS
        if isinstance(message, m.Welcome):
            return self._welcomed(message)
        if isinstance(message, m.Ping):
            return [Send(m.Pong())]
        if isinstance(message, Settings | ListKept | ReadKept):
            return [Serve(message)]
        return self._ordered(message)

    def _welcomed(self, message: m.Welcome) -> list[Action]:
        self.link = LinkState.UP
        self._retry = FIRST_RETRY
        self._alone_deadline = None
        self.policy = Policy(message.no_master_policy, message.no_master_seconds)
        return [SetClock(message.time)]

    # Work.

    def _ordered(self, message: m.Burn | m.Run | m.Hold | m.Reset) -> list[Action]:
        order = Order(message.TYPE)
        response = ORDERS[self.work][order]
        if response is Response.STAY:
            return []
        if response is Response.RESET:
            self.work = WorkState.RESETTING
            assert isinstance(message, m.Reset)
            return [ResetCard(message.reason, message.netboot)]
        if response is Response.REFUSE:
            return [self._refusal(order)]
        if response in (Response.BEGIN_BURN, Response.ALREADY_BURNING):
            assert isinstance(message, m.Burn)
            return self._burn_ordered(message, response)
        assert isinstance(message, m.Run)
        if response is Response.COMMIT_LATER:
            self._validated_meanwhile = message.set_digest
            return []
        return self._run_ordered(message, response)

    def _burn_ordered(self, message: m.Burn, response: Response) -> list[Action]:
        if response is Response.ALREADY_BURNING:
            if self.burning is not None and self.burning.digest == message.wanted.digest:
                return []
            return [self._refusal(Order.BURN)]
        self.work = WorkState.BURNING
        self.burning = message.wanted
        return [BeginBurn(message)]

    def _run_ordered(self, message: m.Run, response: Response) -> list[Action]:
        if response is Response.REPORT_RUNNING:
            if self.running == message.set_digest:
                return [BeginSet(message.set_digest, validated=True)]
            return [self._refusal(Order.RUN, "another set is running: reset the card first")]
        if message.set_digest not in self.stored:
            found = ", ".join(f"set {known.short}" for known in sorted(self.stored)) or "no set"
            error = {
                "what": "asked to run a set that is not stored",
                "expected": f"set {message.set_digest.short}",
                "found": found,
            }
            return [Send(m.Failed(Order.RUN.value, error))]
        self.work = WorkState.STARTING
        return [BeginSet(message.set_digest, validated=True)]

    def _refusal(self, order: Order, why: str = "") -> Send:
        what = why or f"cannot {order.value} while {self.work.value}"
        return Send(m.Failed(order.value, {"what": what, "found": self.work.value}))

    def _rest(self) -> WorkState:
        return WorkState.WAITING if self.running is None else WorkState.RUNNING

    def _on_burnt(self, event: BurnFinished, _now: float) -> list[Action]:
        if self.work is WorkState.BURNING:
            self.work = self._rest()
        self.burning = None
        self.stored = event.now_stored
        boot, package = self._untold
        boot, package = boot + event.report.boot_bytes_written, package + event.report.package_bytes_written
        if self.link is not LinkState.UP:
            self._untold = boot, package
            return []
        self._untold = 0, 0
        return [Send(replace(event.report, boot_bytes_written=boot, package_bytes_written=package))]

    def _on_failed(self, event: JobFailed, _now: float) -> list[Action]:
        if self.work in (WorkState.BURNING, WorkState.STARTING):
            self.work = self._rest()
        self.burning = None
        boot, package = self._untold
        self._untold = boot + event.boot_bytes_written, package + event.package_bytes_written
        return [Send(m.Failed(event.order.value, event.error))] if self.link is LinkState.UP else []

    def _on_set_started(self, event: SetStarted, _now: float) -> list[Action]:
        if self.work is WorkState.STARTING:
            self.work = WorkState.RUNNING
        self.running = event.report.set_digest
        self.last_report = event.report
        actions: list[Action] = []
        if self._validated_meanwhile == self.running:
            # Started without a master's word, and it came meanwhile: now it can be made permanent.
            actions.append(BeginSet(event.report.set_digest, validated=True))
        self._validated_meanwhile = None
        if self.link is LinkState.UP:
            actions.append(Send(event.report))
        return actions

    def _on_processes(self, event: ProcessesChanged, _now: float) -> list[Action]:
        """While a set is being started its own report is on the way; after that each change is told."""
        if self.running is None or self.last_report is None:
            return []
        self.last_report = replace(self.last_report, processes=event.processes)
        return [Send(self.last_report)] if self.link is LinkState.UP else []


_HANDLERS: dict[type[Any], Any] = {
    Started: CardMachine._on_started,
    LinkOpened: CardMachine._on_opened,
    LinkLost: CardMachine._on_lost,
    TimePassed: CardMachine._on_time,
    Received: CardMachine._on_received,
    BurnFinished: CardMachine._on_burnt,
    JobFailed: CardMachine._on_failed,
    SetStarted: CardMachine._on_set_started,
    ProcessesChanged: CardMachine._on_processes,
}
