"""Every message in every version of the protocol: who may send it, and with which members."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from firmware_mgr.link import messages as m
from firmware_mgr.link.session import CARD_SAYS, MASTER_SAYS, Session, SessionState
from firmware_mgr.model.errors import PeerError
from tests.link.test_messages import FROM_CARD, FROM_MASTER

VERSIONS = range(m.OLDEST_PROTOCOL, m.PROTOCOL_VERSION + 1)
#: Members that version 2 added to messages of version 1, by the message and the path in it.
NEW_IN_2 = {
    ("hello", "settings"),
    ("hello", "flash.data"),
    ("hello", "root"),
    ("stored", "flash.data"),
    ("stored", "root"),
    ("burn", "root"),
}


def members(document: dict[str, Any], path: str = "") -> set[str]:
    found = set()
    for name, value in document.items():
        found.add(f"{path}{name}")
        if isinstance(value, dict):
            found |= members(value, f"{path}{name}.")
    return found


def test_every_message_says_since_when_it_is_known() -> None:
    assert set(m.SINCE) == {*m.FROM_CARD.values(), *m.FROM_MASTER.values()}
    assert set(m.SINCE.values()) == set(VERSIONS)


def _open(version: int) -> Session:
    session = Session("slot 1")
    session.state, session.version = SessionState.OPEN, version
    return session


@pytest.mark.parametrize(
    ("version", "message"), list(itertools.product(VERSIONS, FROM_CARD)), ids=lambda value: str(value)[:12]
)
def test_a_card_may_report_what_its_version_knows_and_nothing_else(version: int, message: m.FromCard) -> None:
    session = _open(version)
    if type(message) in CARD_SAYS[SessionState.OPEN] and m.SINCE[type(message)] <= version:
        session.card_said(message)
        assert session.state is SessionState.OPEN
    else:
        with pytest.raises(PeerError):
            session.card_said(message)


@pytest.mark.parametrize(
    ("version", "message"), list(itertools.product(VERSIONS, FROM_MASTER)), ids=lambda value: str(value)[:12]
)
def test_a_master_may_say_what_the_version_knows_and_nothing_else(
    version: int, message: m.FromMaster
) -> None:
    session = _open(version)
    if type(message) in MASTER_SAYS[SessionState.OPEN] and m.SINCE[type(message)] <= version:
        session.master_said(message)
    else:
        with pytest.raises(PeerError):
            session.master_said(message)


def test_the_welcome_agrees_on_the_version() -> None:
    for version in VERSIONS:
        session = Session("slot 1")
        session.state = SessionState.GREETED
        session.master_said(m.Welcome(version, 1.0, "card-1"))
        assert session.version == version


@pytest.mark.parametrize("version", [m.OLDEST_PROTOCOL - 1, m.PROTOCOL_VERSION + 1])
def test_a_master_that_welcomes_in_a_version_we_do_not_speak_is_left(version: int) -> None:
    session = Session("slot 1")
    session.state = SessionState.GREETED
    with pytest.raises(PeerError, match="another protocol"):
        session.master_said(m.Welcome(version, 1.0, "card-1"))


def test_only_the_members_that_came_later_are_left_out_for_an_older_peer() -> None:
    left_out = set()
    for message in (*FROM_CARD, *FROM_MASTER):
        whole, old = members(m.to_document(message, 2)), members(m.to_document(message, 1))
        assert old <= whole
        if m.SINCE[type(message)] == 1:
            left_out |= {
                (message.TYPE, member) for member in whole - old if not member.startswith("flash.data.")
            }
    assert left_out >= NEW_IN_2


def test_what_an_older_peer_leaves_out_has_its_default() -> None:
    for message in FROM_CARD:
        if m.SINCE[type(message)] == 1:
            assert type(m.read_from_card(m.to_document(message, 1))) is type(message)
