"""A wire in memory behind the servers' own socket code: packets are laid in, and what is sent is kept.

Stands in for sockets of the kernel (`recvmsg`, `sendmsg`, segmentation), so that the servers run whole.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import count
from typing import Any

from firmware_mgr.netboot import sockets
from firmware_mgr.netboot.sockets import Endpoint, PacketSocket

MTU = 1500
INTERFACE = 2


@dataclass(frozen=True, slots=True)
class Sent:
    """A packet that a server sent. `interface` is what it was bound to leave by, 0 when as routed."""

    port: int
    to: Endpoint
    data: bytes
    interface: int = 0


@dataclass(frozen=True, slots=True)
class Coming:
    """A packet for a listening port."""

    data: bytes
    source: IPv4Address
    port: int
    local: IPv4Address
    destination: IPv4Address


class ListeningRaw:
    """The kernel's side of a listening UDP socket."""

    def __init__(self, wire: MemoryWire, port: int) -> None:
        self._wire = wire
        self._port = port
        self._fd = next(wire.numbers)
        self.coming: deque[Coming] = deque()

    def fileno(self) -> int:
        return self._fd

    def getsockname(self) -> tuple[str, int]:
        return "0.0.0.0", self._port

    def close(self) -> None:
        self.coming.clear()

    def recvmsg(self, size: int, _: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, tuple[str, int]]:
        if not self.coming:
            raise BlockingIOError
        packet = self.coming.popleft()
        info = struct.pack("=i4s4s", INTERFACE, packet.local.packed, packet.destination.packed)
        flags = socket.MSG_TRUNC if len(packet.data) > size else 0
        ancillary = [(socket.IPPROTO_IP, sockets.IP_PKTINFO, info)]
        return packet.data[:size], ancillary, flags, (str(packet.source), packet.port)

    def sendmsg(self, parts: list[bytes], ancillary: list[tuple[int, int, bytes]], _: int, to: Any) -> None:
        interface = struct.unpack("=i4s4s", ancillary[0][2])[0]
        self._wire.carry(Sent(self._port, Endpoint(IPv4Address(to[0]), to[1]), b"".join(parts), interface))


class ConnectedRaw:
    """The kernel's side of a transfer's own socket: no packet of another sender gets in."""

    def __init__(self, wire: MemoryWire, peer: Endpoint) -> None:
        self._wire = wire
        self.peer = peer
        self.port = 32768 + next(wire.numbers) % 28000
        self._fd = next(wire.numbers)
        self.coming: deque[bytes] = deque()

    def fileno(self) -> int:
        return self._fd

    def __enter__(self) -> ConnectedRaw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._wire.transfers.pop(self._fd, None)

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (socket.IPPROTO_IP, sockets.IP_MTU)
        return MTU

    def recv(self, size: int) -> bytes:
        if not self.coming:
            raise BlockingIOError
        return self.coming.popleft()[:size]

    def send(self, data: bytes | memoryview) -> None:
        self._wire.carry(Sent(self.port, self.peer, bytes(data)))

    def sendmsg(self, parts: list[memoryview], ancillary: list[tuple[int, int, bytes]]) -> None:
        (size,) = struct.unpack("=H", ancillary[0][2])
        whole = b"".join(parts)
        assert len(whole) <= sockets.MAX_DATAGRAM and len(whole) <= size * sockets.MAX_SEGMENTS
        for start in range(0, len(whole), size):
            self.send(whole[start : start + size])


class MemoryWire:
    """Implements the servers' Network seam."""

    def __init__(self) -> None:
        self.numbers = count(1000)
        self.listeners: dict[int, ListeningRaw] = {}
        self.transfers: dict[int, ConnectedRaw] = {}
        self.sent: list[Sent] = []

    def carry(self, packet: Sent) -> None:
        self.sent.append(packet)

    def take_sent(self) -> list[Sent]:
        sent, self.sent = self.sent, []
        return sent

    def packets(self, port: int, device: str | None, *, broadcast: bool = False) -> PacketSocket:
        raw: Any = ListeningRaw(self, port)
        self.listeners[port] = raw
        return PacketSocket(raw)

    def connected(self, local: IPv4Address, peer: Endpoint, device: str | None) -> socket.socket:
        raw: Any = ConnectedRaw(self, peer)
        self.transfers[raw.fileno()] = raw
        return raw  # type: ignore[no-any-return]

    def listening(self, address: IPv4Address, port: int, device: str | None) -> socket.socket:
        raise AssertionError("no TCP on this wire")

    def segmentation(self) -> bool:
        return True
