"""The DHCP server over real sockets: a card behind a relay on loopback, from DISCOVER to release."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import MacAddress, SlotId
from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.clock import SystemClock
from firmware_mgr.netboot.dhcp_codec import DhcpPacket, MessageType
from firmware_mgr.netboot.events import DhcpDecided, NetProtocol, PacketUnusable
from firmware_mgr.netboot.quarantine import Misfit
from firmware_mgr.netboot.served import Lease, LeaseState, MemoryDirectory, MemoryLeases, ServerIdentity
from firmware_mgr.netboot.servers import NetbootServers, Ports

from .conftest import DEADLINE, SERVER_ADDRESS, Journal, Rack
from .rack import MAC, card, packet

RELAY = IPv4Address("127.0.0.5")
HIS = IPv4Address("127.0.0.1")
CIRCUIT = b"\x01\x06port 3"


@pytest.fixture
def relay(rack: Rack, relay_socket: socket.socket) -> Relay:
    return Relay(rack, relay_socket)


class Relay:
    """A relay that adds its circuit to what the card says."""

    def __init__(self, rack: Rack, raw: socket.socket) -> None:
        self.port = rack.servers.ports.dhcp
        self.raw = raw

    def say(self, sent: DhcpPacket) -> None:
        options = {**sent.options, codec.OPT_RELAY_INFO: CIRCUIT}
        self.raw.sendto(
            codec.serialise(replace(sent, giaddr=RELAY, options=options)), ("127.0.0.1", self.port)
        )

    async def ask(self, sent: DhcpPacket) -> DhcpPacket:
        self.say(sent)
        async with asyncio.timeout(DEADLINE):
            data = await asyncio.get_running_loop().sock_recv(self.raw, 2048)
        answer = codec.parse(data)
        assert answer.options[codec.OPT_RELAY_INFO] == CIRCUIT
        return answer


def kind(answer: DhcpPacket) -> MessageType:
    return MessageType(answer.number(codec.OPT_MESSAGE_TYPE) or 0)


def chosen(offer: DhcpPacket) -> DhcpPacket:
    return packet(
        MessageType.REQUEST,
        options={
            codec.OPT_SERVER_ID: offer.options[codec.OPT_SERVER_ID],
            codec.OPT_REQUESTED_ADDRESS: offer.yiaddr.packed,
        },
    )


async def test_a_card_goes_from_discover_to_a_recorded_lease_and_back(rack: Rack, relay: Relay) -> None:
    offer = await relay.ask(packet(MessageType.DISCOVER))
    assert (kind(offer), offer.yiaddr) == (MessageType.OFFER, HIS)
    assert rack.leases.held() == ()
    assert kind(await relay.ask(chosen(offer))) is MessageType.ACK
    held = rack.leases.get(MAC)
    assert held is not None
    assert (held.address, held.state) == (HIS, LeaseState.BOUND)
    assert kind(await relay.ask(packet(MessageType.REQUEST, ciaddr=HIS))) is MessageType.ACK
    relay.say(packet(MessageType.RELEASE, ciaddr=HIS))
    await rack.journal.wait_until(lambda: len(rack.journal.of(DhcpDecided)) == 4)
    held = rack.leases.get(MAC)
    assert held is not None
    assert held.state is LeaseState.RELEASED
    assert [(event.message, event.decision) for event in rack.journal.of(DhcpDecided)] == [
        ("discover", "offer"),
        ("request", "ack"),
        ("request", "ack"),
        ("release", "recorded"),
    ]
    assert {event.slot for event in rack.journal.of(DhcpDecided)} == {SlotId(3)}


async def test_a_declined_address_is_reported_and_set_aside(rack: Rack, relay: Relay) -> None:
    await relay.ask(packet(MessageType.REQUEST, options={codec.OPT_REQUESTED_ADDRESS: HIS.packed}))
    relay.say(packet(MessageType.DECLINE, options={codec.OPT_REQUESTED_ADDRESS: HIS.packed}))
    relay.say(packet(MessageType.DISCOVER))
    await rack.journal.wait_until(lambda: len(rack.journal.of(DhcpDecided)) == 3)
    _, declined, discovered = rack.journal.of(DhcpDecided)
    assert (declined.decision, declined.address) == ("recorded", HIS)
    assert "in use by another machine" in declined.reason
    assert discovered.decision == "ignored"


async def test_a_stranger_and_noise_are_reported_and_not_answered(rack: Rack, relay: Relay) -> None:
    relay.raw.sendto(b"noise", ("127.0.0.1", relay.port))
    relay.raw.sendto(b"\1" * 9300, ("127.0.0.1", relay.port))
    relay.say(packet(MessageType.DISCOVER, mac=MacAddress("02:00:00:00:00:09")))
    relay.say(packet(None))
    answer = await relay.ask(packet(MessageType.DISCOVER))
    assert answer.chaddr == MAC.to_bytes()
    noise, long = rack.journal.of(PacketUnusable)
    assert noise.protocol is NetProtocol.DHCP
    assert "packet too long" in long.reason
    stranger, bootp, _ = rack.journal.of(DhcpDecided)
    assert (stranger.decision, stranger.slot) == ("ignored", None)
    assert stranger.misfit is Misfit.UNKNOWN
    port = "no slot is bound to relay port /0x706f72742033"
    assert stranger.reason.startswith(f"no card has MAC 02:00:00:00:00:09, {port}")
    assert (stranger.relay, stranger.port) == (RELAY, "/0x706f72742033")
    assert (bootp.message, bootp.decision) == ("bootp", "unusable")


async def test_a_renewal_is_answered_to_the_cards_own_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as raw:
        raw.bind((str(HIS), 0))
        async with servers(MemoryLeases(), Journal(), client_port=raw.getsockname()[1]) as running:
            renewal = codec.serialise(packet(MessageType.REQUEST, ciaddr=HIS))
            raw.sendto(renewal, ("127.0.0.1", running.ports.dhcp))
            async with asyncio.timeout(DEADLINE):
                answer = codec.parse(await asyncio.get_running_loop().sock_recv(raw, 2048))
    assert (kind(answer), answer.ciaddr) == (MessageType.ACK, HIS)


class FullLeases(MemoryLeases):
    """Leases on a disk without room."""

    async def keep(self, leases: Sequence[Lease]) -> None:
        raise DeviceError("no space left", where="catalogue")


async def test_what_cannot_be_recorded_is_not_acknowledged() -> None:
    journal = Journal()
    async with servers(FullLeases(), journal) as running:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
            request = packet(MessageType.REQUEST, options={codec.OPT_REQUESTED_ADDRESS: HIS.packed})
            raw.sendto(codec.serialise(request), ("127.0.0.1", running.ports.dhcp))
            await journal.wait_until(lambda: bool(journal.events))
    (event,) = journal.of(DhcpDecided)
    assert (event.decision, event.reason) == ("failed", "leases: catalogue: no space left")


async def test_a_port_in_use_is_named_and_nothing_stays_open() -> None:
    async with servers(MemoryLeases(), Journal()) as running:
        second = servers(MemoryLeases(), Journal(), http_port=running.ports.http)
        with pytest.raises(DeviceError, match=f"lo: cannot listen on TCP port {running.ports.http}"):
            await second.start()
        await second.stop()
        third = servers(MemoryLeases(), Journal(), dhcp_port=running.ports.dhcp)
        with pytest.raises(DeviceError, match=f"cannot listen on UDP port {running.ports.dhcp}"):
            await third.start()


def servers(
    leases: MemoryLeases, journal: Journal, *, client_port: int = 0, http_port: int = 0, dhcp_port: int = 0
) -> NetbootServers:
    return NetbootServers(
        MemoryDirectory([card(address=str(HIS))]),
        leases,
        ServerIdentity(SERVER_ADDRESS, IPv4Network("127.0.0.0/8")),
        interface="lo",
        clock=SystemClock(),
        on_event=journal.add,
        ports=Ports(dhcp_port, 0, http_port, client_port, boot_service=0),
    )
