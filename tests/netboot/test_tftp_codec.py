from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.netboot import tftp_codec as codec
from firmware_mgr.netboot.tftp_codec import Ack, Data, Error, OptionAck, Packet, Request, TftpFormatError
from firmware_mgr.netboot.tftp_terms import MAX_WINDOW, Terms, negotiate

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
names = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=10)
filled = texts.filter(bool)
options = st.dictionaries(names, filled, max_size=4).map(MappingProxyType)
packets = st.one_of(
    st.builds(Request, st.booleans(), texts, names, options),
    st.builds(Ack, st.integers(0, 65535)),
    st.builds(Error, st.integers(0, 65535), texts),
    st.builds(Data, st.integers(0, 65535), st.binary(max_size=1500)),
    st.builds(OptionAck, options.filter(bool)),
)


@given(packets)
@settings(max_examples=150)
def test_a_packet_survives_being_written_and_read(packet: Packet) -> None:
    assert codec.parse(codec.serialise(packet)) == packet


@given(st.one_of(st.binary(max_size=600), st.binary(max_size=300).map(lambda raw: b"\0\x01" + raw)))
@settings(max_examples=300)
def test_noise_is_read_or_refused_with_the_one_exception(noise: bytes) -> None:
    try:
        codec.parse(noise)
    except TftpFormatError:
        pass


def test_every_truncation_of_a_request_is_refused_or_is_a_shorter_request() -> None:
    whole = codec.serialise(Request(False, "boot.scr", "octet", {"blksize": "1468"}))
    read = []
    for length in range(len(whole)):
        try:
            read.append(codec.parse(whole[:length]))
        except TftpFormatError:
            pass
    assert read == [Request(False, "boot.scr", "octet")]


def test_names_and_mode_come_in_lower_case_and_padding_is_let_pass() -> None:
    raw = b"\0\x01Boot\0OcTeT\0BlkSize\x001468\0\0\0"
    assert codec.parse(raw) == Request(False, "Boot", "octet", {"blksize": "1468"})


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\0\x01", "not a TFTP packet"),
        (b"\0\x09\0\0", "not a TFTP opcode"),
        (b"\0\x01name\0octet", "text without its NUL"),
        (b"\0\x01name\0", "without file name and mode"),
        (b"\0\x01\xff\xfe\0octet\0", "not UTF-8"),
        (b"\0\x01n\0octet\0tsize\0", "option without value"),
        (b"\0\x01n\0octet\0\x00v\0", "option without name"),
        (b"\0\x01n\0octet\0tsize\x000\0TSIZE\x000\0", "option stands twice"),
        (b"\0\x01" + b"n" * 510 + b"\0octet\0", "request too long"),
    ],
)
def test_a_broken_packet_is_refused_with_its_reason(raw: bytes, why: str) -> None:
    with pytest.raises(TftpFormatError, match=why):
        codec.parse(raw)


def granted(**asked: str) -> dict[str, str]:
    return dict(negotiate(asked, 1000, 1468).granted)


def test_options_are_granted_within_their_ranges() -> None:
    assert granted(blksize="1024", tsize="0", timeout="5", windowsize="16") == {
        "blksize": "1024",
        "tsize": "1000",
        "timeout": "5",
        "windowsize": "16",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("blksize", "7"),
        ("blksize", "65465"),
        ("blksize", "x"),
        ("blksize", "-1"),
        ("blksize", "٣٢"),
        ("blksize", "99999999999999999999"),
        ("timeout", "0"),
        ("timeout", "256"),
        ("windowsize", "0"),
        ("windowsize", "65536"),
        ("multicast", ""),
        ("utimeout", "100"),
    ],
)
def test_an_option_out_of_range_or_unknown_is_left_out(name: str, value: str) -> None:
    assert granted(**{name: value}) == {}


def test_block_and_window_sizes_are_lowered_to_what_path_and_server_take() -> None:
    assert granted(blksize="65464", windowsize="65535") == {"blksize": "1468", "windowsize": str(MAX_WINDOW)}


def test_an_option_refused_for_the_board_is_left_out() -> None:
    terms = negotiate({"blksize": "1468", "tsize": "0"}, 10, 1468, frozenset({"blksize"}))
    assert (dict(terms.granted), terms.blksize) == ({"tsize": "10"}, 512)


def test_no_options_give_the_terms_of_1981() -> None:
    assert negotiate({}, 10, 1468) == Terms()
