"""The API's part on classes, cards' own configurations, selectors, and software that leaves.

Knows requests and shapes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiohttp import web

from firmware_mgr.link.wire import to_plain
from firmware_mgr.master.card_class import ClassRecord
from firmware_mgr.master.check_api import change_document, changed_and_checked
from firmware_mgr.master.configuration import Configuration, read_images
from firmware_mgr.master.requests import read_body
from firmware_mgr.master.roster import Entry
from firmware_mgr.master.service import Master
from firmware_mgr.master.wishes import ChangeOwn
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.pristine import PristineOrder


def class_routes(master: Master) -> list[web.RouteDef]:
    handlers = _Handlers(master)
    return [
        web.get("/v1/classes", handlers.list),
        web.post("/v1/classes", handlers.create),
        web.get("/v1/classes/{name}", handlers.show),
        web.post("/v1/classes/{name}", handlers.change),
        web.post("/v1/classes/{name}/remove", handlers.remove),
        web.post("/v1/assign", handlers.assign),
        web.post("/v1/card/set", handlers.set_own),
        web.post("/v1/card/clear", handlers.clear_own),
        web.post("/v1/images/remove", handlers.remove_image),
        web.post("/v1/packages/remove", handlers.remove_package),
    ]


class _Handlers:
    def __init__(self, master: Master) -> None:
        self._master = master

    async def list(self, _request: web.Request) -> web.Response:
        wishes = self._master.wishes
        return web.json_response([self._document(record) for _, record in sorted(wishes.classes.items())])

    async def show(self, request: web.Request) -> web.Response:
        return web.json_response(self._document(self._master.wishes.get(request.match_info["name"])))

    async def create(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        name = str(body.get("name"))
        configuration = changed(Configuration(), body)
        wishes = self._master.wishes
        record, check = await changed_and_checked(self._master, lambda: wishes.create(name, configuration))
        return web.json_response({**self._document(record), "check": check})

    async def change(self, request: web.Request) -> web.Response:
        body, name = await read_body(request), request.match_info["name"]
        wishes = self._master.wishes

        async def work() -> ClassRecord:
            return await wishes.change(name, changed(wishes.get(name).configuration, body))

        record, check = await changed_and_checked(self._master, work)
        return web.json_response({**self._document(record), "check": check})

    async def remove(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        await self._master.change_classes(lambda: self._master.wishes.remove(name))
        return web.json_response({"removed": name})

    async def assign(self, request: web.Request) -> web.Response:
        """`class` null takes the cards out of theirs."""
        body = await read_body(request)
        name = body.get("class")
        master = self._master

        async def work() -> list[Entry]:
            entries = [master.roster.get(slot) for slot in master.select(texts(body, "cards"))]
            await master.wishes.assign(None if name is None else str(name), entries)
            return entries

        entries, check = await changed_and_checked(master, work)
        slots, said = [str(entry.slot) for entry in entries], master.warnings(entries)
        return web.json_response({"class": name, "slots": slots, "warnings": said, "check": check})

    async def set_own(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        return await self._each(body, lambda own, board: changed(own, body, board))

    async def clear_own(self, request: web.Request) -> web.Response:
        return await self._each(await read_body(request), lambda _own, _board: Configuration())

    async def _each(self, body: dict[str, Any], change: ChangeOwn) -> web.Response:
        note = self._master.checks.note()
        entries = await self._master.set_own(self._master.select(texts(body, "cards")), change, note)
        # Of one change one report, in the answer of the first card.
        checks = [await change_document(note, self._master), *[None] * len(entries)]
        warnings = {entry.slot: self._master.warnings([entry]) for entry in entries}
        return web.json_response(
            [
                {
                    "slot": str(entry.slot),
                    "own": to_plain(entry.record.own),
                    "wanted": to_plain(entry.record.wanted),
                    "wanted_from": to_plain(entry.record.wanted_from),
                    "warnings": warnings[entry.slot],
                    "check": check,
                }
                for entry, check in zip(entries, checks, strict=False)
            ]
        )

    async def remove_image(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        removed = await self._master.remove_image(str(body.get("board")), str(body.get("version")))
        return web.json_response({"board": removed.board, "version": removed.version})

    async def remove_package(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        removed = await self._master.remove_package(str(body.get("name")), str(body.get("version")))
        cpus = sorted({cpu for package in removed for cpu in package.cpus})
        return web.json_response({"name": removed[0].name, "version": removed[0].version, "cpus": cpus})

    def _document(self, record: ClassRecord) -> dict[str, Any]:
        members = [str(entry.slot) for entry in self._master.wishes.members(record.name)]
        return {
            "name": record.name,
            "created_at": record.created_at,
            **to_plain(record.configuration),
            "cards": members,
            "warnings": self._master.warnings(self._master.wishes.members(record.name)),
        }


def changed(before: Configuration, body: dict[str, Any], board: str = "") -> Configuration:
    """What the body names, changed; the rest stays. `clear` lists members that are to say nothing any more.

    An image without a board is for `board`. Raises UsageError.
    """
    after = before
    for name in texts(body, "clear") if body.get("clear") else []:
        if name not in _NOTHING:
            raise UsageError("nothing to clear", expected=f"one of {', '.join(_NOTHING)}", found=name)
        after = replace(after, **_NOTHING[name])
    if body.get("packages") is not None:
        after = replace(after, packages=tuple(texts(body, "packages")))
    if body.get("images") is not None:
        named = [text if "=" in text or not board else f"{board}={text}" for text in texts(body, "images")]
        after = replace(after, images={**after.images, **read_images(named)})
    if body.get("order") is not None:
        after = replace(after, order=PristineOrder.parse(str(body["order"])))
    if body.get("features") is not None:
        after = replace(after, features=tuple(sorted(set(texts(body, "features")))))
    if body.get("save_image") is not None:
        after = replace(after, save_image=body["save_image"] is True)
    return after


_NOTHING: dict[str, dict[str, Any]] = {
    "packages": {"packages": None},
    "images": {"images": {}},
    "order": {"order": None},
    "save_image": {"save_image": None},
    "features": {"features": None},
}


def texts(body: dict[str, Any], name: str) -> list[str]:
    """A member that is a list of texts. Raises UsageError."""
    value = body.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(
            "not a list of texts", where=name, expected='such as ["1", "2/3"]', found=repr(value)
        )
    return value
