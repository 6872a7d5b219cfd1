"""The part of the master's API that reads logs and core dumps of cards. Knows requests and shapes."""

from __future__ import annotations

import base64
from typing import Any

from aiohttp import web

from firmware_mgr.link.service import Piece
from firmware_mgr.link.wire import to_plain
from firmware_mgr.master.kept_desk import KeptDesk
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId


def kept_routes(desk: KeptDesk) -> list[web.RouteDef]:
    """`GET /v1/card/kept?slot`, `/v1/card/log?slot&name&start`, `/v1/card/core?slot&id&start`."""

    async def kept(request: web.Request) -> web.Response:
        return web.json_response(to_plain(await desk.list(_slot(request))))

    async def log(request: web.Request) -> web.Response:
        name = request.query.get("name", "")
        return _piece(await desk.read_log(_slot(request), name, _start(request)))

    async def core(request: web.Request) -> web.Response:
        identifier = request.query.get("id", "")
        return _piece(await desk.read_core(_slot(request), identifier, _start(request)))

    return [
        web.get("/v1/card/kept", kept),
        web.get("/v1/card/log", log),
        web.get("/v1/card/core", core),
    ]


def _piece(piece: Piece) -> web.Response:
    document: dict[str, Any] = {"start": piece.start, "end": piece.end}
    document["data"] = base64.b64encode(piece.data).decode()
    return web.json_response(document)


def _slot(request: web.Request) -> SlotId:
    return SlotId.parse(str(request.query.get("slot")))


def _start(request: web.Request) -> int:
    text = request.query.get("start", "0")
    try:
        return int(text)
    except ValueError as e:
        raise UsageError("not a place in a log", expected="a number", found=repr(text)) from e
