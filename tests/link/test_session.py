"""The session's tables are total, and nonsense ends the link."""

from __future__ import annotations

import itertools

import pytest

from firmware_mgr.link import messages as m
from firmware_mgr.link.session import CARD_SAYS, MASTER_SAYS, Session, SessionState
from firmware_mgr.model.errors import PeerError


def test_both_tables_have_a_row_for_every_state() -> None:
    assert set(CARD_SAYS) == set(MASTER_SAYS) == set(SessionState)


@pytest.mark.parametrize(
    ("state", "message"),
    list(itertools.product(SessionState, [m.Pong(), m.Failed("x", {}), m.Progress("x", 0, 1, 0)])),
)
def test_reports_are_heard_only_on_an_open_link(state: SessionState, message: m.FromCard) -> None:
    session = Session("slot 1")
    session.state = state
    if state is SessionState.OPEN:
        session.card_said(message)
        assert session.state is SessionState.OPEN
    else:
        with pytest.raises(PeerError, match="out of turn"):
            session.card_said(message)


def test_a_refusal_closes_and_nothing_may_follow() -> None:
    session = Session("slot 1")
    session.state = SessionState.GREETED
    session.master_said(m.Refused({}))
    with pytest.raises(PeerError):
        session.master_said(m.Ping())


def test_no_order_goes_out_before_the_welcome() -> None:
    session = Session("slot 1")
    with pytest.raises(PeerError):
        session.master_said(m.Reset("x"))
