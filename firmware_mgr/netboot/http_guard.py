"""Keeps clients of an HTTP server from holding it: bounded connections, and time in which a request is whole.

Knows connections and when a request is being served. Refuses to know what is asked. Also used by the master's
HTTPS ports.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HTTP_BACKLOG = 128
ACCEPT_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """`idle_seconds`: how long a connection may be without a whole request, at first and after each."""

    per_address: int = 16
    in_all: int = 512
    idle_seconds: float = 20.0


class HttpGuard:
    """Serves an application. `start`, then `stop`; `connections` counts those that are open (TLS: agreed)."""

    def __init__(
        self, app: web.Application, limits: HttpLimits = HttpLimits(), *, shutdown_seconds: float = 2.0
    ) -> None:
        self.limits = limits
        app.middlewares.append(self._watched())
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=shutdown_seconds, logger=_Quiet(log)
        )
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.BaseTransport, _Guarded] = {}
        self._of_address: Counter[str] = Counter()
        self._shaking: Counter[str] = Counter()
        self._tls: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        return len(self._open)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        listening = self._tls
        if listening is None:
            assert self._server is not None
            return int(self._server.sockets[0].getsockname()[1])
        return int(listening.getsockname()[1])

    async def start(self, listening: socket.socket) -> None:
        """Accept from a bound socket, which is closed by `stop`."""
        await self.set_up()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self.protocol, sock=listening, backlog=HTTP_BACKLOG)

    async def start_tls(self, listening: socket.socket, context: ssl.SSLContext) -> None:
        """Accept from a listening socket, which is closed by `stop`."""
        await self.set_up()
        listening.setblocking(False)
        self._tls = listening
        self._spawn(self._accept(listening, context))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket, context: ssl.SSLContext) -> None:
        """Who has not shown a certificate yet counts too: TLS takes a third of a MiB of each."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0)  # a connection that waits already is had without a turn of the loop
            try:
                connection, (address, *_) = await loop.sock_accept(listening)
            except OSError as e:
                log.warning("cannot accept a connection: %s", e)
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            if not self._has_room(address):
                connection.close()
                continue
            self._shaking[address] += 1
            self._spawn(self._shake_hands(connection, address, context))

    def _has_room(self, address: str) -> bool:
        in_all = len(self._open) + self._shaking.total()
        of_address = self._of_address[address] + self._shaking[address]
        return in_all < self.limits.in_all and of_address < self.limits.per_address

    async def _shake_hands(self, connection: socket.socket, address: str, context: ssl.SSLContext) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self.protocol, connection, ssl=context, ssl_handshake_timeout=self.limits.idle_seconds
            )
        except (OSError, TimeoutError) as e:
            # ssl.SSLError is an OSError.
            connection.close()
            log.debug("no TLS with %s: %s", address, e)
        finally:
            self._shaking[address] -= 1
            if not self._shaking[address]:
                del self._shaking[address]

    async def set_up(self) -> None:
        """What `start` does before it listens."""
        await self._runner.setup()

    def protocol(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        server = self._runner.server
        assert server is not None
        return _Guarded(self, server())

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._tls is not None:
            self._tls.close()
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()
        self._server = None

    def enter(self, guarded: _Guarded, transport: asyncio.BaseTransport, address: str) -> bool:
        """Whether the connection may stay; if so `leave` is due."""
        if len(self._open) >= self.limits.in_all or self._of_address[address] >= self.limits.per_address:
            return False
        self._open[transport] = guarded
        self._of_address[address] += 1
        return True

    def leave(self, transport: asyncio.BaseTransport, address: str) -> None:
        del self._open[transport]
        self._of_address[address] -= 1
        if not self._of_address[address]:
            del self._of_address[address]

    def _watched(self) -> Middleware:
        @web.middleware
        async def watched(request: web.Request, handler: Handler) -> web.StreamResponse:
            guarded = None if request.transport is None else self._open.get(request.transport)
            if guarded is None:
                return await handler(request)
            guarded.busy()
            try:
                return await handler(request)
            finally:
                guarded.idle()

        return watched


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """Nonsense from a client is the client's fault: it is answered 400, and does not fill the log.

    To an Expect that is not UTF-8 aiohttp 3.14 answers 500: it stumbles over the text of its own refusal.
    """

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if isinstance(kwargs.get("exc_info"), HttpProcessingError | web.RequestPayloadError | UnicodeError):
            level = logging.DEBUG
        super().log(level, msg, *args, **kwargs)


class _Guarded(asyncio.Protocol):
    """Stands before aiohttp's protocol of one connection."""

    def __init__(self, guard: HttpGuard, inner: asyncio.Protocol) -> None:
        self._guard = guard
        self._inner: asyncio.Protocol | None = inner
        self._transport: asyncio.BaseTransport | None = None
        self._address = ""
        self._loop: asyncio.AbstractEventLoop
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        if not self._guard.enter(self, transport, self._address):
            self._inner = None
            _abort(transport)
            return
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        assert self._inner is not None
        self._inner.connection_made(transport)
        self.idle()

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self.busy()
        if self._transport is not None:
            self._guard.leave(self._transport, self._address)
            self._transport = None
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def busy(self) -> None:
        """A request is being served: its handler has its own patience."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def idle(self) -> None:
        if self._transport is not None and self._timer is None:
            # Not the running loop: none runs when a handler that was never finished is thrown away.
            self._timer = self._loop.call_later(self._guard.limits.idle_seconds, _abort, self._transport)


def _abort(transport: asyncio.BaseTransport) -> None:
    assert isinstance(transport, asyncio.WriteTransport)
    transport.abort()
