"""The API's part on cards without a slot register: those that wait, and what slots are bound to.

Knows requests and shapes.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from firmware_mgr.master.bindings import Wish
from firmware_mgr.master.requests import read_body
from firmware_mgr.master.roster import Entry
from firmware_mgr.master.service import Master
from firmware_mgr.model.ids import MacAddress, SlotId


def binding_routes(master: Master) -> list[web.RouteDef]:
    handlers = _Handlers(master)
    return [
        web.get("/v1/waiting", handlers.waiting),
        web.post("/v1/card/bind", handlers.bind),
        web.post("/v1/card/unbind", handlers.unbind),
    ]


class _Handlers:
    def __init__(self, master: Master) -> None:
        self._master = master

    async def waiting(self, _request: web.Request) -> web.Response:
        return web.json_response(self._master.bindings.document())

    async def bind(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        mac, key, port, board = (_text(body, name) for name in ("mac", "key", "port", "board"))
        wish = Wish(None if mac is None else MacAddress(mac.lower()), key, port, board)
        return web.json_response(_document(await self._master.bind(_slot(body), wish)))

    async def unbind(self, request: web.Request) -> web.Response:
        return web.json_response(_document(await self._master.unbind(_slot(await read_body(request)))))


def _slot(body: dict[str, Any]) -> SlotId:
    return SlotId.parse(str(body.get("slot")))


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    return None if value is None else str(value)


def _document(entry: Entry) -> dict[str, Any]:
    bound, record = entry.bound, entry.record
    return {
        "slot": str(entry.slot),
        "mac": None if record.mac is None else str(record.mac),
        "key": record.key_fingerprint,
        "port": None if bound is None else bound.port,
        "board": record.board,
    }
