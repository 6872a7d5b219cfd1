"""The sockets that netboot's servers and blocking clients use, over the backplane in memory.

Knows the shape of the real ones. Refuses to know packets.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections import deque
from collections.abc import Sequence
from ipaddress import IPv4Address
from itertools import count
from typing import Any

from firmware_mgr.lab.sim.loop import wait_for
from firmware_mgr.lab.sim.streams import Listening
from firmware_mgr.lab.sim.wire import NO_ADDRESS, Packet, Wire
from firmware_mgr.link.messages import MASTER_NAME
from firmware_mgr.netboot.sockets import Datagram, Endpoint

#: Numbers of sockets begin here, where no file of the real system is.
FIRST_NUMBER = 1 << 24
ETHERNET_MTU = 1500
#: What the real servers' interface is called.
INTERFACE = 1
BLOCKING_SECONDS = 20.0

_numbers = count(FIRST_NUMBER)


class _Readable:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._number = next(_numbers)
        self._queue: deque[Packet] = deque()

    def fileno(self) -> int:
        return self._number

    def _came(self, packet: Packet) -> None:
        self._queue.append(packet)
        self._wire.loop.readable(self._number)


class SimPacketSocket(_Readable):
    """See netboot.sockets.PacketSocket."""

    def __init__(self, wire: Wire, port: int) -> None:
        super().__init__(wire)
        self._host = wire.here()
        self._socket = wire.open(self._host, port, self._came)
        self.port = self._socket.port

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> Datagram | None:
        if not self._queue:
            return None
        packet = self._queue.popleft()
        return Datagram(
            packet.data,
            IPv4Address(packet.source),
            packet.source_port,
            INTERFACE,
            IPv4Address(self._host.address or NO_ADDRESS),
            IPv4Address(packet.destination),
            True,
        )

    def send(self, data: bytes, to: Endpoint, *, interface: int, local: IPv4Address) -> None:
        source = str(local) if int(local) else self._host.address or NO_ADDRESS
        self._socket.send(data, source, (str(to.address), to.port))


class SimConnected(_Readable):
    """See netboot.sockets.connected_socket."""

    def __init__(self, wire: Wire, local: IPv4Address, peer: Endpoint) -> None:
        super().__init__(wire)
        self._refused = False
        self._source = str(local)
        self._to = (str(peer.address), peer.port)
        self._socket = wire.open(wire.here(), 0, self._came, peer=self._to)
        self._socket.on_refused = self._unheard

    def _unheard(self) -> None:
        self._refused = True
        self._wire.loop.readable(self._number)

    def _raise_refused(self) -> None:
        if self._refused:
            self._refused = False
            raise ConnectionRefusedError("Connection refused")

    def send(self, data: Any) -> int:
        self._raise_refused()
        self._socket.send(bytes(data), self._source, self._to)
        return len(data)

    def recv(self, size: int) -> bytes:
        self._raise_refused()
        if not self._queue:
            raise BlockingIOError
        return self._queue.popleft().data[:size]

    def sendmsg(self, parts: Sequence[Any], ancillary: Sequence[tuple[int, int, bytes]]) -> None:
        """With UDP_SEGMENT: cut into equal packets."""
        whole = b"".join(parts)
        size = int.from_bytes(ancillary[0][2], "little")
        for start in range(0, len(whole), size):
            self.send(whole[start : start + size])

    def getsockopt(self, *_: Any) -> int:
        return ETHERNET_MTU

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> SimConnected:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SimNetwork:
    """See netboot.sockets.Network."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def packets(self, port: int, device: str | None, *, broadcast: bool = False) -> SimPacketSocket:
        return SimPacketSocket(self._wire, port)

    def connected(self, local: IPv4Address, peer: Endpoint, device: str | None) -> SimConnected:
        return SimConnected(self._wire, local, peer)

    def listening(self, address: IPv4Address, port: int, device: str | None) -> Listening:
        return self._wire.listen(str(address), port)

    def segmentation(self) -> bool:
        return True


class BlockingStream:
    """What http.client needs of a socket, for work that the loop runs in a thread."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()

    def sendall(self, data: bytes) -> None:
        async def send() -> None:
            self._writer.write(data)
            await self._writer.drain()

        wait_for(send)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reading(self._reader))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._writer.close)


class _Reading(io.RawIOBase):
    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data: bytes = wait_for(lambda: asyncio.wait_for(self._reader.read(len(buffer)), BLOCKING_SECONDS))
        buffer[: len(data)] = data
        return len(data)


def dial(host: str, port: int, context: ssl.SSLContext, own_address: str | None = None) -> BlockingStream:
    """See card.https.Dial."""
    own = None if own_address is None else (own_address, 0)

    async def connect() -> BlockingStream:
        opening = asyncio.open_connection(
            host, port, ssl=context, server_hostname=MASTER_NAME, local_addr=own
        )
        return BlockingStream(*await asyncio.wait_for(opening, BLOCKING_SECONDS))

    stream: BlockingStream = wait_for(connect)
    return stream
