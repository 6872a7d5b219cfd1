"""Both ends of the link against hostile frames and messages: the rules are in `link_house`."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.link.frames import MAX_FRAME

from .conftest import many
from .link_documents import FROM_CARD, FROM_MASTER, HELLO
from .link_house import LinkHouse, play
from .link_packets import framed, streams
from .memory import growth


@many(500)
@given(streams(of_card=True), st.sampled_from((1 << 20, 64, 5)))
def test_whatever_a_card_sends_is_a_message_in_turn_or_ends_the_link(stream: bytes, step: int) -> None:
    house = LinkHouse(of_card=True)
    for at in range(0, len(stream), step):
        if house.feed(stream[at : at + step]) is None:
            break


@many(500)
@given(streams(of_card=False), st.sampled_from((1 << 20, 64, 5)))
def test_whatever_a_master_sends_is_a_message_in_turn_or_ends_the_link(stream: bytes, step: int) -> None:
    house = LinkHouse(of_card=False)
    for at in range(0, len(stream), step):
        if house.feed(stream[at : at + step]) is None:
            break


@many(500)
@given(st.binary(max_size=600))
def test_bytes_of_no_form_at_all_are_survived(data: bytes) -> None:
    play(data)


@pytest.mark.parametrize("of_card", [True, False])
def test_good_documents_get_through(of_card: bool) -> None:
    house = LinkHouse(of_card=of_card)
    stream = b"".join(
        framed(json.dumps(document).encode()) for document in (FROM_CARD if of_card else FROM_MASTER[:1])
    )
    heard = house.feed(stream)
    assert heard is not None and len(heard) == (len(FROM_CARD) if of_card else 1)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "1" * 400])
def test_a_number_that_is_none_is_rejected(number: str) -> None:
    text = json.dumps(HELLO | {"boot_seconds": "@"}).replace('"@"', number)
    assert LinkHouse().feed(framed(text.encode())) is None


@pytest.mark.parametrize("field", ["boot_image", "packages"])
def test_a_length_that_is_no_number_of_bytes_is_rejected(field: str) -> None:
    for number in ("1e999", "NaN", "1.5", '"10"', "true", "-5", "1" * 40):
        text = json.dumps(HELLO)
        at = text.index('"length": ', text.index(f'"{field}"', text.index('"believes"'))) + len('"length": ')
        text = text[:at] + number + text[text.index("}", at) :]
        assert LinkHouse().feed(framed(text.encode())) is None, number


def test_a_frame_that_never_ends_is_held_once_and_no_further() -> None:
    house = LinkHouse()
    tracemalloc.start()
    try:
        assert house.feed(MAX_FRAME.to_bytes(4, "big")) == []
        for _ in range(MAX_FRAME // 65536 - 1):
            assert house.feed(b" " * 65536) == []
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * MAX_FRAME
    assert house.feed(b" " * 65536) is None


def test_twenty_thousand_reports_leave_nothing_behind() -> None:
    house = LinkHouse()
    assert house.feed(framed(json.dumps(HELLO).encode()))
    report = framed(json.dumps(FROM_CARD[1]).encode()) * 100

    def send(_: int) -> None:
        heard = house.feed(report)
        assert heard is not None and len(heard) == 100

    assert growth(send, warm=20, count=200) < 50_000


@pytest.mark.parametrize("place", ["boot_source", "slot", "believes", "flash", "sets", "type"])
def test_no_depth_of_nesting_gets_past_the_one_exception(place: str) -> None:
    for depth in range(100, 1010, 5):
        text = json.dumps(HELLO | {place: "@"}).replace('"@"', "[" * depth + "]" * depth)
        assert LinkHouse().feed(framed(text.encode())) is None, depth
