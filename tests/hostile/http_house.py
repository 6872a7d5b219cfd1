"""The master's HTTP servers whole, over transports in memory, and the rules that hold for any bytes.

Three applications: netboot's files, enrolment, bulk. TLS is left out: what is tested is who has passed it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web

from firmware_mgr.master.https import bulk_app, enrolment_app
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
APPLICATIONS = ("netboot", "enrol", "bulk")


class AtOnce(ThreadPoolExecutor):
    """Does the work where it stands, so that every run is the same."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Exception as e:
            future.set_exception(e)
        return future


class MemoryTransport(asyncio.Transport):
    """Takes everything that is written, at once."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 40000), "sockname": ("10.77.0.1", 80)})
        self.out = bytearray()
        self.closing = False
        self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closing:
            self.out += data

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
        netboot = NetbootHttp(directory(folder), self.bounds, SystemClock(), self.events.append)
        apps: dict[str, web.Application] = {
            "netboot": netboot.application(),
            "enrol": enrolment_app(self._enrol),
            "bulk": bulk_app(self.paths.get, self._served),
        }
        self._guards = {name: HttpGuard(app) for name, app in apps.items()}
        for guard in self._guards.values():
            self.loop.run_until_complete(guard.set_up())

    async def _enrol(self, address: str, document: dict[str, Any]) -> str:
        self.enrolled += 1
        if document.get("slot") != "1":
            raise PeerError("no", where=address, found=document.get("slot"))
        return "certificate"

    def _served(self, address: str, count: int) -> None:
        self.served += count

    def play(self, name: str, chunks: list[bytes], address: str = "10.77.0.11") -> bytes:
        """What was answered to these bytes; the client's end closes after the last."""
        return self.loop.run_until_complete(self._play(self._guards[name], chunks, address))

    async def _play(self, guard: HttpGuard, chunks: list[bytes], address: str) -> bytes:
        self.events.clear()
        self.troubles.clear()
        protocol, transport = guard.protocol(), MemoryTransport(address)
        protocol.connection_made(transport)
        for chunk in chunks:
            if not transport.closing:
                protocol.data_received(chunk)
            await self._quiet(transport)
        if not transport.closing and not protocol.eof_received():
            transport.close()
        await self._quiet(transport)
        protocol.connection_lost(None)
        await self._quiet(transport)
        self._check(guard, bytes(transport.out))
        return bytes(transport.out)

    async def _quiet(self, transport: MemoryTransport) -> None:
        """Wait until nothing more is written."""
        quiet, length = 0, -1
        while quiet < 8:
            quiet = quiet + 1 if len(transport.out) == length else 0
            length = len(transport.out)
            await asyncio.sleep(0)

    def _check(self, guard: HttpGuard, out: bytes) -> None:
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
            assert int(head[1]) in STATUSES, out[:300]
        assert b" 500 Internal" not in out, out[:300]

    def close(self) -> None:
        for guard in self._guards.values():
            self.loop.run_until_complete(guard.stop())
        self.loop.close()


def requests_of(house: HttpHouse, data: bytes) -> tuple[str, list[bytes]]:
    """A fuzzer's bytes: the first chooses application and cuts; in the rest `\\xfe` stands for a good digest
    and a newline alone for CR LF, so that requests are found sooner."""
    first = data[0] if data else 0
    text = data[1:].replace(b"\xfe", Digest.of(FILES["Image"]).hex.encode())
    if first & 128:
        text = text.replace(b"\n", b"\r\n")
    step = len(text) or 1 if first & 64 else max(1, first & 56)
    return APPLICATIONS[(first & 3) % 3], [text[at : at + step] for at in range(0, len(text), step)][:64]


def play(house: HttpHouse, data: bytes) -> None:
    name, chunks = requests_of(house, data)
    house.play(name, chunks, "10.77.0.11" if not data or data[0] & 4 == 0 else "203.0.113.9")
