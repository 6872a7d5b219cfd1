"""The DHCP listener over real sockets: leases before replies, packets in order, floods and strangers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.clock import SystemClock
from firmware_mgr.netboot.dhcp_codec import DhcpPacket, MessageType
from firmware_mgr.netboot.dhcp_listener import ALL_STRANGERS_ANSWERS, STRANGER_ANSWERS, WAITING_PACKETS
from firmware_mgr.netboot.events import DhcpDecided
from firmware_mgr.netboot.quarantine import Misfit
from firmware_mgr.netboot.served import Lease, LeaseState, MemoryDirectory, MemoryLeases, ServerIdentity
from firmware_mgr.netboot.servers import NetbootServers, Ports

from .conftest import DEADLINE, SERVER_ADDRESS, Journal
from .rack import card, packet

RELAY = IPv4Address("127.0.0.5")
LENT = tuple(IPv4Address(f"127.0.0.{n}") for n in range(212, 252))
CARDS = [card(slot=n, address=f"127.0.1.{n}", mac=MacAddress(f"52:54:00:00:00:{n:02x}")) for n in (1, 2, 3)]
LOADER = {60: b"PXEClient:Arch:00011:UNDI:003000", 93: b"\0\x0b"}


class SlowLeases(MemoryLeases):
    """Its disk takes until `disk` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = asyncio.Event()
        self.disk.set()
        self.calls: list[int] = []

    async def keep(self, leases: Sequence[Lease]) -> None:
        self.calls.append(len(leases))
        await self.disk.wait()
        await super().keep(leases)


@dataclass
class House:
    raw: socket.socket
    port: int
    leases: SlowLeases
    journal: Journal

    def say(self, sent: DhcpPacket) -> None:
        self.raw.sendto(codec.serialise(replace(sent, giaddr=RELAY)), (str(SERVER_ADDRESS), self.port))

    async def hear(self) -> DhcpPacket:
        async with asyncio.timeout(DEADLINE):
            return codec.parse(await asyncio.get_running_loop().sock_recv(self.raw, 2048))

    def heard(self) -> int:
        """How many answers lie in the relay's socket."""
        count = 0
        while True:
            try:
                self.raw.recv(2048)
            except BlockingIOError:
                return count
            count += 1

    async def wait_decided(self, count: int) -> list[DhcpDecided]:
        await self.journal.wait_until(lambda: len(self.journal.of(DhcpDecided)) >= count)
        return self.journal.of(DhcpDecided)


@pytest.fixture
async def house(relay_socket: socket.socket, relay_port: int) -> AsyncIterator[House]:
    leases, journal, directory = SlowLeases(), Journal(), MemoryDirectory(CARDS)
    directory.bind(CARDS[2], b"sw1", b"eth3")
    relay_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    servers = NetbootServers(
        directory,
        leases,
        ServerIdentity(SERVER_ADDRESS, IPv4Network("127.0.0.0/8"), quarantine=LENT),
        interface="lo",
        clock=SystemClock(),
        on_event=journal.add,
        ports=Ports(0, 0, 0, dhcp_client=0, dhcp_relay=relay_port, boot_service=0),
    )
    async with servers:
        yield House(relay_socket, servers.ports.dhcp, leases, journal)


def request(number: int) -> DhcpPacket:
    held = CARDS[number]
    assert held.mac is not None
    return packet(MessageType.REQUEST, mac=held.mac, options={50: held.address.packed})


async def test_no_reply_leaves_before_its_lease_is_kept_and_later_leases_go_together(house: House) -> None:
    house.leases.disk.clear()
    house.say(request(0))
    async with asyncio.timeout(DEADLINE):
        while not house.leases.calls:
            await asyncio.sleep(0)
    house.say(request(1))
    house.say(request(2))
    house.say(packet(MessageType.DISCOVER, mac=CARDS[0].mac or MacAddress("02:00:00:00:00:01")))
    for _ in range(50):
        await asyncio.sleep(0)
    assert house.heard() == 0
    house.leases.disk.set()
    kinds = [(await house.hear()).number(53) for _ in range(4)]
    assert kinds == [MessageType.ACK, MessageType.ACK, MessageType.ACK, MessageType.OFFER]
    assert house.leases.calls == [1, 2]
    assert len(house.leases.held()) == 3


async def test_a_release_right_behind_its_request_is_the_last_word(house: House) -> None:
    mac = CARDS[0].mac
    assert mac is not None
    house.leases.disk.clear()
    house.say(request(0))
    house.say(packet(MessageType.RELEASE, mac=mac, ciaddr=CARDS[0].address))
    house.leases.disk.set()
    await house.wait_decided(2)
    held = house.leases.get(mac)
    assert held is not None
    assert held.state is LeaseState.RELEASED


async def test_packets_wait_for_the_disk_in_bounded_number(house: House) -> None:
    house.leases.disk.clear()
    house.say(request(0))
    async with asyncio.timeout(DEADLINE):
        while not house.leases.calls:
            await asyncio.sleep(0)
    for _ in range(WAITING_PACKETS + 20):
        house.say(request(1))
        await asyncio.sleep(0)
    dropped = await house.wait_decided(20)
    assert all("are waiting already" in event.reason for event in dropped)
    house.leases.disk.set()
    await house.wait_decided(WAITING_PACKETS + 21)


async def test_a_stranger_is_lent_an_address_and_a_flood_is_not_answered_each_time(
    house: House,
) -> None:
    stranger = MacAddress("02:00:00:00:00:01")
    house.say(packet(MessageType.DISCOVER, mac=stranger, options=LOADER))
    offer = await house.hear()
    assert offer.yiaddr in LENT
    options = {**LOADER, 54: offer.options[54], 50: offer.yiaddr.packed}
    house.say(packet(MessageType.REQUEST, mac=stranger, options=options))
    ack = await house.hear()
    assert (ack.number(53), ack.yiaddr, ack.file) == (MessageType.ACK, offer.yiaddr, b"")
    assert house.leases.held() == ()
    since = asyncio.get_running_loop().time()
    for n in range(200):
        mac = MacAddress.from_bytes(b"\x02\0\0\1" + n.to_bytes(2, "big"))
        house.say(packet(MessageType.DISCOVER, mac=mac, options=LOADER))
        await asyncio.sleep(0)
    decided = await house.wait_decided(202)
    took = asyncio.get_running_loop().time() - since
    assert {event.misfit for event in decided} == {Misfit.UNKNOWN}
    answered = [event for event in decided if event.decision in ("offer", "ack")]
    assert len(answered) <= ALL_STRANGERS_ANSWERS[1] + took * ALL_STRANGERS_ANSWERS[0] + 1
    assert len({event.address for event in answered}) == len(answered) - 1
    assert house.heard() == len(answered) - 2


async def test_one_stranger_that_asks_without_end_is_answered_now_and_then(house: House) -> None:
    since = asyncio.get_running_loop().time()
    for _ in range(40):
        house.say(packet(MessageType.DISCOVER, mac=MacAddress("02:00:00:00:00:01"), options=LOADER))
        await asyncio.sleep(0)
    decided = await house.wait_decided(40)
    took = asyncio.get_running_loop().time() - since
    offers = sum(event.decision == "offer" for event in decided)
    assert offers <= STRANGER_ANSWERS[1] + took * STRANGER_ANSWERS[0] + 1
    refused = [event for event in decided if event.decision == "ignored"]
    assert all(event.reason.endswith("asks too often to be answered each time") for event in refused)
    assert offers + len(refused) == 40


async def test_the_slot_of_a_bound_relay_port_goes_before_that_of_the_mac(house: House) -> None:
    port = b"\x02\x03sw1\x01\x04eth3"
    for mac in (MacAddress("02:00:00:00:00:01"), CARDS[0].mac):
        assert mac is not None
        house.say(packet(MessageType.DISCOVER, mac=mac, options={82: port}))
        offer = await house.hear()
        assert offer.yiaddr == CARDS[2].address
        assert offer.options[82] == port
    for event in house.journal.of(DhcpDecided):
        assert (event.slot, event.relay, event.port) == (CARDS[2].slot, RELAY, "sw1/eth3")
