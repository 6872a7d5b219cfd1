"""The master's HTTPS for cards: enrolment, and blobs by digest with ranges (SPEC-link §1).

Knows requests; who may enrol and which blobs there are is decided by what is handed in. A shell.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from firmware_mgr.model.errors import FwmgrError, PeerError, UsageError
from firmware_mgr.model.ids import Digest

#: A CSR is under 1 KiB.
MAX_ENROL_BYTES = 64 * 1024
_CHUNK = 1024 * 1024
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})")

Enrol = Callable[[str, dict[str, Any]], Awaitable[str]]
FindBlob = Callable[[Digest], Path | None]
#: Called with the card's address and the number of bytes that went out.
Served = Callable[[str, int], None]


class HttpsServer:
    """One aiohttp application on one port with one TLS context."""

    def __init__(self, app: web.Application, context: ssl.SSLContext, host: str, port: int) -> None:
        self._app = app
        self._context = context
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, ssl_context=self._context).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()


def enrolment_app(enrol: Enrol) -> web.Application:
    async def post(request: web.Request) -> web.Response:
        try:
            document = await request.json()
            if not isinstance(document, dict):
                raise PeerError(
                    "enrolment request is not an object", where=f"enrolment from {request.remote}"
                )
            certificate = await enrol(str(request.remote), document)
        except FwmgrError as e:
            return web.json_response(e.document(), status=403)
        except ValueError as e:
            error = PeerError(
                "enrolment request is not JSON", where=f"enrolment from {request.remote}", found=str(e)
            )
            return web.json_response(error.document(), status=400)
        return web.json_response({"certificate": certificate})

    app = web.Application(client_max_size=MAX_ENROL_BYTES)
    app.router.add_post("/v1/enrol", post)
    return app


def bulk_app(find: FindBlob, served: Served) -> web.Application:
    async def get(request: web.Request) -> web.StreamResponse:
        try:
            path = find(Digest(request.match_info["digest"]))
        except UsageError:
            path = None
        if path is None:
            return web.Response(status=404, text="no such blob")
        return await _send(request, path, served)

    app = web.Application()
    app.router.add_get("/v1/blobs/{digest}", get)
    return app


async def _send(request: web.Request, path: Path, served: Served) -> web.StreamResponse:
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
            await response.write(chunk)
            served(str(request.remote), len(chunk))
            left -= len(chunk)
    await response.write_eof()
    return response
