"""The hands as HTTP: paths, parameters and error documents (docs/CHASSIS.md).

Knows requests and answers. Refuses to know what stands behind the hands.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import Hands, PowerAction

LOG = logging.getLogger(__name__)

#: The longest that one request may wait for a console line, in seconds.
LONGEST_WAIT = 3600.0
#: The most lines that one request may ask for.
MOST_LINES = 10_000

#: Whose fault it is, as an HTTP status: the caller's, the card's, the hardware's.
STATUS_OF_KIND: dict[type[FwmgrError], int] = {UsageError: 400, PeerError: 502, DeviceError: 503}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def hands_application(hands: Hands) -> web.Application:
    """The aiohttp application that serves `hands`."""
    requests = _Requests(hands)
    application = web.Application(middlewares=[_errors_as_documents])
    application.add_routes(
        [
            web.get("/v1/status", requests.status),
            web.get("/v1/slots", requests.slots),
            web.post("/v1/slots/{slot}/power", requests.power),
            web.get("/v1/slots/{slot}/console", requests.console),
            web.get("/v1/slots/{slot}/console/wait", requests.wait_for_line),
            web.post("/v1/shutdown", requests.shutdown),
        ]
    )
    return application


async def serve_on_socket(application: web.Application, path: Path) -> web.AppRunner:
    """Serve on the Unix socket at `path`, readable by its owner alone; `cleanup()` of the result ends it."""
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    path.chmod(0o600)
    return runner


class _Requests:
    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    async def status(self, _: web.Request) -> web.Response:
        return web.json_response(self._hands.status().document())

    async def slots(self, _: web.Request) -> web.Response:
        return web.json_response([register.document() for register in self._hands.slots()])

    async def power(self, request: web.Request) -> web.Response:
        document = await body_of(request)
        try:
            action = PowerAction(document["action"])
        except (KeyError, ValueError) as e:
            raise UsageError(
                "no such power action", expected="on, off or cycle", found=document.get("action")
            ) from e
        netboot = document.get("netboot", False)
        if not isinstance(netboot, bool):
            raise UsageError("netboot is not a yes or no", expected="true or false", found=repr(netboot))
        # A change of power that has begun is finished, also when whoever asked or the API goes away.
        register = await asyncio.shield(self._hands.power(slot_of(request), action, netboot=netboot))
        return web.json_response(register.document())

    async def console(self, request: web.Request) -> web.Response:
        wanted = int(_number(request, "tail", default=100, most=MOST_LINES))
        lines = self._hands.console_tail(slot_of(request), wanted)
        return web.json_response([line.document() for line in lines])

    async def wait_for_line(self, request: web.Request) -> web.Response:
        text = request.query.get("text", "")
        if not text:
            raise UsageError("no text to wait for", expected="text=…")
        after = int(_number(request, "after", default=0, most=2**53))
        within = _number(request, "within", default=60, most=LONGEST_WAIT)
        line = await self._hands.wait_for_line(slot_of(request), text, after=after, within=within)
        return web.json_response(line.document())

    async def shutdown(self, _: web.Request) -> web.Response:
        self._hands.request_shutdown()
        return web.json_response({})


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request. Raises UsageError."""
    try:
        document = json.loads(await request.text())
    except ValueError as e:
        raise UsageError("the request's body is not JSON", where=request.path, found=str(e)) from e
    if not isinstance(document, dict):
        raise UsageError("the request's body is not an object", where=request.path)
    return document


def slot_of(request: web.Request) -> SlotId:
    """The slot in a request's path. Raises UsageError."""
    return SlotId.parse(request.match_info["slot"])


def _number(request: web.Request, name: str, *, default: float, most: float) -> float:
    text = request.query.get(name)
    try:
        value = default if text is None else float(text)
    except ValueError as e:
        raise UsageError(f"{name} is not a number", found=repr(text)) from e
    if not 0 <= value <= most:
        raise UsageError(f"{name} is out of range", expected=f"0 to {most:g}", found=text)
    return value


@web.middleware
async def _errors_as_documents(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except FwmgrError as e:
        status = next((code for kind, code in STATUS_OF_KIND.items() if isinstance(e, kind)), 500)
        LOG.info("%s %s refused: %s", request.method, request.path, e)
        return web.json_response(e.document(), status=status)
    except web.HTTPException as e:
        error = UsageError(f"no such request: {request.method} {request.path}", found=e.reason)
        return web.json_response(error.document(), status=e.status)
