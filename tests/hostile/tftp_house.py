"""The TFTP server whole, on a wire in memory, and the rules that hold after every packet."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from firmware_mgr.netboot import tftp_codec as codec
from firmware_mgr.netboot.bounds import IN_ALL, PER_CARD, TransferBounds
from firmware_mgr.netboot.events import NetbootEvent
from firmware_mgr.netboot.sockets import Endpoint
from firmware_mgr.netboot.tftp_engine import TftpEngine
from firmware_mgr.netboot.tftp_frames import FramePool
from firmware_mgr.netboot.tftp_listener import TftpListener
from firmware_mgr.netboot.tftp_terms import MAX_WINDOW

from .cards import ADDRESSES, OUTSIDE, directory
from .dhcp_house import MAX_TEXT, SERVER
from .hand_loop import HandClock, HandLoop
from .memory_wire import Coming, ConnectedRaw, MemoryWire, Sent

TFTP = 69
#: Bytes that a first packet may bring: one block of 512 with its header, or an OACK; nobody has answered yet.
MAX_FIRST = 4 + 512
POOL = 4 << 20
SOURCES = (*ADDRESSES[:2], OUTSIDE, IPv4Address("203.0.113.9"), IPv4Address("255.255.255.255"))


@dataclass(frozen=True, slots=True)
class Asked:
    """A packet for port 69, or (`transfer`) for the port of the n-th transfer that runs, or time passing."""

    data: bytes
    source: IPv4Address = ADDRESSES[0]
    port: int = 2000
    broadcast: bool = False
    transfer: int | None = None
    seconds: float = 0.0


class TftpHouse:
    def __init__(self, folder: Path) -> None:
        self.loop = HandLoop()
        self.wire = MemoryWire()
        self.events: list[NetbootEvent] = []
        self.bounds = TransferBounds()
        self.pool = FramePool(POOL)
        with self.loop.running():
            self.engine = TftpEngine(
                self.pool, self.bounds, HandClock(self.loop), self.events.append, network=self.wire
            )
            cards = directory(folder)
            self._listener = TftpListener(
                self.wire.packets(TFTP, None),
                self.engine,
                cards,
                self.events.append,
                identity=SERVER,
                clock=HandClock(self.loop),
            )
            self._listener.start()
        self._raw = self.wire.listeners[TFTP]
        card = cards.card_by_address(ADDRESSES[0])
        assert card is not None
        self.blobs = card.files

    def ask(self, asked: Asked) -> list[Sent]:
        self.events.clear()
        with self.loop.running():
            if asked.transfer is not None:
                sent = self._to_transfer(asked.transfer, asked.data)
            else:
                sent = self._to_port(asked)
            self._check_state()
            if asked.seconds:
                self.loop.advance(asked.seconds)
                later = self.wire.take_sent()
                assert len(later) <= (1 + int(asked.seconds)) * PER_CARD * len(SOURCES) * MAX_WINDOW
                self._check_state()
        return sent

    def _to_port(self, asked: Asked) -> list[Sent]:
        destination = IPv4Address("255.255.255.255") if asked.broadcast else SERVER.address
        self._raw.coming.append(Coming(asked.data, asked.source, asked.port, SERVER.address, destination))
        self.loop.readable(self._raw.fileno())
        sent = self.wire.take_sent()
        peer = Endpoint(asked.source, asked.port)
        assert len(sent) <= 1, f"{len(sent)} answers to one request"
        for answer in sent:
            assert answer.to == peer and not asked.broadcast and answer.port != TFTP
            assert len(answer.data) <= MAX_FIRST
            codec.parse(answer.data)
        return sent

    def _to_transfer(self, number: int, data: bytes) -> list[Sent]:
        running = list(self.wire.transfers.values())
        if not running:
            return []
        raw: ConnectedRaw = running[number % len(running)]
        raw.coming.append(data)
        self.loop.readable(raw.fileno())
        sent = self.wire.take_sent()
        assert len(sent) <= MAX_WINDOW and all(answer.to == raw.peer for answer in sent)
        return sent

    def _check_state(self) -> None:
        assert self.engine.running == len(self.wire.transfers) == self.bounds.running <= IN_ALL
        slots = [running.wanted.slot for running in self.engine._running.values()]
        assert all(slots.count(slot) <= PER_CARD for slot in set(slots))
        assert len(self.engine._heap) <= 65 + 2 * self.engine.running
        assert self.loop.timers <= 1
        assert set(self.loop.readers) == {self._raw.fileno(), *self.wire.transfers}
        assert set(self.loop.writers) <= set(self.wire.transfers)
        for event in self.events:
            for value in event.document().values():
                assert not isinstance(value, str) or (len(value) <= MAX_TEXT and value.isprintable()), event

    def stop(self) -> None:
        """Nothing may be left of it."""
        with self.loop.running():
            self._listener.stop()
            self.loop.run_ready()
        assert not self.wire.transfers and self.bounds.running == 0 and not self.loop.timers


def asked_of(data: bytes) -> list[Asked]:
    """Packets out of a fuzzer's bytes: two bytes of length and two of circumstances before each."""
    packets, at = [], 0
    while at + 4 <= len(data) and len(packets) < 48:
        length, how, more = int.from_bytes(data[at : at + 2], "big"), data[at + 2], data[at + 3]
        payload = data[at + 4 : at + 4 + length]
        packets.append(
            Asked(
                payload,
                SOURCES[(how & 7) % len(SOURCES)],
                2000 + (more & 3),
                broadcast=how & 24 == 24,
                transfer=more & 7 if how & 32 else None,
                seconds=(more >> 4) * 2.0 if how & 64 else 0.0,
            )
        )
        at += 4 + length
    return packets


def play(house: TftpHouse, data: bytes) -> None:
    for asked in asked_of(data):
        house.ask(asked)
