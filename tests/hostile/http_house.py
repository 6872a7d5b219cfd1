"""The master's HTTP servers whole, over transports in memory, and the rules that hold for any bytes.

Three applications: netboot's files, enrolment, bulk. TLS is left out: what is tested is who has passed it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import Any

from aiohttp import web

from firmware_mgr.master.https import HttpsServer, bulk_app, enrolment_app
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import Digest
from firmware_mgr.netboot.bounds import TransferBounds
from firmware_mgr.netboot.clock import SystemClock
from firmware_mgr.netboot.events import NetbootEvent, TransferEnded, TransferStarted
from firmware_mgr.netboot.http import NetbootHttp
from firmware_mgr.netboot.http_guard import HttpGuard

from .cards import FILES, blobs, directory
from .dhcp_house import MAX_TEXT

STATUS = re.compile(rb"HTTP/[0-9]\.[0-9] ([0-9]{3}) ")
#: What may be answered. 500 would be an exception that nobody foresaw.
STATUSES = {100, 200, 206, 400, 403, 404, 405, 408, 411, 413, 415, 416, 417, 421, 431, 501, 503}
#: Where aiohttp itself answers 500: it cannot encode its refusal of such a header.
STUMBLES = re.compile(rb"\nexpect:[^\r\n]*[\x80-\xff]", re.I)
APPLICATIONS = ("netboot", "enrol", "bulk")
PATIENCE = 0.004  # seconds of each handler


class AtOnce(ThreadPoolExecutor):
    """Does the work where it stands, so that every run is the same."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Exception as e:
            future.set_exception(e)
        return future


class Fate(Enum):
    """What becomes of a client while it is answered."""

    TAKES = "takes everything"
    STALLS = "takes nothing more"
    DIES = "is gone after the first bytes"


class MemoryTransport(asyncio.Transport):
    """What a client takes of what is written; it goes the way of its fate."""

    def __init__(self, address: str, protocol: asyncio.Protocol, fate: Fate) -> None:
        super().__init__({"peername": (address, 40000), "sockname": ("10.77.0.1", 80)})
        self.out = bytearray()
        self.closing = False
        self.lost = False
        self.paused = False
        self._protocol = protocol
        self._fate = fate

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.closing:
            return
        self.out += data
        if self._fate is Fate.STALLS and len(self.out) == len(data):
            self._protocol.pause_writing()
        elif self._fate is Fate.DIES:
            self.lose()

    def lose(self) -> None:
        if not self.lost:
            self.lost = self.closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_reading(self) -> bool:
        return not self.paused


class HttpHouse:
    """Use `play`; each call is one connection, from its first byte to its end."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(AtOnce())
        self.troubles: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.troubles.append(context))
        self.events: list[NetbootEvent] = []
        self.bounds = TransferBounds()
        self.enrolled = 0
        self.served = 0
        files = blobs(folder)
        self.paths = {blob.digest: blob.path for blob in files.values()}
        netboot = NetbootHttp(
            directory(folder), self.bounds, SystemClock(), self.events.append, stall_seconds=PATIENCE
        )
        apps: dict[str, web.Application] = {
            "netboot": netboot.application(),
            "enrol": enrolment_app(self._enrol, PATIENCE),
            "bulk": bulk_app(self.paths.get, self._served, PATIENCE),
        }
        no_tls: ssl.SSLContext = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._guards = {"netboot": HttpGuard(apps["netboot"])}
        for name in ("enrol", "bulk"):
            self._guards[name] = HttpsServer(apps[name], no_tls, "10.77.0.1", 0)._guard
        for guard in self._guards.values():
            self.loop.run_until_complete(guard.set_up())

    async def _enrol(self, address: str, document: dict[str, Any]) -> str:
        self.enrolled += 1
        if document.get("slot") != "1":
            raise PeerError("no", where=address, found=document.get("slot"))
        return "certificate"

    def _served(self, address: str, count: int) -> None:
        self.served += count

    def play(
        self, name: str, chunks: list[bytes], address: str = "10.77.0.11", fate: Fate = Fate.TAKES
    ) -> bytes:
        """What was answered to these bytes; the client's end closes after the last."""
        return self.loop.run_until_complete(self._play(self._guards[name], chunks, address, fate))

    async def _play(self, guard: HttpGuard, chunks: list[bytes], address: str, fate: Fate) -> bytes:
        self.events.clear()
        self.troubles.clear()
        protocol = guard.protocol()
        transport = MemoryTransport(address, protocol, fate)
        protocol.connection_made(transport)
        for chunk in chunks:
            if not transport.closing:
                protocol.data_received(chunk)
            await self._quiet(transport)
        if fate is Fate.STALLS or guard is self._guards["enrol"]:
            await asyncio.sleep(1.5 * PATIENCE)  # the server's patience is over, not the test's
        if not transport.closing and not protocol.eof_received():
            transport.close()
        await self._quiet(transport)
        transport.lose()
        await self._quiet(transport)
        self._check(guard, bytes(transport.out), stumbles=STUMBLES.search(b"".join(chunks)) is not None)
        return bytes(transport.out)

    async def _quiet(self, transport: MemoryTransport) -> None:
        """Wait until nothing more is written."""
        quiet, length = 0, -1
        while quiet < 8:
            quiet = quiet + 1 if len(transport.out) == length else 0
            length = len(transport.out)
            await asyncio.sleep(0)

    def _check(self, guard: HttpGuard, out: bytes, *, stumbles: bool) -> None:
        assert not self.troubles, self.troubles
        assert guard.connections == 0
        assert self.bounds.running == 0, "a place was not given back"
        started = [event for event in self.events if isinstance(event, TransferStarted)]
        ended = [event for event in self.events if isinstance(event, TransferEnded)]
        assert len(ended) >= len(started)
        for event in self.events:
            for value in event.document().values():
                assert not isinstance(value, str) or (len(value) <= MAX_TEXT and value.isprintable()), event
        if out:
            head = STATUS.match(out)
            assert head is not None, out[:60]
            assert int(head[1]) in STATUSES or stumbles, out[:300]
        assert b" 500 Internal" not in out or stumbles, out[:300]

    def close(self) -> None:
        for guard in self._guards.values():
            self.loop.run_until_complete(guard.stop())
        self.loop.close()


def play(house: HttpHouse, data: bytes) -> None:
    """A fuzzer's bytes: the first chooses application and cuts, the second the client's fate and address.

    In the rest 0xfe stands for a good digest and, where the top bit says so, a newline for CR LF.
    """
    if len(data) < 2:
        return
    first, second = data[0], data[1]
    text = data[2:].replace(b"\xfe", Digest.of(FILES["Image"]).hex.encode())
    if first & 128:
        text = text.replace(b"\n", b"\r\n")
    step = len(text) or 1 if first & 64 else max(1, first & 56)
    chunks = [text[at : at + step] for at in range(0, len(text), step)][:64]
    address = "203.0.113.9" if second & 4 else "10.77.0.11"
    house.play(APPLICATIONS[(first & 3) % 3], chunks, address, tuple(Fate)[(second & 3) % 3])
