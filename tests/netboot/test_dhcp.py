from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.dhcp import (
    REQUEST_STATES,
    RULES,
    SET_ASIDE_SECONDS,
    Arrival,
    Decision,
    Ignored,
    Recorded,
    Reply,
    Unusable,
    decide,
)
from firmware_mgr.netboot.dhcp_codec import UNSET, DhcpPacket, MessageType, Op
from firmware_mgr.netboot.dhcp_reply import Destination
from firmware_mgr.netboot.quarantine import Misfit
from firmware_mgr.netboot.relay import BROADCAST
from firmware_mgr.netboot.served import Lease, LeaseState, ServerIdentity

from .rack import BROADCAST_ARRIVAL, MAC, SERVER, UNICAST_ARRIVAL, card, packet

CARD = card()
OURS = SERVER.address.packed
HIS = CARD.address.packed
OTHER = IPv4Address("10.77.0.99")
NOW = 1_700_000_000


def judge(
    sent: DhcpPacket,
    *,
    lease: Lease | None = None,
    arrival: Arrival = BROADCAST_ARRIVAL,
    server: ServerIdentity = SERVER,
    boot_file: str = CARD.boot_file,
) -> Decision:
    return decide(sent, arrival, replace(CARD, boot_file=boot_file), server, lease, now=NOW)


def reply_to(sent: DhcpPacket, **how: object) -> Reply:
    decision = judge(sent, **how)  # type: ignore[arg-type]
    assert isinstance(decision, Reply), decision
    assert len(codec.serialise(decision.packet, decision.limit)) <= decision.limit
    return decision


def selecting(**more: object) -> DhcpPacket:
    options = {codec.OPT_SERVER_ID: OURS, codec.OPT_REQUESTED_ADDRESS: HIS}
    return packet(MessageType.REQUEST, options=options, **more)  # type: ignore[arg-type]


def declined(seconds_left: int = 100) -> Lease:
    return Lease(CARD.address, MAC, b"", NOW + seconds_left, LeaseState.DECLINED)


def test_discover_is_offered_the_cards_own_address_and_boot_file() -> None:
    reply = reply_to(packet(MessageType.DISCOVER))
    offer = reply.packet
    assert reply.message is MessageType.OFFER
    assert (offer.op, offer.xid, offer.yiaddr) == (Op.REPLY, 0x26F30339, CARD.address)
    assert offer.siaddr == SERVER.address
    assert offer.file == b"boot.scr.uimg" == offer.options[codec.OPT_BOOT_FILE]
    assert offer.options[codec.OPT_TFTP_SERVER] == b"10.77.0.1"
    assert offer.options[codec.OPT_SERVER_ID] == OURS
    assert offer.options[codec.OPT_NETMASK] == bytes((255, 255, 255, 0))
    assert offer.options[codec.OPT_HOSTNAME] == b"slot3"
    assert codec.OPT_ROUTER not in offer.options
    assert reply.lease is None


def test_lease_times_are_half_and_seven_eighths() -> None:
    offer = reply_to(packet(MessageType.DISCOVER)).packet
    times = [offer.number(code) for code in (codec.OPT_LEASE_TIME, codec.OPT_T1, codec.OPT_T2)]
    assert times == [3600, 1800, 3150]


def test_router_and_domain_are_told_when_there_are_some() -> None:
    server = replace(SERVER, router=IPv4Address("10.77.0.254"), domain="rack.example")
    offer = reply_to(packet(MessageType.DISCOVER), server=server).packet
    assert offer.address(codec.OPT_ROUTER) == server.router
    assert offer.options[codec.OPT_DOMAIN] == b"rack.example"


def test_request_is_acknowledged_and_its_lease_is_to_be_recorded() -> None:
    reply = reply_to(selecting())
    assert reply.message is MessageType.ACK
    assert reply.packet.yiaddr == CARD.address
    assert reply.lease == Lease(CARD.address, MAC, b"", NOW + 3600, LeaseState.BOUND)


def test_request_for_another_server_is_ignored() -> None:
    options = {codec.OPT_SERVER_ID: OTHER.packed, codec.OPT_REQUESTED_ADDRESS: OTHER.packed}
    assert judge(packet(MessageType.REQUEST, options=options)) == Ignored("chose another server, 10.77.0.99")


@pytest.mark.parametrize(
    "sent",
    [
        packet(
            MessageType.REQUEST,
            options={codec.OPT_SERVER_ID: OURS, codec.OPT_REQUESTED_ADDRESS: OTHER.packed},
        ),
        packet(MessageType.REQUEST, options={codec.OPT_REQUESTED_ADDRESS: OTHER.packed}),
        packet(MessageType.REQUEST, ciaddr=OTHER),
    ],
    ids=["selecting", "init-reboot", "renewing"],
)
def test_request_for_another_address_gets_a_broadcast_nak(sent: DhcpPacket) -> None:
    reply = reply_to(sent)
    assert reply.message is MessageType.NAK
    assert reply.to == Destination(BROADCAST)
    nak = reply.packet
    assert (nak.ciaddr, nak.yiaddr, nak.siaddr, nak.file) == (UNSET, UNSET, UNSET, b"")
    assert set(nak.options) == {codec.OPT_MESSAGE_TYPE, codec.OPT_SERVER_ID, codec.OPT_MESSAGE}
    assert b"10.77.0.13" in nak.options[codec.OPT_MESSAGE]
    assert reply.lease is None


def test_init_reboot_with_the_right_address_is_acknowledged_without_a_record() -> None:
    reply = reply_to(packet(MessageType.REQUEST, options={codec.OPT_REQUESTED_ADDRESS: HIS}))
    assert (reply.message, reply.reason) == (MessageType.ACK, "init-reboot")


def test_renewal_is_answered_to_the_cards_address() -> None:
    reply = reply_to(packet(MessageType.REQUEST, ciaddr=CARD.address), arrival=UNICAST_ARRIVAL)
    assert (reply.message, reply.reason) == (MessageType.ACK, "renewing")
    assert reply.to == Destination(CARD.address)
    assert reply.packet.ciaddr == CARD.address


def test_rebinding_comes_by_broadcast_and_is_answered_the_same() -> None:
    reply = reply_to(packet(MessageType.REQUEST, ciaddr=CARD.address))
    assert (reply.message, reply.reason, reply.to) == (
        MessageType.ACK,
        "rebinding",
        Destination(CARD.address),
    )


def test_every_combination_of_a_request_is_decided() -> None:
    assert len(REQUEST_STATES) == 8
    for (server_id, requested, ciaddr), state in REQUEST_STATES.items():
        options = ({codec.OPT_SERVER_ID: OURS} if server_id else {}) | (
            {codec.OPT_REQUESTED_ADDRESS: HIS} if requested else {}
        )
        decision = judge(
            packet(MessageType.REQUEST, options=options, ciaddr=CARD.address if ciaddr else UNSET)
        )
        assert isinstance(decision, Unusable if isinstance(state, str) else Reply)


def test_request_for_two_addresses_is_unusable() -> None:
    sent = packet(
        MessageType.REQUEST, ciaddr=CARD.address, options={codec.OPT_REQUESTED_ADDRESS: OTHER.packed}
    )
    assert isinstance(judge(sent), Unusable)


def test_every_message_type_has_a_rule() -> None:
    assert set(RULES) == set(MessageType)


@pytest.mark.parametrize("message", [MessageType.OFFER, MessageType.ACK, MessageType.NAK])
def test_a_servers_message_from_a_client_is_unusable(message: MessageType) -> None:
    assert isinstance(judge(packet(message)), Unusable)


def test_a_servers_packet_is_ignored() -> None:
    assert isinstance(judge(replace(packet(MessageType.DISCOVER), op=Op.REPLY)), Ignored)


def test_bootp_without_message_type_is_unusable() -> None:
    assert isinstance(judge(packet(None)), Unusable)


def test_an_unknown_message_type_is_ignored() -> None:
    assert judge(packet(None, options={53: b"\x0d"})) == Ignored("message type 13 is not served")


def test_a_client_that_is_no_card_is_ignored_with_its_mac() -> None:
    sent = packet(MessageType.DISCOVER, mac=MacAddress("02:00:00:00:00:09"))
    decision = decide(sent, BROADCAST_ARRIVAL, None, SERVER, None, now=NOW)
    assert decision == Ignored("no card has MAC 02:00:00:00:00:09", Misfit.UNKNOWN)


def test_hardware_other_than_ethernet_is_ignored() -> None:
    assert isinstance(judge(replace(packet(MessageType.DISCOVER), htype=32)), Ignored)


def test_a_client_of_another_architecture_is_ignored_with_both_sides() -> None:
    decision = judge(packet(MessageType.DISCOVER, options={codec.OPT_CLIENT_ARCH: b"\x00\x07"}))
    reason = "slot 3 holds qemu-aarch64: client architecture (93) 7, expected 11, 22"
    nowhere = f"{reason}; no quarantine address is free in 10.77.0.0/24"
    assert decision == Ignored(nowhere, Misfit.WRONG_ARCHITECTURE)


def test_one_fitting_architecture_in_the_list_is_enough() -> None:
    reply_to(packet(MessageType.DISCOVER, options={codec.OPT_CLIENT_ARCH: b"\x00\x07\x00\x0b"}))


def test_a_card_outside_the_servers_network_is_ignored_and_said_so() -> None:
    server = ServerIdentity(IPv4Address("10.1.0.1"), IPv4Network("10.1.0.0/24"))
    decision = judge(packet(MessageType.DISCOVER), server=server)
    assert decision == Ignored("slot 3: address 10.77.0.13 is not in 10.1.0.0/24", Misfit.WRONG_SUBNET)


def test_decline_sets_the_address_aside_and_nothing_is_answered() -> None:
    options = {codec.OPT_SERVER_ID: OURS, codec.OPT_REQUESTED_ADDRESS: HIS}
    decision = judge(packet(MessageType.DECLINE, options=options), lease=bound(seconds_ago=2))
    assert isinstance(decision, Recorded)
    assert decision.lease == Lease(CARD.address, MAC, b"", NOW + SET_ASIDE_SECONDS, LeaseState.DECLINED)


def bound(seconds_ago: int) -> Lease:
    return Lease(CARD.address, MAC, b"", NOW - seconds_ago + SERVER.lease_seconds, LeaseState.BOUND)


@pytest.mark.parametrize(
    "lease", [None, bound(31), bound(-1), declined(), replace(bound(2), state=LeaseState.RELEASED)]
)
def test_a_decline_without_an_ack_just_before_it_is_not_believed(lease: Lease | None) -> None:
    decision = judge(packet(MessageType.DECLINE, options={codec.OPT_REQUESTED_ADDRESS: HIS}), lease=lease)
    assert isinstance(decision, Ignored)


def test_an_address_set_aside_is_neither_offered_nor_acknowledged() -> None:
    assert isinstance(judge(packet(MessageType.DISCOVER), lease=declined()), Ignored)
    assert reply_to(selecting(), lease=declined()).message is MessageType.NAK


def test_a_release_does_not_end_the_setting_aside() -> None:
    assert isinstance(judge(packet(MessageType.RELEASE, ciaddr=CARD.address), lease=declined()), Ignored)


def test_an_address_comes_back_when_its_time_aside_is_over() -> None:
    assert reply_to(packet(MessageType.DISCOVER), lease=declined(0)).message is MessageType.OFFER


def test_a_card_moved_to_another_address_is_not_held_by_the_old_one() -> None:
    old = replace(declined(), address=OTHER)
    assert reply_to(packet(MessageType.DISCOVER), lease=old).message is MessageType.OFFER


def test_decline_of_another_address_or_to_another_server_changes_nothing() -> None:
    assert isinstance(judge(packet(MessageType.DECLINE, options={50: OTHER.packed})), Ignored)
    assert isinstance(judge(packet(MessageType.DECLINE, options={50: HIS, 54: OTHER.packed})), Ignored)
    assert isinstance(judge(packet(MessageType.DECLINE)), Unusable)


def test_release_is_recorded() -> None:
    decision = judge(packet(MessageType.RELEASE, ciaddr=CARD.address, options={codec.OPT_SERVER_ID: OURS}))
    assert isinstance(decision, Recorded)
    assert (decision.lease.state, decision.lease.expires_at) == (LeaseState.RELEASED, NOW)


def test_release_of_another_address_or_to_another_server_changes_nothing() -> None:
    assert isinstance(judge(packet(MessageType.RELEASE, ciaddr=OTHER)), Ignored)
    assert isinstance(
        judge(packet(MessageType.RELEASE, ciaddr=CARD.address, options={54: OTHER.packed})), Ignored
    )


def test_inform_is_told_the_rest_without_address_and_times() -> None:
    reply = reply_to(packet(MessageType.INFORM, ciaddr=CARD.address), arrival=UNICAST_ARRIVAL)
    assert (reply.message, reply.to) == (MessageType.ACK, Destination(CARD.address))
    assert reply.packet.yiaddr == UNSET
    assert not {codec.OPT_LEASE_TIME, codec.OPT_T1, codec.OPT_T2} & set(reply.packet.options)
    assert reply.packet.options[codec.OPT_BOOT_FILE] == b"boot.scr.uimg"
    assert reply.lease is None
    assert isinstance(judge(packet(MessageType.INFORM)), Unusable)
    assert isinstance(judge(packet(MessageType.INFORM, ciaddr=OTHER)), Ignored)


def test_a_relay_gets_the_reply_with_its_circuit_echoed_last() -> None:
    relay = IPv4Address("10.77.0.200")
    sent = packet(MessageType.DISCOVER, giaddr=relay, options={82: b"\x01\x04port", 61: b"\x01card"})
    reply = reply_to(sent)
    assert reply.to == Destination(relay, to_relay=True)
    assert reply.packet.giaddr == relay
    assert list(reply.packet.options.items())[-1] == (82, b"\x01\x04port")


def test_option_82_of_a_switch_that_is_no_relay_is_echoed_too() -> None:
    reply = reply_to(packet(MessageType.DISCOVER, options={82: b"\x01\x01a"}))
    assert reply.packet.options[82] == b"\x01\x01a"
    assert reply.to == Destination(BROADCAST)


def test_a_ciaddr_that_is_not_the_cards_sends_nothing_there() -> None:
    assert reply_to(selecting(ciaddr=IPv4Address("10.77.0.50"))).to == Destination(BROADCAST)


def test_a_nak_through_a_relay_asks_it_to_broadcast() -> None:
    relay = IPv4Address("10.77.0.200")
    reply = reply_to(packet(MessageType.REQUEST, giaddr=relay, options={50: OTHER.packed}))
    assert reply.packet.broadcast
    assert reply.to == Destination(relay, to_relay=True)


def test_a_client_without_address_is_answered_by_broadcast_whatever_its_flag() -> None:
    for flags in (0, codec.FLAG_BROADCAST):
        reply = reply_to(packet(MessageType.DISCOVER, flags=flags))
        assert (reply.to, reply.packet.flags) == (Destination(BROADCAST), flags)


def test_the_client_identifier_is_echoed_and_recorded() -> None:
    sent = selecting()
    sent = replace(sent, options={**sent.options, codec.OPT_CLIENT_ID: b"\xffduid"})
    reply = reply_to(sent)
    assert reply.packet.options[codec.OPT_CLIENT_ID] == b"\xffduid"
    assert reply.lease is not None
    assert reply.lease.client_id == b"\xffduid"


@pytest.mark.parametrize(("said", "limit"), [(None, 548), (68, 548), (576, 548), (1000, 972), (9000, 1472)])
def test_the_reply_keeps_to_the_size_that_the_client_takes(said: int | None, limit: int) -> None:
    options = {} if said is None else {codec.OPT_MAX_SIZE: said.to_bytes(2, "big")}
    assert reply_to(packet(MessageType.DISCOVER, options=options)).limit == limit


def test_what_does_not_fit_is_left_out_in_the_stated_order() -> None:
    sent = packet(MessageType.DISCOVER, options={61: b"i" * 250, 82: b"r" * 250}, giaddr=OTHER)
    left = reply_to(sent, boot_file="b" * 120).packet.options
    assert codec.OPT_HOSTNAME not in left
    assert codec.OPT_CLIENT_ID in left
    assert {codec.OPT_SERVER_ID, codec.OPT_LEASE_TIME, codec.OPT_NETMASK} <= set(left)


def test_a_boot_file_too_long_for_its_field_goes_into_option_67_only() -> None:
    offer = reply_to(packet(MessageType.DISCOVER), boot_file="b" * 200).packet
    assert (offer.file, offer.options[codec.OPT_BOOT_FILE]) == (b"", b"b" * 200)


@given(
    st.sampled_from(list(MessageType)),
    st.dictionaries(
        st.integers(1, 254).filter(lambda c: c not in codec.FIXED_LENGTHS), st.binary(max_size=300)
    ),
    st.sampled_from([UNSET, CARD.address, OTHER]),
    st.sampled_from([UNSET, OTHER]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=255),
)
@settings(max_examples=200)
def test_every_reply_fits_and_can_be_read_again(
    message: MessageType, options: dict[int, bytes], ciaddr: IPv4Address, giaddr: IPv4Address, boot_file: str
) -> None:
    sent = packet(message, options=options, ciaddr=ciaddr, giaddr=giaddr)
    decision = judge(sent, boot_file=boot_file)
    if isinstance(decision, Reply):
        raw = codec.serialise(decision.packet, decision.limit)
        assert len(raw) <= decision.limit
        assert codec.parse(raw).options == decision.packet.options
