"""Cards behind relays: whose subnet, which server identifier, which slot, and who is not answered."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.model.errors import UsageError
from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.dhcp import Arrival, Decision, Ignored, Recorded, Reply, decide
from firmware_mgr.netboot.dhcp_codec import UNSET, DhcpPacket, MessageType
from firmware_mgr.netboot.dhcp_reply import Destination
from firmware_mgr.netboot.relay import BROADCAST, RelayInfo, RelayPort, relay_info
from firmware_mgr.netboot.served import Lease, ServedCard, Subnet

from .rack import SERVER, card, packet

FAR = Subnet(IPv4Network("10.78.0.0/23"), IPv4Address("10.78.0.254"))
RELAY, OUTSIDE = IPv4Address("10.78.0.253"), IPv4Address("192.0.2.7")
BEHIND = replace(SERVER, subnets=(FAR,), relays=frozenset({OUTSIDE}))
CARD = card(address="10.78.1.13")
HIS = CARD.address.packed
VIA_RELAY = Arrival(2, RELAY, SERVER.address, 67)
NOW = 1_700_000_000


def sub(code: int, value: bytes) -> bytes:
    return bytes((code, len(value))) + value


def judge(sent: DhcpPacket, arrival: Arrival = VIA_RELAY, held: ServedCard = CARD, **more: Lease) -> Decision:
    return decide(sent, arrival, held, BEHIND, more.get("lease"), now=NOW)


def discover(giaddr: IPv4Address = RELAY, info: bytes = b"") -> DhcpPacket:
    return packet(MessageType.DISCOVER, giaddr=giaddr, options={82: info} if info else {})


def test_a_card_beyond_a_relay_gets_mask_and_router_of_its_own_subnet() -> None:
    reply = judge(discover())
    assert isinstance(reply, Reply)
    assert reply.to == Destination(RELAY, to_relay=True)
    assert reply.packet.yiaddr == CARD.address
    assert reply.packet.address(codec.OPT_NETMASK) == FAR.network.netmask
    assert reply.packet.address(codec.OPT_ROUTER) == FAR.router
    assert reply.packet.address(codec.OPT_SERVER_ID) == SERVER.address


def test_link_selection_goes_before_the_relays_address() -> None:
    for giaddr in (OUTSIDE, IPv4Address("10.77.0.200")):
        reply = judge(discover(giaddr, sub(1, b"port3") + sub(5, IPv4Address("10.78.0.1").packed)))
        assert isinstance(reply, Reply)
        assert reply.to == Destination(giaddr, to_relay=True)
        assert reply.packet.address(codec.OPT_NETMASK) == FAR.network.netmask
        assert list(reply.packet.options)[-1] == codec.OPT_RELAY_INFO


def test_a_server_identifier_override_is_ours_from_then_on() -> None:
    override = IPv4Address("10.78.0.253")
    info = sub(11, override.packed)
    offer = judge(discover(info=info))
    assert isinstance(offer, Reply)
    assert offer.packet.address(codec.OPT_SERVER_ID) == override
    for named in (override, SERVER.address):
        options = {54: named.packed, 50: HIS, 82: info}
        ack = judge(packet(MessageType.REQUEST, giaddr=RELAY, options=options))
        assert isinstance(ack, Reply)
        assert ack.message is MessageType.ACK
    bypassing = packet(MessageType.REQUEST, options={54: override.packed, 50: HIS})
    assert isinstance(judge(bypassing, Arrival(2, CARD.address, SERVER.address)), Ignored)
    release = packet(
        MessageType.RELEASE, ciaddr=CARD.address, giaddr=RELAY, options={54: override.packed, 82: info}
    )
    assert isinstance(judge(release), Recorded)


def test_a_renewal_that_bypasses_the_relay_is_answered_to_the_card_with_its_subnets_values() -> None:
    reply = judge(packet(MessageType.REQUEST, ciaddr=CARD.address), Arrival(2, CARD.address, SERVER.address))
    assert isinstance(reply, Reply)
    assert (reply.message, reply.to) == (MessageType.ACK, Destination(CARD.address))
    assert reply.packet.address(codec.OPT_ROUTER) == FAR.router


def test_a_wrong_renewal_from_beyond_a_router_is_not_refused_by_a_broadcast_here() -> None:
    wrong = IPv4Address("10.78.1.99")
    decision = judge(packet(MessageType.REQUEST, ciaddr=wrong), Arrival(2, wrong, SERVER.address))
    assert isinstance(decision, Ignored)


@pytest.mark.parametrize(
    "giaddr",
    [
        IPv4Address("198.51.100.1"),
        IPv4Address("10.77.0.255"),
        IPv4Address("10.78.0.0"),
        BROADCAST,
        IPv4Address("127.0.0.1"),
        SERVER.address,
    ],
)
def test_what_comes_by_a_relay_that_cannot_be_ours_is_not_answered(giaddr: IPv4Address) -> None:
    assert isinstance(judge(discover(giaddr)), Ignored)


def test_a_link_selection_outside_the_rack_is_not_answered() -> None:
    assert isinstance(judge(discover(info=sub(5, OUTSIDE.packed))), Ignored)


def test_a_direct_packet_from_outside_the_rack_is_not_answered() -> None:
    sent = packet(MessageType.DISCOVER)
    for source in (OUTSIDE, IPv4Address("198.51.100.1")):
        assert isinstance(judge(sent, Arrival(2, source, SERVER.address), card()), Ignored)
    assert isinstance(judge(sent, Arrival(2, UNSET, BROADCAST), card()), Reply)


def test_a_card_that_rebinds_with_the_address_of_another_network_is_told_at_once() -> None:
    foreign = IPv4Address("192.168.1.5")
    decision = judge(packet(MessageType.REQUEST, ciaddr=foreign), Arrival(2, foreign, BROADCAST), card())
    assert isinstance(decision, Reply)
    assert (decision.message, decision.to) == (MessageType.NAK, Destination(BROADCAST))


def test_a_relays_or_routers_address_is_never_offered() -> None:
    for address in (str(RELAY), str(FAR.router)):
        decision = judge(discover(), held=card(address=address))
        assert isinstance(decision, Ignored)
    on_own = judge(packet(MessageType.DISCOVER), Arrival(2, UNSET, BROADCAST), card(address="10.77.0.1"))
    assert isinstance(on_own, Ignored)


def test_all_sub_options_are_read() -> None:
    raw = (
        sub(1, b"eth0/3")
        + sub(2, b"\0sw1")
        + sub(5, RELAY.packed)
        + sub(6, b"row 7")
        + sub(11, OUTSIDE.packed)
    )
    assert relay_info(discover(info=raw)) == RelayInfo(
        RelayPort(b"\0sw1", b"eth0/3"), RELAY, b"row 7", OUTSIDE
    )


@pytest.mark.parametrize("raw", [b"\x01", b"\x01\x05abc", sub(5, b"abc"), sub(11, b""), b"\0\0", b""])
def test_what_is_wrong_in_option_82_is_not_there(raw: bytes) -> None:
    assert relay_info(discover(info=raw)) == RelayInfo()


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_a_port_as_text_is_read_back(remote: bytes, circuit: bytes) -> None:
    port = RelayPort(remote, circuit)
    assert str(port).isprintable()
    if remote or circuit:
        assert RelayPort.parse(str(port)) == port


@pytest.mark.parametrize("text", ["", "/", "a", "a/b/c", "0xzz/1", "é/1", "a/\x07"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a relay port"):
        RelayPort.parse(text)
