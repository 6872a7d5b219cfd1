"""The DHCP server against hostile packets: the rules are in `dhcp_house`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.dhcp_codec import DhcpFormatError, MessageType

from ..netboot.rack import packet
from .cards import ADDRESSES, MACS
from .conftest import many
from .dhcp_house import BROADCAST, Asked, DhcpHouse, play
from .dhcp_packets import addresses, asked, payloads
from .memory import growth


@many(400)
@given(st.lists(asked, min_size=1, max_size=12))
def test_no_packet_brings_about_more_than_one_answer_to_its_sender(
    dhcp: DhcpHouse, packets: list[Asked]
) -> None:
    for each in packets:
        dhcp.ask(each)
        dhcp.loop.advance(1.0)


@many(1000)
@given(payloads)
def test_a_packet_is_read_or_rejected_and_what_was_read_can_be_written(data: bytes) -> None:
    try:
        parsed = codec.parse(data)
    except DhcpFormatError:
        return
    assert codec.parse(codec.serialise(parsed)) == parsed


@many(500)
@given(st.binary(max_size=1500))
def test_bytes_of_no_form_at_all_are_survived(dhcp: DhcpHouse, data: bytes) -> None:
    play(dhcp, data)


@many(300)
@given(st.sampled_from((MessageType.DISCOVER, MessageType.REQUEST)), addresses)
def test_a_foreign_ciaddr_is_sent_nothing(dhcp: DhcpHouse, message: MessageType, ciaddr: object) -> None:
    """A ROM may leave its former address in; a liar may name a victim."""
    options = (
        {}
        if message is MessageType.DISCOVER
        else {codec.OPT_SERVER_ID: bytes((10, 77, 0, 1)), codec.OPT_REQUESTED_ADDRESS: ADDRESSES[0].packed}
    )
    sent = packet(message, mac=MACS[0], ciaddr=ciaddr, options=options)  # type: ignore[arg-type]
    answers = dhcp.ask(Asked(codec.serialise(sent)))
    assert all(answer.to.address in (BROADCAST, ADDRESSES[0]) for answer in answers)


@pytest.mark.parametrize(
    "giaddr", ["255.255.255.255", "224.0.0.9", "127.0.0.1", "10.77.0.1", "0.0.0.9", "240.0.0.1"]
)
def test_an_address_that_no_relay_can_have_is_sent_nothing(dhcp: DhcpHouse, giaddr: str) -> None:
    from ipaddress import IPv4Address

    sent = packet(MessageType.DISCOVER, mac=MACS[0], giaddr=IPv4Address(giaddr))
    assert dhcp.ask(Asked(codec.serialise(sent))) == []


def test_five_thousand_strangers_leave_nothing_behind(dhcp: DhcpHouse) -> None:
    def stranger(number: int) -> Asked:
        mac = type(MACS[0]).from_bytes(b"\x02\0" + number.to_bytes(4, "big"))
        dhcp.loop.advance(0.01)
        kind = (MessageType.DISCOVER, MessageType.REQUEST, MessageType.DECLINE)[number % 3]
        options = {
            codec.OPT_CLIENT_ID: number.to_bytes(4, "big") * 50,
            codec.OPT_REQUESTED_ADDRESS: ADDRESSES[0].packed,
        }
        return Asked(codec.serialise(packet(kind, mac=mac, options=options)))

    assert growth(lambda number: dhcp.ask(stranger(number)), warm=2500, count=5_000) < 100_000


def test_a_list_of_architectures_without_end_is_cut(dhcp: DhcpHouse) -> None:
    """Events and what is shown of strangers stay short, however long the option is (RFC 3396 joins it)."""
    options = {codec.OPT_CLIENT_ARCH: b"\xff\xfe" * 2000, codec.OPT_VENDOR_CLASS: b"PXEClient" * 100}
    for mac in (MACS[0].to_bytes(), b"\2\0\0\0\0\1"):
        dhcp.loop.advance(60.0)
        dhcp.ask(
            Asked(
                codec.serialise(
                    packet(MessageType.DISCOVER, mac=type(MACS[0]).from_bytes(mac), options=options)
                )
            )
        )
