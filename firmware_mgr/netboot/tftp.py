"""One TFTP transfer as a machine: events in, actions out, and the moment at which it wants to be woken.

Knows block numbers, windows, silence and the ways in which clients end. Refuses to know sockets, clocks and
bytes: an action says which blocks to send, not what is in them. Blocks are counted from 1 without wrapping;
on the wire they wrap to 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from firmware_mgr.netboot.events import Outcome
from firmware_mgr.netboot.tftp_codec import BLOCK_NUMBERS, ErrorCode
from firmware_mgr.netboot.tftp_terms import Terms

#: Seconds of silence before each repetition, and as many as there are before the transfer is given up.
PATIENCE = (1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
CREDIT_WINDOWS = 2  # whole windows to go through before a duplicate ACK is believed again


class State(Enum):
    NEGOTIATING = "negotiating"  # the OACK is out
    SENDING = "sending"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Acked:
    """An ACK; `block` is the 16-bit number on the wire."""

    block: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """The client sent ERROR."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Stray:
    """The client sent something that has no place in a transfer."""

    what: str


@dataclass(frozen=True, slots=True)
class PortClosed:
    """The client's host says that nobody listens any more."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """`next_deadline` may have come; harmless when it has not."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The server ends the transfer."""

    why: str


Event = Acked | Stopped | Stray | PortClosed | TimePassed | Cancelled


@dataclass(frozen=True, slots=True)
class SendOptions:
    """Send the OACK with what the terms grant."""


@dataclass(frozen=True, slots=True)
class SendBlocks:
    """Send `count` blocks from `first` on (counted from 1, not wrapped)."""

    first: int
    count: int


@dataclass(frozen=True, slots=True)
class SendError:
    code: ErrorCode
    text: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The transfer is over: close its socket."""

    outcome: Outcome
    reason: str


Action = SendOptions | SendBlocks | SendError | Finish


class TftpTransfer:
    """Sends a blob of `length` bytes under `terms`. Call `start` once, then `receive` for each event."""

    def __init__(self, length: int, terms: Terms) -> None:
        self.terms = terms
        self.blocks = length // terms.blksize + 1  # the last one is short, or empty: RFC 1350 §6
        self.state = State.NEGOTIATING if terms.granted else State.SENDING
        self.acked = 0
        self.next_deadline: float | None = None
        self._sent = 0
        self._doubtful = 0  # blocks up to here were sent twice: an ACK for one may be for its first copy
        self._silences = 0
        self._credit = CREDIT_WINDOWS

    @property
    def untouched(self) -> bool:
        """The client has shown no sign of having heard us: its request coming again is a retransmission."""
        return self.state is not State.ENDED and self.acked == 0 and self._sent <= self.terms.window

    def start(self, now: float) -> list[Action]:
        return self._repeat(now)

    def receive(self, event: Event, now: float) -> list[Action]:
        """`now` in monotonic seconds. Every pair of state and event is in TRANSITIONS."""
        return TRANSITIONS[self.state, type(event)](self, event, now)

    def _repeat(self, now: float) -> list[Action]:
        """Send what is not acknowledged: the OACK, or a window from the first missing block on."""
        self._wait(now)
        if self.state is State.NEGOTIATING:
            return [SendOptions()]
        self._doubtful = self._sent
        self._sent = self.acked
        return self._advance(now)

    def _advance(self, now: float) -> list[Action]:
        """Send what the window has room for beyond what was sent."""
        self._wait(now)
        first = self._sent + 1
        self._sent = max(self._sent, min(self.acked + self.terms.window, self.blocks))
        return [SendBlocks(first, self._sent - first + 1)] if self._sent >= first else []

    def _wait(self, now: float) -> None:
        patience = PATIENCE[min(self._silences, len(PATIENCE) - 1)]
        self.next_deadline = now + (patience if self.terms.timeout is None else self.terms.timeout)

    def _end(self, outcome: Outcome, reason: str) -> list[Action]:
        self.state = State.ENDED
        self.next_deadline = None
        return [Finish(outcome, reason)]

    def _options_acked(self, event: Event, now: float) -> list[Action]:
        assert isinstance(event, Acked)
        if event.block != 0:
            return []
        self.state = State.SENDING
        self._silences = 0
        return self._repeat(now)

    def _block_acked(self, event: Event, now: float) -> list[Action]:
        assert isinstance(event, Acked)
        ahead = (event.block - self.acked) % BLOCK_NUMBERS
        outstanding = self._sent - self.acked
        if ahead > outstanding:
            return []  # of an earlier window
        if ahead == 0:
            return self._acked_again(now)
        self.acked += ahead
        self._silences = 0
        if self.acked == self.blocks:
            return self._end(Outcome.DONE, "")
        if ahead == outstanding:
            self._credit = min(self._credit + 1, CREDIT_WINDOWS)
            return self._advance(now)
        if self.acked <= self._doubtful:
            return self._advance(now)
        self._credit = 0
        return self._repeat(now)

    def _acked_again(self, now: float) -> list[Action]:
        """Nothing new was acknowledged.

        With window 1 that is a copy and is ignored, or each copy would double all that follows (Sorcerer's
        Apprentice, RFC 1123 §4.2.3.1). With a larger one it may mean that the first block was lost.
        """
        if self.terms.window == 1 or self._credit < CREDIT_WINDOWS:
            return []
        self._credit = 0
        return self._repeat(now)

    def _stopped_early(self, event: Event, now: float) -> list[Action]:
        """After the OACK: loaders end a look at the size with 0, UEFI with 8 "User aborted the transfer"."""
        assert isinstance(event, Stopped)
        looked = event.code == ErrorCode.UNDEFINED or (
            event.code == ErrorCode.OPTION and event.text.lower().startswith("user aborted")
        )
        return self._end(Outcome.PROBE if looked else Outcome.FAILED, _said(event))

    def _stopped(self, event: Event, now: float) -> list[Action]:
        """Amid data: the Raspberry Pi's loader ends a look with 0 "Early terminate"."""
        assert isinstance(event, Stopped)
        looked = event.code == ErrorCode.UNDEFINED and event.text.lower().startswith("early terminate")
        return self._end(Outcome.PROBE if looked else Outcome.FAILED, _said(event))

    def _strayed(self, event: Event, now: float) -> list[Action]:
        assert isinstance(event, Stray)
        text = f"unexpected {event.what}"
        return [SendError(ErrorCode.ILLEGAL, text), *self._end(Outcome.FAILED, f"client sent {event.what}")]

    def _closed_early(self, event: Event, now: float) -> list[Action]:
        return self._end(Outcome.PROBE, "client closed its port after the options")

    def _closed(self, event: Event, now: float) -> list[Action]:
        if self._sent == self.blocks:
            return self._end(
                Outcome.DONE, "client closed its port after the last block; its last ACK was not seen"
            )
        return self._end(Outcome.FAILED, f"client closed its port at {self._where()}")

    def _time_passed(self, event: Event, now: float) -> list[Action]:
        if self.next_deadline is None or now < self.next_deadline:
            return []
        self._silences += 1
        if self._silences == len(PATIENCE):
            return self._end(Outcome.FAILED, f"no answer to {len(PATIENCE)} tries at {self._where()}")
        self._credit = 0
        return self._repeat(now)

    def _cancelled(self, event: Event, now: float) -> list[Action]:
        assert isinstance(event, Cancelled)
        return [SendError(ErrorCode.UNDEFINED, event.why), *self._end(Outcome.FAILED, event.why)]

    def _nothing(self, event: Event, now: float) -> list[Action]:
        return []

    def _where(self) -> str:
        return (
            "the options" if self.state is State.NEGOTIATING else f"block {self.acked + 1} of {self.blocks}"
        )


def _said(event: Stopped) -> str:
    return f"client sent error {event.code} {event.text!r}"


Step = Callable[[TftpTransfer, Event, float], list[Action]]

#: Every state and every event.
TRANSITIONS: dict[tuple[State, type[Event]], Step] = {
    (State.NEGOTIATING, Acked): TftpTransfer._options_acked,
    (State.NEGOTIATING, Stopped): TftpTransfer._stopped_early,
    (State.NEGOTIATING, Stray): TftpTransfer._strayed,
    (State.NEGOTIATING, PortClosed): TftpTransfer._closed_early,
    (State.NEGOTIATING, TimePassed): TftpTransfer._time_passed,
    (State.NEGOTIATING, Cancelled): TftpTransfer._cancelled,
    (State.SENDING, Acked): TftpTransfer._block_acked,
    (State.SENDING, Stopped): TftpTransfer._stopped,
    (State.SENDING, Stray): TftpTransfer._strayed,
    (State.SENDING, PortClosed): TftpTransfer._closed,
    (State.SENDING, TimePassed): TftpTransfer._time_passed,
    (State.SENDING, Cancelled): TftpTransfer._cancelled,
    **{
        (State.ENDED, event): TftpTransfer._nothing
        for event in (Acked, Stopped, Stray, PortClosed, TimePassed, Cancelled)
    },
}
