"""The DHCP server whole, on a wire in memory, and the rules that hold after every packet."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.dhcp_listener import DhcpListener
from firmware_mgr.netboot.events import DhcpDecided, NetbootEvent
from firmware_mgr.netboot.quarantine import LEASE_SECONDS
from firmware_mgr.netboot.relay import BROADCAST, RelayPort, relay_info
from firmware_mgr.netboot.served import MemoryLeases, ServedCard, ServerIdentity, Subnet

from .cards import ADDRESSES, directory
from .hand_loop import HandClock, HandLoop
from .memory_wire import Coming, MemoryWire, Sent

QUARANTINE = tuple(IPv4Address(f"10.77.0.{n}") for n in range(200, 204))
FAR_QUARANTINE = (IPv4Address("10.78.0.200"), IPv4Address("10.78.0.201"))
RELAYS = frozenset({IPv4Address("203.0.113.1")})
SERVER = ServerIdentity(
    IPv4Address("10.77.0.1"),
    IPv4Network("10.77.0.0/24"),
    domain="rack.example",
    router=IPv4Address("10.77.0.254"),
    quarantine=QUARANTINE,
    relays=RELAYS,
    subnets=(Subnet(IPv4Network("10.78.0.0/24"), IPv4Address("10.78.0.254"), FAR_QUARANTINE),),
)
PORT = RelayPort(b"switch 1", b"eth7")
DHCP, RELAY, CLIENT, BOOT_SERVICE = 67, 67, 68, 4011
MAX_UDP = 1472  # bytes of payload in one Ethernet packet
MAX_TEXT = 600  # characters of a text in an event
MACS_KEPT = 4200  # entries in tables: limits by MAC (twice 1024 a port), loans, leases
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
        self._listeners = []
        self._lent: dict[IPv4Address, tuple[MacAddress, float]] = {}
        bound = self.directory.card_by_address(ADDRESSES[1])
        assert bound is not None
        self.directory.bind(bound, PORT.remote_id, PORT.circuit_id)
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
                self._listeners.append(listener)
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

    @property
    def held(self) -> int:
        """Entries of all tables that a sender can make longer."""
        kept = len(self.leases.held())
        for listener in self._listeners:
            kept += len(listener._waiting) + len(listener._cards) + len(listener._strangers)
            kept += len(listener._pool._loans) + len(listener._pool._skipped)
        return kept

    def _check(self, asked: Asked, sent: list[Sent]) -> None:
        assert len(sent) <= 1, f"{len(sent)} answers to one packet"
        assert 1 <= len(self.events) <= PACKETS_KEPT
        for event in self.events:
            if isinstance(event, DhcpDecided) and event.port:
                assert str(RelayPort.parse(event.port)) == event.port, "what is shown cannot be bound"
            if isinstance(event, DhcpDecided) and event.vendor_class:
                self._pasted(event.vendor_class)
            for value in event.document().values():
                assert not isinstance(value, str) or (len(value) <= MAX_TEXT and value.isprintable()), event
        assert self.held <= MACS_KEPT
        assert self.loop.timers == 0
        for answer in sent:
            self._check_answer(asked, answer)

    def _pasted(self, text: str) -> None:
        """Somebody takes the wrong column for a relay port."""
        try:
            RelayPort.parse(text)
        except UsageError:
            pass

    def _check_answer(self, asked: Asked, answer: Sent) -> None:
        request, reply = codec.parse(asked.data), codec.parse(answer.data)
        assert len(answer.data) <= MAX_UDP
        assert request.op is codec.Op.REQUEST and reply.op is codec.Op.REPLY
        assert (reply.xid, reply.chaddr) == (request.xid, request.chaddr)
        assert request.mac is not None
        card = self._card_of(request)
        own = () if card is None else (card.address,)
        assert card is not None or reply.yiaddr in (codec.UNSET, *QUARANTINE, *FAR_QUARANTINE)
        if reply.yiaddr in (*QUARANTINE, *FAR_QUARANTINE):
            self._check_loan(request.mac, reply)
        else:
            assert reply.yiaddr in (codec.UNSET, *own), "another's address was given"
        if asked.boot_service:
            assert (answer.to.address, answer.to.port) == (asked.source, asked.port)
            assert asked.source in own
        elif request.giaddr != codec.UNSET:
            assert (answer.to.address, answer.to.port) == (request.giaddr, RELAY)
            assert request.giaddr != SERVER.address
            assert request.giaddr in RELAYS or SERVER.subnet_of(request.giaddr) is not None
            assert reply.options.get(codec.OPT_RELAY_INFO) in (
                request.options.get(codec.OPT_RELAY_INFO),
                None,
            )
        else:
            assert answer.to.port == CLIENT
            assert answer.to.address in (BROADCAST, *own, reply.yiaddr), f"a third is answered: {answer.to}"
            assert answer.to.address != BROADCAST or answer.interface != 0

    def _card_of(self, request: codec.DhcpPacket) -> ServedCard | None:
        assert request.mac is not None
        port = relay_info(request).port if request.giaddr != codec.UNSET else None
        bound = None if port is None else self.directory.card_by_port(port.remote_id, port.circuit_id)
        return bound or self.directory.card_by_mac(request.mac)

    def _check_loan(self, mac: MacAddress, reply: codec.DhcpPacket) -> None:
        """What is lent is one client's at a time, and it has nothing to boot."""
        assert not reply.file and codec.OPT_BOOT_FILE not in reply.options
        if reply.number(codec.OPT_MESSAGE_TYPE) != codec.MessageType.ACK:
            return
        holder, until = self._lent.get(reply.yiaddr, (mac, 0.0))
        assert holder == mac or until <= self.loop.now, "an address was lent twice"
        self._lent[reply.yiaddr] = (mac, self.loop.now + LEASE_SECONDS)


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
