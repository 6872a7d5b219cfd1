"""The master's HTTPS for cards: enrolment, and blobs by digest with ranges (SPEC-link §1).

Knows requests; who may enrol and which blobs there are is decided by what is handed in. A shell.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from firmware_mgr.master.link_server import listen_tcp
from firmware_mgr.model.errors import FwmgrError, PeerError, UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.netboot.http_guard import HttpGuard, HttpLimits

#: Several cards may stand behind one address.
LIMITS = HttpLimits(per_address=64)
#: A card that takes nothing for so long, or does not say what it wants, has lost its power.
PATIENCE_SECONDS = 30.0
#: A CSR is under 1 KiB.
MAX_ENROL_BYTES = 64 * 1024
_CHUNK = 1024 * 1024
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})")

Enrol = Callable[[str, dict[str, Any]], Awaitable[str]]
FindBlob = Callable[[Digest], Path | None]
#: Called with the card's address and the number of bytes that went out.
Served = Callable[[str, int], None]


class HttpsServer:
    """One aiohttp application on one port with one TLS context. `listen` opens what is accepted from."""

    def __init__(
        self,
        app: web.Application,
        context: ssl.SSLContext,
        host: str,
        port: int,
        listen: Callable[[str, int], socket.socket] = listen_tcp,
    ) -> None:
        self._context = context
        self._listen = listen
        self._host = host
        self._port = port
        self._guard = HttpGuard(app, LIMITS, shutdown_seconds=1.0)

    @property
    def port(self) -> int:
        return self._guard.port

    async def start(self) -> None:
        """Raises OSError when the port cannot be had."""
        await self._guard.start_tls(self._listen(self._host, self._port), self._context)

    async def stop(self) -> None:
        await self._guard.stop()


def enrolment_app(enrol: Enrol, patience: float = PATIENCE_SECONDS) -> web.Application:
    async def post(request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(patience):
                document = await request.json()
            if not isinstance(document, dict):
                raise PeerError(
                    "enrolment request is not an object", where=f"enrolment from {request.remote}"
                )
            certificate = await enrol(str(request.remote), document)
        except FwmgrError as e:
            return web.json_response(e.document(), status=403)
        except (ValueError, RecursionError) as e:
            error = PeerError(
                "enrolment request is not JSON", where=f"enrolment from {request.remote}", found=str(e)
            )
            return web.json_response(error.document(), status=400)
        except TimeoutError:
            return web.Response(status=408, text="the request did not come whole")
        return web.json_response({"certificate": certificate})

    app = web.Application(client_max_size=MAX_ENROL_BYTES)
    app.router.add_post("/v1/enrol", post)
    return app


def bulk_app(find: FindBlob, served: Served, patience: float = PATIENCE_SECONDS) -> web.Application:
    async def get(request: web.Request) -> web.StreamResponse:
        try:
            path = find(Digest(request.match_info["digest"]))
        except UsageError:
            path = None
        if path is None:
            return web.Response(status=404, text="no such blob")
        return await _send(request, path, served, patience)

    app = web.Application()
    app.router.add_get("/v1/blobs/{digest}", get)
    return app


async def _send(request: web.Request, path: Path, served: Served, patience: float) -> web.StreamResponse:
    """One range, or the whole blob. Bytes are counted as they go out, whether taken or not."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        asked = request.headers.get("Range")
        start, end = 0, size - 1
        if asked is not None:
            match = _RANGE.fullmatch(asked)
            if match is None or int(match[1]) >= size or int(match[2]) < int(match[1]):
                return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
            start, end = int(match[1]), min(int(match[2]), size - 1)
        response = web.StreamResponse(status=200 if asked is None else 206)
        response.content_length = end - start + 1
        if asked is not None:
            response.headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        await response.prepare(request)
        left = end - start + 1
        file.seek(start)
        while left:
            chunk = await asyncio.to_thread(file.read, min(_CHUNK, left))
            if not chunk:
                raise ConnectionResetError(f"blob {path.name} ended early")
            try:
                async with asyncio.timeout(patience):
                    await response.write(chunk)
            except TimeoutError:
                raise ConnectionResetError(f"{request.remote} takes nothing") from None
            served(str(request.remote), len(chunk))
            left -= len(chunk)
    await response.write_eof()
    return response
