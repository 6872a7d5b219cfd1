"""A chain of roots of trust from a hostile master: whatever it sends, the card believes its keepers alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.package.root import RootRefused
from tests.card.test_sent_root import LONG, SHORT, Card

from .conftest import many
from .mutation import mutated

SENT = LONG.encode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("card")


@many(300)
@given(sent=mutated(SENT) | st.binary(max_size=200))
def test_whatever_is_sent_is_the_chain_itself_or_refused_with_both_sides(folder: Path, sent: bytes) -> None:
    card = Card(folder, SHORT, kept=SHORT)
    before = card.device.contents()
    try:
        card.keeper.follow(sent)
    except RootRefused as e:
        assert e.where and e.expected and e.found and len(str(e)) < 6000
        assert card.version == 2 and card.device.contents() == before
    else:
        assert sent == SENT, "no byte of a chain is free"
