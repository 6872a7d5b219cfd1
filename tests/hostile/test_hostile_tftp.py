"""The TFTP server against hostile packets and conversations: the rules are in `tftp_house`."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.netboot import tftp_codec as codec
from firmware_mgr.netboot.bounds import PER_CARD
from firmware_mgr.netboot.tftp_codec import TftpFormatError

from .conftest import many
from .memory import growth
from .mutation import mutated
from .tftp_house import POOL, Asked, TftpHouse, play
from .tftp_packets import conversations, others, requests


@many(400)
@given(conversations)
def test_no_conversation_answers_a_third_or_leaves_a_transfer_behind(
    folder: Path, packets: list[Asked]
) -> None:
    house = TftpHouse(folder)
    for each in packets:
        house.ask(each)
    house.stop()


@many(1500)
@given(st.one_of(requests(), requests().flatmap(mutated), others, st.binary(max_size=600)))
def test_a_packet_is_read_or_rejected_and_what_was_read_can_be_written(data: bytes) -> None:
    try:
        parsed = codec.parse(data)
    except TftpFormatError:
        return
    assert codec.parse(codec.serialise(parsed)) == parsed


@many(500)
@given(st.binary(max_size=1500))
def test_bytes_of_no_form_at_all_are_survived(folder: Path, data: bytes) -> None:
    house = TftpHouse(folder)
    play(house, data)
    house.stop()


def _request(name: str, *options: str) -> bytes:
    return b"\0\1" + b"".join(part.encode() + b"\0" for part in (name, "octet", *options))


def test_requests_without_end_hold_no_more_than_a_cards_places_and_no_memory(folder: Path) -> None:
    house = TftpHouse(folder)

    def ask(number: int) -> None:
        data = _request("Image", "timeout", "255", "windowsize", "64")
        house.ask(Asked(data, port=1024 + number % 60_000, seconds=0.1))

    assert growth(ask, warm=1000, count=5_000) < 100_000
    assert house.engine.running <= PER_CARD
    house.stop()


def test_every_block_size_of_small_files_takes_no_more_memory_than_the_pool_may(folder: Path) -> None:
    house = TftpHouse(folder)

    def ask_size(size: int) -> None:
        for name in ("empty", "boot.scr.uimg"):
            house.pool.window(house.blobs[name], 8 + size, 1, 1)

    assert growth(ask_size, warm=100, count=20_000) < 2 * POOL
    assert house.pool.held <= POOL
