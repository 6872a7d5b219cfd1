"""Streams of the backplane in memory: listening, TLS with the real contexts, order, breaking as TCP breaks.

Knows bytes on their way and both ends' kernels. Refuses to know what they mean.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from firmware_mgr.lab.sim.faults import LATE_SECONDS, Fault, Kind
from firmware_mgr.lab.sim.process import PROCESS
from firmware_mgr.lab.sim.tls import TlsEnd, shake_hands
from firmware_mgr.link.frames import FrameReader
from firmware_mgr.link.messages import LINK_PORT
from firmware_mgr.model.errors import PeerError

if TYPE_CHECKING:
    from firmware_mgr.lab.sim.wire import Host, Wire

#: After the last bytes of a stream that is cut.
CUT_SECONDS = 0.0006


class Listening:
    """A listening socket."""

    family = socket.AF_INET

    def __init__(self, wire: Wire, host: Host | None, name: Any, raw: socket.socket | None = None) -> None:
        self.wire = wire
        self.host = host
        self.name = name
        self.process = PROCESS.get()
        self.context = copy_context()
        self.closed = False
        self._raw = raw
        self._factory: Callable[[], asyncio.BaseProtocol] | None = None
        self._ssl: ssl.SSLContext | None = None
        self._queue: asyncio.Queue[End] = asyncio.Queue()
        if host is not None:
            host.listening[name] = self
        else:
            wire.paths[name] = self

    @property
    def alive(self) -> bool:
        return not self.closed and (self.process is None or not self.process.dead)

    def serve(self, factory: Callable[[], asyncio.BaseProtocol], context: ssl.SSLContext | None) -> None:
        self._factory, self._ssl = factory, context

    def offer(self, end: End) -> None:
        """A connection comes in."""
        end.process = self.process
        end.context = self.context
        if self._factory is None:
            self._queue.put_nowait(end)
            return
        try:
            end.shake(self._ssl)
        except OSError:
            return
        end.context.copy().run(end.begin, self._factory())

    async def accept_next(self) -> tuple[End, tuple[str, int]]:
        end = await self._queue.get()
        return end, end.peername

    # As a socket.

    def getsockname(self) -> Any:
        return (self.host.address, self.name) if self.host is not None else self.name

    def setblocking(self, _flag: bool) -> None:
        pass

    def close(self) -> None:
        self.closed = True
        if self.host is not None and self.host.listening.get(self.name) is self:
            del self.host.listening[self.name]
        elif self.host is None and self.wire.paths.get(self.name) is self:
            del self.wire.paths[self.name]
        if self._raw is not None:
            self._raw.close()


class SimServer(asyncio.AbstractServer):
    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        self.sockets = (listening,)

    def close(self) -> None:
        self._listening.close()

    async def wait_closed(self) -> None:
        pass

    async def start_serving(self) -> None:
        pass

    async def serve_forever(self) -> None:
        raise NotImplementedError

    def is_serving(self) -> bool:
        return not self._listening.closed

    def get_loop(self) -> Any:
        return self._listening.wire.loop


def pair(
    wire: Wire,
    flow: str,
    hosts: tuple[Host | None, Host | None],
    names: tuple[tuple[str, int], tuple[str, int]],
) -> tuple[End, End]:
    """Both ends of a new stream, the client's first."""
    client = End(wire, flow, hosts[0], sockname=names[0], peername=names[1])
    server = End(wire, flow + " back", hosts[1], sockname=names[1], peername=names[0])
    client.other, server.other = server, client
    return client, server


class End(asyncio.Transport):
    """One end of a stream, as its process sees it: a socket while it is accepted, then a transport."""

    def __init__(self, wire: Wire, flow: str, host: Host | None, *, sockname: Any, peername: Any) -> None:
        super().__init__()
        self.wire = wire
        self.flow = flow
        self.host = host
        self.sockname = sockname
        self.peername = peername
        self.framed = LINK_PORT in (sockname[1], peername[1])
        self.process = PROCESS.get()
        self.context = copy_context()
        self.other: End
        self.tls: TlsEnd | None = None
        self.tls_context: ssl.SSLContext | None = None
        self.server_hostname: str | None = None
        self.ready: asyncio.Future[None] | None = None
        self.protocol: Any = None
        self.gone = False  # nothing more comes or goes here
        self.silent = False  # its host lost power: the other end is not told
        self._closing = False
        self._paused = False
        self._pending: deque[Callable[[], None]] = deque()
        self._stuck: deque[bytes] = deque()
        self._clear_at = 0.0
        self._broken: ssl.SSLError | None = None
        wire.streams.add(self)

    # Setting up.

    def shake(self, context: ssl.SSLContext | None) -> None:
        """As the server: TLS, if any, with what the client brought. Raises OSError."""
        client = self.other
        if client.gone:
            raise ConnectionResetError("the client has gone")
        if (context is None) != (client.tls_context is None):
            client.fail(ConnectionResetError("the other end does not speak TLS"))
            raise ssl.SSLError(1, "the other end does not speak TLS")
        if context is None or client.tls_context is None:
            client.answered(None)
            return
        client.tls = TlsEnd(client.tls_context, client.server_hostname, server=False)
        self.tls = TlsEnd(context, None, server=True)
        client_error, server_error = shake_hands(client.tls, self.tls)
        client.answered(client_error)
        if server_error is not None:
            client._broken = server_error
            self.gone = True
            self.wire.streams.discard(self)
            self.wire.loop.call_later(self.wire.latency(), client._read_alert, context=client.context)
            raise server_error

    def answered(self, error: BaseException | None) -> None:
        if self.ready is not None and not self.ready.done():
            if error is None:
                self.ready.set_result(None)
            else:
                self.ready.set_exception(error)

    def fail(self, error: OSError) -> None:
        self.answered(error)

    def _read_alert(self) -> None:
        """The server did not take our certificate: the first thing that is read is its alert."""
        error: Exception = ConnectionResetError("Connection reset by peer")
        if self.tls is not None:
            try:
                self.tls.read()
            except ssl.SSLError as e:
                error = e
        self._lost(error)

    def begin(self, protocol: Any) -> tuple[End, Any]:
        self.protocol = protocol
        self.process = PROCESS.get() or self.process
        self.context = copy_context()
        protocol.connection_made(self)
        return self, protocol

    # Sending.

    def write(self, data: Any) -> None:
        if not data or self.gone or self._closing or (self.process is not None and self.process.dead):
            return
        self._send(bytes(data))

    def writelines(self, parts: Any) -> None:
        self.write(b"".join(parts))

    def _send(self, data: bytes) -> None:
        wire = self.wire
        if self.host is None:
            self._on_the_way(0.0, lambda: self.other._received(data))
            return
        framed = self.framed
        kind = Kind.FRAME if framed else Kind.CHUNK
        at = wire.loop.time()
        fault = wire.plan.next(kind, self.flow, at, len(data), lambda: _label(data) if framed else "")
        if not self.host.powered:
            return
        if framed or fault is None:
            wire._with_fault(fault, self.flow, lambda after: self._go(after, data))
        elif fault is Fault.LATE:
            self._clear_at = wire.loop.time() + LATE_SECONDS
            self._go(0.0, data)
        else:
            if fault is not Fault.LOSE:
                self._go(0.0, data)
            self._on_the_way(CUT_SECONDS, self._cut)

    def _go(self, after: float, data: bytes) -> None:
        """A late frame of the link is overtaken by others; TCP would not do that, which makes it stricter."""
        if after:
            self.wire._later(after, self._hand_over, data)
        else:
            self._on_the_way(0.0, lambda: self._hand_over(data))

    def _on_the_way(self, after: float, arrive: Callable[[], None]) -> None:
        """In order, as TCP does."""
        loop = self.wire.loop
        self._clear_at = max(self._clear_at, loop.time() + after + self.wire.latency())
        loop.call_at(self._clear_at, arrive, context=Context())

    def _hand_over(self, data: bytes) -> None:
        other = self.other
        if other.host is not None and not other.host.powered:
            return
        if self._stuck or self.wire.is_split(self.host, other.host):
            self._stuck.append(data)  # sent again and again until the network is whole
            return
        if self.host is not None and other.host is not None:
            self.wire.on_bytes(self.host.name, other.host.name, self.sockname[1], len(data))
        if other.gone:
            if not self.gone:
                # The kernel there knows no such stream: its host started anew, or its process is gone.
                self._on_the_way(0.0, lambda: self._lost(ConnectionResetError("Connection reset by peer")))
            return
        if self.tls is not None and other.tls is not None:
            other.tls.feed(self.tls.write(data))
            data = other.tls.read()
        other._received(data)

    def whole_again(self) -> None:
        """The network is whole: what could not go goes."""
        stuck, self._stuck = self._stuck, deque()
        for data in stuck:
            self._hand_over(data)

    def _cut(self) -> None:
        """The stream breaks for both ends."""
        for end in (self, self.other):
            end._lost(ConnectionResetError("Connection reset by peer"))

    # Receiving.

    def _received(self, data: bytes) -> None:
        self._deliver(lambda: self.protocol.data_received(data))

    def _deliver(self, call: Callable[[], None]) -> None:
        if self.gone or (self.process is not None and self.process.dead):
            return
        if self._paused or self.protocol is None:
            self._pending.append(call)
        else:
            self.context.copy().run(call)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self.wire.loop.call_soon(self._drain, context=self.context)

    def is_reading(self) -> bool:
        return not self._paused

    def _drain(self) -> None:
        while self._pending and not self._paused and not self.gone:
            self.context.copy().run(self._pending.popleft())

    # Ending.

    def close(self) -> None:
        if self._closing or self.gone:
            return
        self._closing = True
        self._on_the_way(0.0, self._say_farewell)
        self.wire.loop.call_soon(self._lost, None, context=self.context)

    def _say_farewell(self) -> None:
        other = self.other
        if other.host is not None and (not other.host.powered or other.host.cut_off):
            return
        other.answered(ConnectionResetError("Connection reset by peer"))
        other._deliver(other._ended)

    def _ended(self) -> None:
        """The other end has closed."""
        if self.protocol is None:
            self.gone = True
            return
        self.protocol.eof_received()
        self.close()

    def abort(self) -> None:
        if not self.gone:
            self._on_the_way(0.0, self._reset_other)
            self._lost(None)

    def _reset_other(self) -> None:
        other = self.other
        if other.host is not None and (not other.host.powered or other.host.cut_off):
            return
        other.answered(ConnectionResetError("Connection reset by peer"))
        other._lost(ConnectionResetError("Connection reset by peer"))

    def _lost(self, error: Exception | None) -> None:
        if self.gone:
            return
        self.gone = True
        self.wire.streams.discard(self)
        if self.protocol is not None and not (self.process is not None and self.process.dead):
            self.wire.loop.call_soon(self.protocol.connection_lost, error, context=self.context)

    def die(self, *, silent: bool) -> None:
        """Its process was killed: the kernel closes for it, unless the power is gone too."""
        self.silent = silent
        self.gone = True
        self.wire.streams.discard(self)
        if not silent and not (self.host is not None and self.host.cut_off):
            self._on_the_way(0.0, self._reset_other)

    # As a socket, and as a transport.

    def setblocking(self, _flag: bool) -> None:
        pass

    def setsockopt(self, *_: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return self._closing or self.gone

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object" and self.tls is not None:
            return self.tls.object
        return {"peername": self.peername, "sockname": self.sockname}.get(name, default)

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False


def _label(frame: bytes) -> str:
    """The type of the message in a frame of the link."""
    reader = FrameReader()
    reader.feed(frame)
    try:
        return str((reader.next_document() or {}).get("type", ""))
    except PeerError:
        return "not a frame"
