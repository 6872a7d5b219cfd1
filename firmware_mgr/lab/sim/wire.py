"""The backplane in memory: hosts with addresses, datagrams, and streams that break as real ones do.

Stricter than a real network: a host sends from no address that it does not hold, and nothing reaches a
process that has ended. Knows bytes and their ways; refuses to know what they mean.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from firmware_mgr.lab.sim.faults import (
    LATE_SECONDS,
    REPEAT_SECONDS,
    SWAP_SECONDS,
    Fault,
    FaultPlan,
    Kind,
)
from firmware_mgr.lab.sim.loop import SimLoop
from firmware_mgr.lab.sim.process import PROCESS, SimProcess
from firmware_mgr.lab.sim.streams import End, Listening, SimServer, pair

BROADCAST = "255.255.255.255"
NO_ADDRESS = "0.0.0.0"
LOOPBACK = "127.0.0.1"
#: Seconds on the way: at least, and at most so much more.
LATENCY = 0.0002
JITTER = 0.0003
#: Nobody answers a connection to a host that is not there: Linux gives up resolving its address.
UNREACHABLE_SECONDS = 3.0


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@dataclass(eq=False)
class Host:
    """A machine on the backplane: powered or not, with the address it holds, or none."""

    name: str
    address: str | None = None
    powered: bool = True
    cut_off: bool = False  # the network does not reach it, and it does not know
    ports: dict[int, DatagramSocket] = field(default_factory=dict)
    listening: dict[int, Listening] = field(default_factory=dict)
    next_port: int = 32768

    def free_port(self) -> int:
        self.next_port = self.next_port + 1 if self.next_port < 60999 else 32768
        return self.next_port

    def holds(self, address: str) -> bool:
        return address in (LOOPBACK, self.address)


@dataclass(frozen=True, slots=True)
class Packet:
    """A datagram with the addresses of its IP header."""

    data: bytes
    source: str
    source_port: int
    destination: str
    port: int


class DatagramSocket:
    """A bound socket; `on_packet` is called in the context of who opened it. `peer` keeps all others out."""

    def __init__(
        self,
        wire: Wire,
        host: Host,
        port: int,
        on_packet: Callable[[Packet], None],
        peer: tuple[str, int] | None,
    ) -> None:
        self.wire = wire
        self.host = host
        self.port = port
        self.peer = peer
        self.on_packet = on_packet
        self.context = copy_context()
        self.process = PROCESS.get()
        self.closed = False
        self.on_refused: Callable[[], None] | None = None

    def send(self, data: bytes, source: str, to: tuple[str, int]) -> None:
        """Raises OSError for an address that the host does not hold."""
        if self.closed or (self.process is not None and self.process.dead):
            return
        if source != NO_ADDRESS and not self.host.holds(source):
            raise _error(errno.EADDRNOTAVAIL)
        if source == NO_ADDRESS and to[0] != BROADCAST:
            raise _error(errno.ENETUNREACH)
        self.wire.send(self.host, Packet(bytes(data), source, self.port, *to))

    def close(self) -> None:
        self.closed = True
        if self.host.ports.get(self.port) is self:
            del self.host.ports[self.port]


class Wire:
    """The backplane. `plan` says what goes wrong."""

    def __init__(self, loop: SimLoop, plan: FaultPlan | None = None) -> None:
        self.loop = loop
        self.plan = plan or FaultPlan()
        self.hosts: list[Host] = []
        self.paths: dict[str, Listening] = {}
        self.streams: set[End] = set()
        self.on_bytes: Callable[[str, str, int, int], None] = lambda *_: None
        self._held: dict[str, Callable[[], None]] = {}
        self._flows: dict[str, float] = {}
        loop.network = self

    def host(self, name: str, address: str | None = None) -> Host:
        host = Host(name, address)
        self.hosts.append(host)
        return host

    def here(self) -> Host:
        """The host of the process that runs now."""
        process = PROCESS.get()
        assert process is not None and isinstance(process.host, Host), "outside of every process"
        return process.host

    def at(self, address: str) -> Host | None:
        return next((host for host in self.hosts if host.address == address), None)

    def latency(self) -> float:
        return LATENCY + self.loop.rng.random() * JITTER

    # Datagrams.

    def open(
        self, host: Host, port: int, on_packet: Callable[[Packet], None], peer: tuple[str, int] | None = None
    ) -> DatagramSocket:
        """Raises OSError when the port is taken."""
        number = port or host.free_port()
        if number in host.ports:
            raise _error(errno.EADDRINUSE)
        opened = DatagramSocket(self, host, number, on_packet, peer)
        host.ports[number] = opened
        return opened

    def send(self, sender: Host, packet: Packet) -> None:
        flow = f"{sender.name}:{packet.source_port} > {packet.destination}:{packet.port}"
        fault = self.plan.next(Kind.DATAGRAM, flow, self.loop.time(), len(packet.data), str)
        if not sender.powered or sender.cut_off:
            return
        self._with_fault(fault, flow, lambda after: self._pass(after, flow, sender, packet))

    def _pass(self, after: float, flow: str, sender: Host, packet: Packet) -> None:
        """Those of one flow stay in order, as on a switched network, unless one is late."""
        at = self.loop.time() + after + self.latency()
        if not after:
            at = self._flows[flow] = max(at, self._flows.get(flow, 0.0))
        self.loop.call_at(at, self._arrive, sender, packet, context=Context())

    def _later(self, after: float, call: Callable[..., None], *args: Any) -> None:
        self.loop.call_later(after + self.latency(), call, *args, context=Context())

    def _with_fault(self, fault: Fault | None, flow: str, go: Callable[[float], None]) -> None:
        """Let a message go as its fate will have it, and the one before it that waits for it."""
        held = self._held.pop(flow, None)
        match fault:
            case Fault.LOSE:
                pass
            case Fault.DUPLICATE:
                go(0.0)
                go(0.0)
            case Fault.LATE:
                go(LATE_SECONDS)
            case Fault.REPEAT:
                go(0.0)
                go(REPEAT_SECONDS)
            case Fault.SWAP:
                self._held[flow] = lambda: go(2 * JITTER)
                self.loop.call_later(SWAP_SECONDS, self._let_go, flow, context=Context())
            case _:
                go(0.0)
        if held is not None:
            held()

    def _let_go(self, flow: str) -> None:
        held = self._held.pop(flow, None)
        if held is not None:
            held()

    def _arrive(self, sender: Host, packet: Packet) -> None:
        everybody = packet.destination == BROADCAST
        for host in self.hosts:
            if host is sender or not host.powered or host.cut_off:
                continue
            if not everybody and not host.holds(packet.destination):
                continue
            target = host.ports.get(packet.port)
            if target is None or (target.process is not None and target.process.dead):
                if not everybody:
                    self._unheard(sender, packet)
                continue
            if target.peer is not None and target.peer != (packet.source, packet.source_port):
                continue
            target.context.copy().run(target.on_packet, packet)

    def _unheard(self, sender: Host, packet: Packet) -> None:
        """Nobody listens there: the receiver's kernel says so (ICMP), and the sender's tells its socket."""
        source = sender.ports.get(packet.source_port)
        if source is None or source.peer != (packet.destination, packet.port):
            return
        if source.on_refused is not None:
            source.context.copy().run(source.on_refused)

    # Streams.

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        sock: Any = None,
        ssl: ssl.SSLContext | None = None,
        **_: Any,
    ) -> SimServer:
        """As the loop's own: `sock` may be a Unix socket, which then is known by its path."""
        if isinstance(sock, Listening):
            listening = sock
        elif sock is not None:
            assert sock.family == socket.AF_UNIX
            listening = Listening(self, None, sock.getsockname(), sock)
        else:
            listening = self.listen(str(host), int(port or 0))
        listening.serve(protocol_factory, ssl)
        return SimServer(listening)

    def listen(self, address: str, port: int) -> Listening:
        """Raises OSError when the address is not this host's, or the port is taken."""
        host = self.here()
        if address != NO_ADDRESS and not host.holds(address):
            raise _error(errno.EADDRNOTAVAIL)
        number = port or host.free_port()
        if number in host.listening:
            raise _error(errno.EADDRINUSE)
        return Listening(self, host, number)

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        local_addr: tuple[str, int] | None = None,
        **_: Any,
    ) -> tuple[Any, Any]:
        here = self.here()
        own = LOOPBACK if host == LOOPBACK else local_addr[0] if local_addr else here.address
        if own is None or not here.holds(own):
            raise _error(errno.EADDRNOTAVAIL)
        target = here if host == LOOPBACK else self.at(str(host))
        if target is None or not target.powered or self.is_split(here, target):
            await asyncio.sleep(UNREACHABLE_SECONDS)
            raise _error(errno.EHOSTUNREACH)
        await asyncio.sleep(2 * self.latency())
        listening = target.listening.get(int(port or 0))
        if listening is None or not listening.alive:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        names = (own, here.free_port()), (target.address or LOOPBACK, int(port or 0))
        client, server = pair(self, f"{here.name} > {target.name}:{port}", (here, target), names)
        client.tls_context, client.server_hostname = ssl, server_hostname
        client.ready = self.loop.create_future()
        listening.offer(server)
        try:
            await client.ready
        except BaseException:
            client.abort()
            raise
        return client.begin(protocol_factory())

    async def connect_path(self, protocol_factory: Callable[[], asyncio.BaseProtocol], path: str) -> Any:
        """To a Unix socket."""
        listening = self.paths.get(path)
        if listening is None or not listening.alive:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens there")
        client, server = pair(self, f"user > {path}", (None, None), (("", 0), (path, 0)))
        listening.offer(server)
        return client.begin(protocol_factory())

    async def connect_accepted(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: End,
        *,
        ssl: ssl.SSLContext | None = None,
        **_: Any,
    ) -> tuple[Any, Any]:
        await asyncio.sleep(2 * self.latency())
        sock.shake(ssl)
        return sock.begin(protocol_factory())

    # What befalls whole hosts and processes.

    def is_split(self, *hosts: Host | None) -> bool:
        return any(host is not None and host.cut_off for host in hosts)

    def split(self, host: Host, seconds: float) -> None:
        """The network does not reach this host for so long; streams stand still meanwhile."""
        host.cut_off = True
        self.loop.call_later(seconds, self._join, host, context=Context())

    def _join(self, host: Host) -> None:
        host.cut_off = False
        for end in list(self.streams):
            if host in (end.host, end.other.host):
                end.whole_again()

    def process_died(self, process: SimProcess, *, silent: bool) -> None:
        """Close what it had open. `silent`: its host has no power, so that nobody is told."""
        for end in [end for end in self.streams if end.process is process]:
            end.die(silent=silent)
        for host in self.hosts:
            for each in [each for each in host.ports.values() if each.process is process]:
                each.close()
            for server in [each for each in host.listening.values() if each.process is process]:
                server.close()
        for path in [path for path, server in self.paths.items() if server.process is process]:
            del self.paths[path]
