"""UDP sockets as Linux gives them: bound to an interface, with each packet's addresses, with segmentation.

Knows socket options and their numbers. Refuses to know what is in the packets.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address
from struct import Struct
from typing import Protocol, Self

from firmware_mgr.model.errors import DeviceError

# Linux numbers that Python 3.11's socket module does not have: linux/in.h, linux/udp.h.
IP_PKTINFO = 8
IP_MTU = 14
SOL_UDP = 17
UDP_SEGMENT = 103
MAX_SEGMENTS = 64  # UDP_MAX_SEGMENTS of kernels before 6.9
MAX_DATAGRAM = 65507
RECEIVE_BYTES = 9216

_PKTINFO = Struct("=i4s4s")  # interface, address to answer from, address in the IP header
_SEGMENT = Struct("=H")


@dataclass(frozen=True, slots=True)
class Datagram:
    """A packet as it came. `local` is our address to answer from, `destination` the one in its IP header.

    They differ when it was broadcast. `whole` is False when it was longer than RECEIVE_BYTES.
    """

    data: bytes
    source: IPv4Address
    port: int
    interface: int
    local: IPv4Address
    destination: IPv4Address
    whole: bool

    @property
    def peer(self) -> str:
        return f"{self.source}:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port of a peer."""

    address: IPv4Address
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class PacketSocket:
    """A UDP socket that tells and chooses interface and local address of each packet. Never blocks."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw

    @classmethod
    def open(cls, port: int, device: str | None, *, broadcast: bool = False) -> Self:
        """On all addresses (or those of `device`). Raises DeviceError, also when another server has the port:
        without SO_REUSEADDR two servers cannot take each other's packets unnoticed."""
        raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            raw.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            if broadcast:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            bind_to_device(raw, device)
            raw.bind(("0.0.0.0", port))
        except OSError as e:
            raw.close()
            raise cannot_listen("UDP", port, device, e) from e
        return cls(raw)

    @property
    def port(self) -> int:
        return int(self._raw.getsockname()[1])

    def fileno(self) -> int:
        return self._raw.fileno()

    def close(self) -> None:
        self._raw.close()

    def receive(self) -> Datagram | None:
        """The next packet, or None when there is none now."""
        try:
            data, ancillary, flags, (address, port) = self._raw.recvmsg(
                RECEIVE_BYTES, socket.CMSG_SPACE(_PKTINFO.size)
            )
        except (BlockingIOError, ConnectionRefusedError):  # the latter: an ICMP answer to an earlier send
            return None
        interface, local, destination = 0, b"\0\0\0\0", b"\0\0\0\0"
        for level, kind, raw in ancillary:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                interface, local, destination = _PKTINFO.unpack(raw[: _PKTINFO.size])
        return Datagram(
            data,
            IPv4Address(address),
            port,
            interface,
            IPv4Address(local),
            IPv4Address(destination),
            not flags & socket.MSG_TRUNC,
        )

    def send(self, data: bytes, to: Endpoint, *, interface: int, local: IPv4Address) -> None:
        """Send from `local` over `interface` (0: as routed). Raises OSError."""
        info = _PKTINFO.pack(interface, local.packed, bytes(4))
        self._raw.sendmsg([data], [(socket.IPPROTO_IP, IP_PKTINFO, info)], 0, (str(to.address), to.port))


def connected_socket(local: IPv4Address, peer: Endpoint, device: str | None) -> socket.socket:
    """A socket of its own port for one peer; the kernel keeps other senders out. Raises OSError."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        bind_to_device(raw, device)
        raw.bind((str(local), 0))
        raw.connect((str(peer.address), peer.port))
    except OSError:
        raw.close()
        raise
    return raw


def bind_to_device(raw: socket.socket, device: str | None) -> None:
    if device is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")


def cannot_listen(kind: str, port: int, device: str | None, error: OSError) -> DeviceError:
    return DeviceError(
        f"cannot listen on {kind} port {port}",
        where=device or "all interfaces",
        found=error.strerror,
        hint="is another server running, and may this process use low ports?",
    )


class Network(Protocol):
    """Where the servers' sockets come from. A seam."""

    def packets(self, port: int, device: str | None, *, broadcast: bool = False) -> PacketSocket:
        """Raises DeviceError."""

    def connected(self, local: IPv4Address, peer: Endpoint, device: str | None) -> socket.socket:
        """Raises OSError."""

    def listening(self, address: IPv4Address, port: int, device: str | None) -> socket.socket:
        """A bound TCP socket. Raises DeviceError."""

    def segmentation(self) -> bool:
        """Whether one send may be cut into equal packets."""


class KernelNetwork:
    """See Network: this machine's."""

    def packets(self, port: int, device: str | None, *, broadcast: bool = False) -> PacketSocket:
        return PacketSocket.open(port, device, broadcast=broadcast)

    def connected(self, local: IPv4Address, peer: Endpoint, device: str | None) -> socket.socket:
        return connected_socket(local, peer, device)

    def listening(self, address: IPv4Address, port: int, device: str | None) -> socket.socket:
        raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bind_to_device(raw, device)
            raw.bind((str(address), port))
        except OSError as e:
            raw.close()
            raise cannot_listen("TCP", port, device, e) from e
        return raw

    def segmentation(self) -> bool:
        return has_segmentation()


def path_mtu(raw: socket.socket) -> int:
    """Bytes of an IP packet on the way to a connected socket's peer."""
    return raw.getsockopt(socket.IPPROTO_IP, IP_MTU)


def has_segmentation() -> bool:
    """Whether the kernel cuts one send into equal packets (UDP_SEGMENT, Linux 4.18)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        try:
            raw.setsockopt(SOL_UDP, UDP_SEGMENT, 0)
        except OSError:
            return False
    return True


def send_segments(raw: socket.socket, packets: memoryview, size: int) -> None:
    """Send packets of `size` bytes each (the last may be shorter) by one call. Raises OSError."""
    raw.sendmsg([packets], [(SOL_UDP, UDP_SEGMENT, _SEGMENT.pack(size))])
