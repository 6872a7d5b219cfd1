"""Accepts the cards' links: TLS, the session's table, and a queue to write to. A shell.

Knows connections and who is at the other end (its certificate), not what is to be said to it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from firmware_mgr.link import messages as m
from firmware_mgr.link.session import Session, SessionState
from firmware_mgr.link.transport import LinkStream
from firmware_mgr.master.trust import certificate_identity
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import SlotId

log = logging.getLogger(__name__)

PING_SECONDS = 8.0
#: Nothing heard from a card for so long means that its link is dead.
SILENCE_SECONDS = 25.0
HANDSHAKE_SECONDS = 30.0
#: A card that connects and says nothing is dropped after this.
HELLO_SECONDS = 30.0
#: A card has one link, and for a moment the one before it.
MAX_LINKS_PER_ADDRESS = 4
ACCEPT_PAUSE_SECONDS = 0.5


@dataclass(eq=False)
class Link:
    """One card's link. `slot` and `fingerprint` come from the certificate, not from what the card says."""

    address: str
    slot: SlotId
    fingerprint: str
    session: Session
    _stream: LinkStream
    _out: asyncio.Queue[m.FromMaster | None] = field(default_factory=asyncio.Queue)

    def send(self, message: m.FromMaster) -> None:
        """Queue a message; the table of the session is checked here, at the caller.

        On a link that has ended, of which the master has yet to hear, it is lost as on the way.
        """
        if self.session.state is SessionState.CLOSED:
            return
        self.session.master_said(message)
        self._out.put_nowait(message)

    def drop(self) -> None:
        self._out.put_nowait(None)

    async def pump(self) -> None:
        while (message := await self._out.get()) is not None:
            await self._stream.send(message, self.session.version)
            if self.session.state is SessionState.CLOSED:
                break
        await self._stream.close()


class LinkEvents(Protocol):
    """What the master does about links."""

    def refused(self, address: str, error: PeerError) -> None:
        """Somebody could not be let in: no certificate, a foreign one, or nonsense."""

    async def greeted(self, link: Link, hello: m.Hello) -> None:
        """The first message; the answer (Welcome or Refused) is due."""

    async def reported(self, link: Link, message: m.FromCard) -> None: ...

    async def lost(self, link: Link) -> None: ...


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening socket of this machine. Raises OSError."""
    return socket.create_server((host, port), backlog=1024)


class LinkServer:
    """`listen` opens the socket that is accepted from."""

    def __init__(
        self,
        events: LinkEvents,
        context: ssl.SSLContext,
        host: str,
        port: int = m.LINK_PORT,
        listen: Callable[[str, int], socket.socket] = listen_tcp,
    ) -> None:
        self._events = events
        self._context = context
        self._host = host
        self._port = port
        self._listen = listen
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: Counter[str] = Counter()
        self._accepting: asyncio.Task[None] | None = None
        self._listening: socket.socket | None = None

    @property
    def port(self) -> int:
        assert self._listening is not None
        return int(self._listening.getsockname()[1])

    async def start(self) -> None:
        listening = self._listen(self._host, self._port)
        listening.setblocking(False)
        self._listening = listening
        self._accepting = asyncio.create_task(self._accept(listening))

    async def stop(self) -> None:
        tasks = [*self._tasks, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # A connection that waits already is had without a turn of the loop: who floods us takes them all.
            await asyncio.sleep(0)
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as e:
                # No file descriptor left, or the peer gone already: neither may end the service.
                log.warning("cannot accept a link: %s", e)
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            host = str(address[0])
            if self._open[host] >= MAX_LINKS_PER_ADDRESS:
                connection.close()
                continue
            self._open[host] += 1
            self._spawn(self._counted(connection, host))

    async def _counted(self, connection: socket.socket, host: str) -> None:
        try:
            await self._serve(connection, host)
        finally:
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket, address: str) -> None:
        connection.setblocking(False)
        # Keep-alive notices a card whose power was cut: it cannot say farewell.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        except (OSError, TimeoutError) as e:
            # ssl.SSLError is an OSError.
            connection.close()
            self._events.refused(address, _handshake_error(address, e))
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            slot, fingerprint = certificate_identity(writer.get_extra_info("ssl_object"))
        except PeerError as e:
            self._events.refused(address, e)
            writer.transport.abort()
            return
        link = Link(address, slot, fingerprint, Session(f"slot {slot}"), LinkStream(reader, writer))
        await self._converse(link)

    async def _converse(self, link: Link) -> None:
        pump = asyncio.create_task(link.pump())
        known = False
        try:
            hello = await self._next(link, HELLO_SECONDS)
            if isinstance(hello, m.Hello):
                known = True
                await self._events.greeted(link, hello)
            while link.session.state is not SessionState.CLOSED and not pump.done():
                message = await self._next(link, SILENCE_SECONDS)
                if message is None:
                    break
                await self._events.reported(link, message)
        except PeerError as e:
            self._events.refused(link.address, e)
        except OSError as e:
            log.info("slot %s: link ended: %s", link.slot, e)
        finally:
            await self._end(link, pump)
            if known:
                await self._events.lost(link)

    async def _next(self, link: Link, patience: float) -> m.FromCard | None:
        """The card's next message, None when it has closed. Raises PeerError, or OSError on silence."""
        receiving = asyncio.ensure_future(link._stream.receive())
        waited = 0.0
        try:
            while not receiving.done():
                step = min(PING_SECONDS, patience - waited)
                await asyncio.wait({receiving}, timeout=step)
                if receiving.done():
                    break
                waited += step
                if waited >= patience:
                    raise ConnectionResetError(f"nothing heard for {patience:g} s")
                if link.session.state is SessionState.OPEN:
                    link.send(m.Ping())
            document = receiving.result()
        finally:
            receiving.cancel()
        if document is None:
            return None
        message = m.read_from_card(document)
        link.session.card_said(message)
        return message

    async def _end(self, link: Link, pump: asyncio.Task[None]) -> None:
        if link.session.state is SessionState.CLOSED and not pump.done():
            # A refusal is on its way out: give it time to arrive.
            await asyncio.wait({pump}, timeout=2.0)
        link.session.close()
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        link._stream.abort()


def _handshake_error(address: str, error: BaseException) -> PeerError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return PeerError(
            "card certificate refused",
            where=f"link from {address}",
            expected="a certificate of this site's authority",
            found=error.verify_message,
            hint="the card was provisioned by another master; burn-all renews its key",
        )
    found = str(error) or type(error).__name__
    return PeerError("TLS handshake failed", where=f"link from {address}", expected="TLS 1.3", found=found)
