from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.model.errors import UsageError
from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.dhcp_codec import DhcpFormatError, DhcpPacket, MessageType, Op

from .rack import packet

addresses = st.integers(0, 2**32 - 1).map(IPv4Address)
option_codes = st.integers(1, 254).filter(
    lambda code: code not in (*codec.FIXED_LENGTHS, codec.OPT_CLIENT_ARCH)
)
fields = st.binary(max_size=60).map(lambda raw: raw.replace(b"\0", b"x"))
packets = st.builds(
    DhcpPacket,
    op=st.sampled_from(Op),
    xid=st.integers(0, 2**32 - 1),
    chaddr=st.binary(max_size=16),
    htype=st.integers(0, 255),
    hops=st.integers(0, 255),
    secs=st.integers(0, 65535),
    flags=st.integers(0, 65535),
    ciaddr=addresses,
    yiaddr=addresses,
    siaddr=addresses,
    giaddr=addresses,
    sname=fields,
    file=fields,
    options=st.dictionaries(option_codes, st.binary(max_size=600), max_size=6).map(MappingProxyType),
)


@given(packets)
@settings(max_examples=150)
def test_a_packet_survives_being_written_and_read(sent: DhcpPacket) -> None:
    assert codec.parse(codec.serialise(sent)) == sent


@given(st.binary(max_size=700))
@settings(max_examples=150)
def test_noise_is_refused_with_the_one_exception(noise: bytes) -> None:
    with pytest.raises(DhcpFormatError):
        codec.parse(noise)


@given(st.binary(max_size=400), st.binary(min_size=192, max_size=192))
@settings(max_examples=300)
def test_noise_behind_a_good_header_is_read_or_refused(noise: bytes, names: bytes) -> None:
    head = bytes((1, 1, 6, 0)) + bytes(40) + names + codec.MAGIC_COOKIE
    try:
        parsed = codec.parse(head + noise)
    except DhcpFormatError:
        return
    assert codec.parse(codec.serialise(parsed)) == parsed


def test_every_truncation_is_refused_until_the_end_option() -> None:
    whole = codec.serialise(packet(MessageType.DISCOVER, options={codec.OPT_VENDOR_CLASS: b"U-Boot.armv8"}))
    end = whole.index(b"U-Boot.armv8") + len(b"U-Boot.armv8") + 1
    for length in range(end):
        with pytest.raises(DhcpFormatError):
            codec.parse(whole[:length])
    assert all(codec.parse(whole[:length]) == codec.parse(whole) for length in range(end, len(whole)))


def test_bytes_after_end_are_not_looked_at() -> None:
    sent = packet(MessageType.DISCOVER)
    assert codec.parse(codec.serialise(sent) + b"\x35\x01\xff trailing") == sent


def test_pads_between_options_are_skipped() -> None:
    raw = codec.serialise(packet(None))[: codec.HEADER_SIZE] + bytes((0, 0, 53, 1, 1, 0, 255))
    assert codec.parse(raw).options == {codec.OPT_MESSAGE_TYPE: b"\x01"}


def test_a_short_packet_is_padded_to_what_bootp_clients_expect() -> None:
    assert len(codec.serialise(packet(MessageType.DISCOVER))) == codec.MIN_PACKET


def test_a_long_option_is_split_and_joined() -> None:
    value = bytes(i % 251 for i in range(700))
    raw = codec.serialise(packet(MessageType.INFORM, options={43: value}))
    assert raw.count(bytes((43, 255))) == 2
    assert codec.parse(raw).options[43] == value


def test_pieces_of_one_option_are_joined_over_the_three_areas_in_the_order_options_file_sname() -> None:
    raw = bytearray(codec.serialise(packet(MessageType.DISCOVER)))
    raw[108:113] = bytes((43, 2)) + b"lo" + bytes((255,))  # file
    raw[44:49] = bytes((43, 2)) + b"ng" + bytes((255,))  # sname
    raw[240:255] = bytes((52, 1, 3, 53, 1, 1, 43, 2)) + b"so" + bytes((255, 0, 0, 0, 0))
    parsed = codec.parse(bytes(raw))
    assert parsed.options[43] == b"solong"
    assert parsed.file == b"" == parsed.sname


def test_options_overflow_into_file_and_sname() -> None:
    sent = packet(
        MessageType.DISCOVER, options={224: b"a" * 250, 225: b"b" * 100, 226: b"c" * 50, 227: b"d" * 20}
    )
    raw = codec.serialise(sent, limit=codec.HEADER_SIZE + 300)
    assert len(raw) <= codec.HEADER_SIZE + 300
    assert bytes((codec.OPT_OVERLOAD, 1, 3)) in raw
    assert codec.parse(raw).options == sent.options


def test_options_that_fit_nowhere_are_the_callers_fault() -> None:
    sent = replace(packet(MessageType.DISCOVER, options={224: b"a" * 250, 225: b"b" * 200}), file=b"boot")
    with pytest.raises(UsageError, match="do not fit"):
        codec.serialise(sent, limit=548)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (bytes((53, 2, 1, 1, 255)), "option 53 has a wrong length"),
        (bytes((54, 3, 1, 1, 1, 255)), "option 54 has a wrong length"),
        (bytes((93, 3, 0, 11, 0, 255)), "option 93 has a wrong length"),
        (bytes((52, 1, 4, 255)), "option 52 is wrong"),
        (bytes((52, 1, 1, 52, 1, 1, 255)), "option 52 is wrong"),
        (bytes((52, 1, 1, 255)), "options without END"),  # file holds no END
        (bytes((53, 1, 1)), "options without END"),
        (bytes((53,)), "runs over the end"),
        (bytes((53, 200, 1)), "runs over the end"),
    ],
)
def test_a_broken_option_is_refused_and_named(options: bytes, why: str) -> None:
    head = codec.serialise(packet(None))[: codec.HEADER_SIZE]
    with pytest.raises(DhcpFormatError, match=why):
        codec.parse(head + options)


def test_a_hardware_address_over_16_bytes_is_refused() -> None:
    raw = bytearray(codec.serialise(packet(MessageType.DISCOVER)))
    raw[2] = 17
    with pytest.raises(DhcpFormatError, match="hardware address too long"):
        codec.parse(bytes(raw))
