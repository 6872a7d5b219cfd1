"""HTTP for netboot: GET and HEAD of a card's files by name, with ranges. Nothing else.

Knows aiohttp. Refuses to know directories: the path of a URL is a name in the asking card's mapping.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import AddressValueError, IPv4Address
from urllib.parse import unquote

from aiohttp import web

from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.netboot.blobs import read_blob
from firmware_mgr.netboot.bounds import TransferBounds
from firmware_mgr.netboot.clock import Clock
from firmware_mgr.netboot.events import NetbootEvent, NetProtocol, Outcome, TransferEnded, TransferStarted
from firmware_mgr.netboot.names import NameFault, NameRefused, find_file, printable
from firmware_mgr.netboot.ranges import Part, Unsatisfiable, select
from firmware_mgr.netboot.served import Blob, Directory

CHUNK_BYTES = 256 << 10
STALL_SECONDS = 30.0  # a card that lost its power takes nothing more and does not say so
STATUS_OF_FAULT = {NameFault.TRICK: HTTPStatus.FORBIDDEN, NameFault.ABSENT: HTTPStatus.NOT_FOUND}


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who asks for what; `slot` is None when no card has the address."""

    slot: SlotId | None
    name: str
    peer: str


def etag_of(blob: Blob) -> str:
    return f'"{blob.digest.hex}"'


class NetbootHttp:
    """`application()` serves; what it does is told to `on_event`."""

    def __init__(
        self,
        directory: Directory,
        bounds: TransferBounds,
        clock: Clock,
        on_event: Callable[[NetbootEvent], None],
        *,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self._directory = directory
        self._bounds = bounds
        self._clock = clock
        self._on_event = on_event
        self._stall_seconds = stall_seconds

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{name:.*}", self._get)  # HEAD with it
        return app

    async def _get(self, request: web.Request) -> web.StreamResponse:
        peer = request.remote or "?"
        name = _name_of(request)
        card = None
        try:
            card = self._directory.card_by_address(IPv4Address(peer))
        except AddressValueError:
            pass  # not IPv4: no card of ours
        if card is None:
            return self._refused(_Asked(None, name, peer), HTTPStatus.FORBIDDEN, "no card has this address")
        asked = _Asked(card.slot, name, peer)
        found = find_file(card, name)
        if isinstance(found, NameRefused):
            return self._refused(asked, STATUS_OF_FAULT[found.fault], found.reason)
        full = self._bounds.enter(card.slot)
        if full is not None:
            return self._refused(asked, HTTPStatus.SERVICE_UNAVAILABLE, full)
        try:
            return await self._serve(request, asked, card.slot, found)
        finally:
            self._bounds.leave(card.slot)

    async def _serve(
        self, request: web.Request, asked: _Asked, slot: SlotId, blob: Blob
    ) -> web.StreamResponse:
        etag = etag_of(blob)
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        headed = request.method == "HEAD"
        wanted = None if headed else request.headers.get("Range")  # RFC 9110 §14.2: GET only
        selection = select(wanted, request.headers.get("If-Range"), length=blob.length, etag=etag)
        if isinstance(selection, Unsatisfiable):
            reason = f"range {printable(wanted or '')} of {blob.length} bytes"
            refusal = self._refused(asked, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, reason)
            refusal.headers["Content-Range"] = f"bytes */{blob.length}"
            return refusal
        start, size, status = 0, blob.length, HTTPStatus.OK
        if isinstance(selection, Part):
            start, size, status = selection.first, selection.length, HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {selection.first}-{selection.last}/{blob.length}"
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = size
        if headed:
            self._ended(asked, 0, Outcome.PROBE, "HEAD")
            return response
        self._on_event(TransferStarted(slot, NetProtocol.HTTP, asked.name, asked.peer, size))
        since, sent = self._clock.monotonic(), 0
        outcome, reason = Outcome.FAILED, "client closed the connection"
        try:
            await response.prepare(request)
            while sent < size:
                count = min(CHUNK_BYTES, size - sent)
                chunk = await asyncio.to_thread(read_blob, blob, start + sent, count)
                async with asyncio.timeout(self._stall_seconds):
                    await response.write(chunk)
                sent += count
            await response.write_eof()
            outcome, reason = Outcome.DONE, ""
        except ConnectionError:
            pass  # nobody is left to be told
        except TimeoutError:
            reason = f"client took nothing for {self._stall_seconds:g} s"
            _abort(request)
        except DeviceError as e:
            reason = e.what
            _abort(request)
        finally:
            self._ended(asked, sent, outcome, reason, self._clock.monotonic() - since)
        return response

    def _refused(self, asked: _Asked, status: HTTPStatus, reason: str) -> web.Response:
        self._ended(asked, 0, Outcome.REFUSED, reason)
        return web.Response(status=status, text=reason + "\n")

    def _ended(self, asked: _Asked, sent: int, outcome: Outcome, reason: str, seconds: float = 0.0) -> None:
        name = printable(asked.name)
        self._on_event(
            TransferEnded(asked.slot, NetProtocol.HTTP, name, asked.peer, sent, outcome, reason, seconds)
        )


def _abort(request: web.Request) -> None:
    """A body cut short must not look whole."""
    if request.transport is not None:
        request.transport.abort()


def _name_of(request: web.Request) -> str:
    """The path without its first slash, percent-decoded exactly once; what is not UTF-8 matches nothing."""
    return unquote(request.rel_url.raw_path.removeprefix("/"), errors="replace")
