"""The API's part on what is said of all cards of a board, and on preferred versions.

Knows requests and shapes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiohttp import web

from firmware_mgr.link.wire import to_plain
from firmware_mgr.master.board_wish import BoardRecord, Preferred
from firmware_mgr.master.check_api import changed_and_checked
from firmware_mgr.master.class_api import changed, texts
from firmware_mgr.master.configuration import read_images
from firmware_mgr.master.requests import read_body
from firmware_mgr.master.service import Master
from firmware_mgr.master.wishes import without
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import check_name, check_version


def board_routes(master: Master) -> list[web.RouteDef]:
    handlers = _Handlers(master)
    return [
        web.get("/v1/boards", handlers.list),
        web.get("/v1/boards/{board}", handlers.show),
        web.post("/v1/boards/{board}", handlers.change),
        web.post("/v1/boards/{board}/clear", handlers.clear),
        web.get("/v1/preferred", handlers.preferred),
        web.post("/v1/preferred", handlers.prefer),
    ]


class _Handlers:
    def __init__(self, master: Master) -> None:
        self._master = master

    async def list(self, _request: web.Request) -> web.Response:
        """All boards that this master knows."""
        wishes = self._master.wishes
        known = sorted({*self._master.roster.cpus, *wishes.said.boards})
        return web.json_response([self._document(wishes.of_board(board)) for board in known])

    async def show(self, request: web.Request) -> web.Response:
        return web.json_response(self._document(self._master.wishes.of_board(self._board(request))))

    async def change(self, request: web.Request) -> web.Response:
        """As a class is changed; `class` and `location` besides. An empty one takes it away."""
        body, board, wishes = await read_body(request), self._board(request), self._master.wishes

        async def work() -> BoardRecord:
            before = wishes.of_board(board)
            after = replace(before, configuration=changed(before.configuration, body, board))
            if body.get("class") is not None:
                after = replace(after, card_class=str(body["class"]) or None)
            if body.get("location") is not None:
                after = replace(after, location=str(body["location"]))
            await wishes.say_of_board(after)
            return after

        record, check = await changed_and_checked(self._master, work)
        return web.json_response({**self._document(record), "check": check})

    async def clear(self, request: web.Request) -> web.Response:
        record = BoardRecord(self._board(request))
        _, check = await changed_and_checked(self._master, lambda: self._master.wishes.say_of_board(record))
        return web.json_response({**self._document(record), "check": check})

    def _board(self, request: web.Request) -> str:
        board, known = request.match_info["board"], self._master.roster.cpus
        if board not in known and board not in self._master.wishes.said.boards:
            raise UsageError("no such board", expected=f"one of {', '.join(sorted(known))}", found=board)
        return board

    def _document(self, record: BoardRecord) -> dict[str, Any]:
        entries = [entry for entry in self._master.roster if entry.record.board == record.board]
        return {
            "board": record.board,
            "class": record.card_class,
            "location": record.location,
            **to_plain(record.configuration),
            "cards": [str(entry.slot) for entry in entries],
            "warnings": self._master.warnings(entries),
        }

    async def preferred(self, _request: web.Request) -> web.Response:
        return web.json_response(to_plain(self._master.wishes.said.preferred))

    async def prefer(self, request: web.Request) -> web.Response:
        """`packages` (`NAME=VERSION`), `images` (`BOARD=VERSION`); `clear` lists names of both."""
        body, wishes = await read_body(request), self._master.wishes
        named = texts(body, "packages") if body.get("packages") else []
        images = read_images(texts(body, "images")) if body.get("images") else {}
        gone = texts(body, "clear") if body.get("clear") else []

        async def work() -> Preferred:
            before = wishes.said.preferred
            after = Preferred({**before.images, **images}, {**before.packages, **_versions(named)})
            for name in gone:
                if name not in after.images and name not in after.packages:
                    known = ", ".join(sorted([*after.images, *after.packages])) or "nothing"
                    raise UsageError("nothing is preferred there", expected=f"one of {known}", found=name)
                after = Preferred(without(after.images, name), without(after.packages, name))
            await wishes.prefer(after)
            return after

        return web.json_response(to_plain(await self._master.change_classes(work)))


def _versions(named: list[str]) -> dict[str, str]:
    found = {}
    for text in named:
        name, equals, version = text.partition("=")
        if not equals:
            raise UsageError("no version is named", expected="NAME=VERSION", found=text)
        found[check_name(name, "package")] = check_version(version)
    return found
