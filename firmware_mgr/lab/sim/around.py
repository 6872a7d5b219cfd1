"""Where a simulated card sits: its jack, uplink and services, over the backplane in memory.

Knows how the card's seams meet the wire. Refuses to know cards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from firmware_mgr.card.uplink import TlsUplink, Uplink
from firmware_mgr.lab.sim.loop import pause
from firmware_mgr.lab.sim.netclient import Came, Jack, Socket
from firmware_mgr.lab.sim.process import SimProcess
from firmware_mgr.lab.sim.sockets import dial
from firmware_mgr.lab.sim.streams import Listening
from firmware_mgr.lab.sim.wire import Host, Packet, Wire


class WireSocket:
    """See netclient.Socket."""

    def __init__(self, wire: Wire, host: Host, port: int, address: str) -> None:
        self._address = address
        self._came: asyncio.Queue[Packet] = asyncio.Queue()
        self._socket = wire.open(host, port, self._came.put_nowait)

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        self._socket.send(data, self._address, to)

    async def receive(self) -> Came:
        packet = await self._came.get()
        return Came(packet.data, packet.source, packet.source_port)

    def close(self) -> None:
        self._socket.close()


class WireJack:
    """See netclient.Jack."""

    def __init__(self, wire: Wire, host: Host) -> None:
        self._wire = wire
        self._host = host

    def open(self, port: int, address: str) -> Socket:
        return WireSocket(self._wire, self._host, port, address)

    def hold(self, address: str | None) -> None:
        holder = None if address is None else self._wire.at(address)
        assert holder in (None, self._host), f"{address} is {holder.name if holder else ''}'s"
        self._host.address = address


class WireAround:
    """See card.Around."""

    def __init__(self, wire: Wire, host: Host) -> None:
        self._wire = wire
        self._host = host

    def jack(self) -> Jack:
        return WireJack(self._wire, self._host)

    def uplink(self, authority: Path) -> Uplink:
        return TlsUplink(authority, bind=True, dial=dial, pause=pause)

    def serve(self, port: int, page: str) -> Callable[[], None]:
        listening = Listening(self._wire, self._host, port)
        listening.serve(lambda: PageProtocol(page), None)
        return listening.close

    async def answers(self, port: int) -> bool:
        listening = self._host.listening.get(port)
        return listening is not None and listening.alive

    def ended(self, process: SimProcess, *, silent: bool) -> None:
        self._wire.process_died(process, silent=silent)
        self._wire.loop.end_jobs(process)
        self._wire.loop.dead.append(process)


class PageProtocol(asyncio.Protocol):
    """Answers every request with one page, and closes."""

    def __init__(self, page: str) -> None:
        self._page = page
        self._got = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        if b"\r\n\r\n" in self._got and self._transport is not None:
            body = self._page.encode()
            head = f"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
            self._transport.write(head.encode() + body)
            self._transport.close()
