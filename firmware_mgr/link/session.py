"""Who may say what, when, on one link: a total table per side (SPEC-link §5), and in which version. Pure.

Knows the order of messages, not what they bring about.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from firmware_mgr.link import messages as m
from firmware_mgr.link import service as sv
from firmware_mgr.model.errors import PeerError


class SessionState(Enum):
    """As the master sees one link."""

    CONNECTED = "connected"  # TLS is up, nothing said yet
    GREETED = "greeted"  # the card's hello is in, the answer is due
    OPEN = "open"  # welcomed: orders and reports flow
    CLOSED = "closed"


_S = SessionState

#: What the card may send in each state, and the state after it. A pair that is not here ends the session.
CARD_SAYS: dict[SessionState, dict[type[Any], SessionState]] = {
    _S.CONNECTED: {m.Hello: _S.GREETED},
    _S.GREETED: {},
    _S.OPEN: {
        m.Progress: _S.OPEN,
        m.Stored: _S.OPEN,
        m.Running: _S.OPEN,
        m.Failed: _S.OPEN,
        m.Pong: _S.OPEN,
        sv.SettingsKept: _S.OPEN,
        sv.Kept: _S.OPEN,
        sv.Piece: _S.OPEN,
    },
    _S.CLOSED: {},
}

#: What the master may send in each state, and the state after it.
MASTER_SAYS: dict[SessionState, dict[type[Any], SessionState]] = {
    _S.CONNECTED: {},
    _S.GREETED: {m.Welcome: _S.OPEN, m.Refused: _S.CLOSED},
    _S.OPEN: {
        m.Burn: _S.OPEN,
        m.Run: _S.OPEN,
        m.Hold: _S.OPEN,
        m.Reset: _S.OPEN,
        m.Ping: _S.OPEN,
        sv.Settings: _S.OPEN,
        sv.ListKept: _S.OPEN,
        sv.ReadKept: _S.OPEN,
        m.Refused: _S.CLOSED,
    },
    _S.CLOSED: {},
}


class Session:
    """Keeps the state of one link; both ends hold one and so find out when the other end lies.

    `version` is what both speak: the oldest until the welcome names it.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.state = SessionState.CONNECTED
        self.version = m.OLDEST_PROTOCOL

    def card_said(self, message: m.FromCard) -> None:
        self._step(CARD_SAYS, message, "card")

    def master_said(self, message: m.FromMaster) -> None:
        self._step(MASTER_SAYS, message, "master")
        if isinstance(message, m.Welcome):
            if not m.OLDEST_PROTOCOL <= message.protocol <= m.PROTOCOL_VERSION:
                raise PeerError(
                    "master speaks another protocol",
                    where=self.where,
                    expected=f"{m.OLDEST_PROTOCOL} to {m.PROTOCOL_VERSION}",
                    found=message.protocol,
                )
            self.version = message.protocol

    def close(self) -> None:
        self.state = SessionState.CLOSED

    def _step(self, table: dict[SessionState, dict[type[Any], SessionState]], message: Any, who: str) -> None:
        allowed = table[self.state]
        following = allowed.get(type(message))
        if following is None:
            raise PeerError(
                f"{who} sent a message out of turn",
                where=f"{self.where}, link {self.state.value}",
                expected=", ".join(kind.TYPE for kind in allowed) or "nothing",
                found=message.TYPE,
            )
        if m.SINCE[type(message)] > self.version:
            raise PeerError(
                f"{who} sent a message of a newer version than was agreed",
                where=f"{self.where}, version {self.version}",
                expected=f"version {m.SINCE[type(message)]} for {message.TYPE}",
                found=f"version {self.version}",
            )
        self.state = following
