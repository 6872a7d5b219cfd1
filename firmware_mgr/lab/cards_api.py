"""Taking cards out of a virtual chassis and putting them in, on the API of its hands; and the client of that.

Knows paths and documents (docs/CHASSIS.md). A real rack has people for this.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol
from urllib.parse import quote

from aiohttp import web

from firmware_mgr.lab.cards import Card
from firmware_mgr.model.ids import MacAddress, SlotId
from firmware_mgr.rack.api import body_of, slot_of
from firmware_mgr.rack.client import HandsClient
from firmware_mgr.rack.hands import SlotRegister


class Bays(Protocol):
    """What this API serves. Every method may raise FwmgrError."""

    async def insert(
        self,
        slot: SlotId,
        *,
        name: str | None = None,
        board: str | None = None,
        mac: MacAddress | None = None,
    ) -> SlotRegister: ...

    async def remove(self, slot: SlotId) -> Card: ...

    def drawer(self) -> list[Card]: ...


def add_card_routes(application: web.Application, bays: Bays) -> None:
    async def insert(request: web.Request) -> web.Response:
        document = await body_of(request)
        name, board, mac = (document.get(key) for key in ("name", "board", "mac"))
        work = bays.insert(
            slot_of(request),
            name=None if name is None else str(name),
            board=None if board is None else str(board),
            mac=None if mac is None else MacAddress(str(mac)),
        )
        return web.json_response((await asyncio.shield(work)).document())

    async def remove(request: web.Request) -> web.Response:
        return web.json_response((await asyncio.shield(bays.remove(slot_of(request)))).document())

    async def drawer(_: web.Request) -> web.Response:
        return web.json_response([card.document() for card in bays.drawer()])

    application.add_routes(
        [
            web.put("/v1/slots/{slot}/card", insert),
            web.delete("/v1/slots/{slot}/card", remove),
            web.get("/v1/drawer", drawer),
        ]
    )


class CardsClient(HandsClient):
    """The client of a virtual chassis: hands, and cards that come and go. All may raise FwmgrError."""

    async def insert(
        self, slot: SlotId, *, name: str | None = None, board: str | None = None, mac: str | None = None
    ) -> SlotRegister:
        """Put the card `name` from the drawer, or a new one of `board`, into an empty slot."""
        asked = {"name": name, "board": board, "mac": mac}
        body = {key: value for key, value in asked.items() if value is not None}
        return SlotRegister.from_document(await self.ask("PUT", _path(slot), body=body))

    async def remove(self, slot: SlotId) -> dict[str, Any]:
        """Take the card out, into the drawer; its document."""
        card: dict[str, Any] = await self.ask("DELETE", _path(slot))
        return card

    async def drawer(self) -> list[dict[str, Any]]:
        """The documents of the cards that were taken out."""
        cards: list[dict[str, Any]] = await self.ask("GET", "drawer")
        return cards


def _path(slot: SlotId) -> str:
    return f"slots/{quote(str(slot), safe='')}/card"
