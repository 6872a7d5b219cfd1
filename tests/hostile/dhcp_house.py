"""The DHCP server whole, on a wire in memory, and the rules that hold after every packet."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.dhcp_listener import DhcpListener
from firmware_mgr.netboot.dhcp_reply import BROADCAST
from firmware_mgr.netboot.events import NetbootEvent
from firmware_mgr.netboot.served import MemoryLeases, ServerIdentity

from .cards import directory
from .hand_loop import HandClock, HandLoop
from .memory_wire import Coming, MemoryWire, Sent

SERVER = ServerIdentity(
    IPv4Address("10.77.0.1"),
    IPv4Network("10.77.0.0/24"),
    domain="rack.example",
    router=IPv4Address("10.77.0.254"),
)
DHCP, RELAY, CLIENT, BOOT_SERVICE = 67, 67, 68, 4011
MAX_UDP = 1472  # bytes of payload in one Ethernet packet
MAX_TEXT = 600  # characters of a text in an event
PACKETS_KEPT = 8  # events that one packet may bring about


@dataclass(frozen=True, slots=True)
class Asked:
    """A packet from a hostile peer."""

    data: bytes
    source: IPv4Address = codec.UNSET
    port: int = CLIENT
    destination: IPv4Address = BROADCAST
    boot_service: bool = False


class DhcpHouse:
    """`ask` lays a packet in, checks what must hold, and gives what was answered."""

    def __init__(self, folder: Path) -> None:
        self.loop = HandLoop()
        self.wire = MemoryWire()
        self.events: list[NetbootEvent] = []
        self.directory = directory(folder)
        self.leases = MemoryLeases()
        self._ports = {}
        with self.loop.running():
            for number in (DHCP, BOOT_SERVICE):
                listener = DhcpListener(
                    self.wire.packets(number, None),
                    self.directory,
                    self.leases,
                    SERVER,
                    clock=HandClock(self.loop),
                    on_event=self.events.append,
                    relay_port=RELAY,
                    client_port=CLIENT,
                    boot_service=number == BOOT_SERVICE,
                )
                listener.start()
                self._ports[number] = self.wire.listeners[number]

    def ask(self, asked: Asked) -> list[Sent]:
        raw = self._ports[BOOT_SERVICE if asked.boot_service else DHCP]
        raw.coming.append(Coming(asked.data, asked.source, asked.port, SERVER.address, asked.destination))
        self.events.clear()
        with self.loop.running():
            self.loop.readable(raw.fileno())
        sent = self.wire.take_sent()
        self._check(asked, sent)
        return sent

    def _check(self, asked: Asked, sent: list[Sent]) -> None:
        assert len(sent) <= 1, f"{len(sent)} answers to one packet"
        assert 1 <= len(self.events) <= PACKETS_KEPT
        for event in self.events:
            for value in event.document().values():
                assert not isinstance(value, str) or (len(value) <= MAX_TEXT and value.isprintable()), event
        assert len(self.leases.held()) <= 3
        assert self.loop.timers == 0
        for answer in sent:
            self._check_answer(asked, answer)

    def _check_answer(self, asked: Asked, answer: Sent) -> None:
        request, reply = codec.parse(asked.data), codec.parse(answer.data)
        assert len(answer.data) <= MAX_UDP
        assert request.op is codec.Op.REQUEST and reply.op is codec.Op.REPLY
        assert (reply.xid, reply.chaddr) == (request.xid, request.chaddr)
        assert request.mac is not None
        card = self.directory.card_by_mac(request.mac)
        assert card is not None, "a stranger was answered"
        assert reply.yiaddr in (codec.UNSET, card.address), "another's address was given"
        assert card.address in SERVER.network
        if asked.boot_service:
            assert (answer.to.address, answer.to.port) == (asked.source, asked.port)
            assert asked.source == card.address
        elif request.giaddr != codec.UNSET:
            assert (answer.to.address, answer.to.port) == (request.giaddr, RELAY)
            assert request.giaddr != SERVER.address
            assert not request.giaddr.is_multicast and request.giaddr != BROADCAST
        else:
            assert answer.to.port == CLIENT
            assert answer.to.address in (BROADCAST, card.address), f"a third is answered: {answer.to}"
            assert answer.to.address != BROADCAST or answer.interface != 0


def asked_of(data: bytes) -> list[Asked]:
    """Packets out of a fuzzer's bytes: two bytes of length and one of circumstances before each."""
    packets, at = [], 0
    while at + 3 <= len(data) and len(packets) < 32:
        length, how = int.from_bytes(data[at : at + 2], "big"), data[at + 2]
        payload = data[at + 3 : at + 3 + length]
        source = IPv4Address(int(IPv4Address("10.77.0.8")) + (how & 7)) if how & 8 else IPv4Address(0)
        destination = SERVER.address if how & 16 else BROADCAST
        packets.append(Asked(payload, source, CLIENT + (how >> 6), destination, bool(how & 32)))
        at += 3 + length
    return packets


def play(house: DhcpHouse, data: bytes) -> None:
    """A fuzzer's bytes as a sequence of packets, a second apart."""
    for asked in asked_of(data):
        house.ask(asked)
        house.loop.advance(1.0)
