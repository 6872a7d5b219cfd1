"""The API's part on software that comes: boot images, packages, sets and composite images; and who runs what.

Knows requests and shapes. Files are read by the master: paths are of its machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from firmware_mgr.link.wire import to_plain
from firmware_mgr.master.check_api import change_document
from firmware_mgr.master.composite import CompositeRecord
from firmware_mgr.master.composite_desk import Entered
from firmware_mgr.master.composites import CompositeReader
from firmware_mgr.master.documents import PackageRecord
from firmware_mgr.master.intake import Intake, TakenPackage
from firmware_mgr.master.requests import read_body
from firmware_mgr.master.service import Master
from firmware_mgr.master.sets import who_runs_what
from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.bundle_reader import kind_of
from firmware_mgr.package.layout import EnvelopeKind


def software_routes(master: Master, intake: Intake, composites: CompositeReader) -> list[web.RouteDef]:
    handlers = _Handlers(master, intake, composites)
    return [
        web.get("/v1/images", handlers.images),
        web.post("/v1/images", handlers.add_image),
        web.get("/v1/packages", handlers.packages),
        web.post("/v1/packages", handlers.add_package),
        web.get("/v1/composites", handlers.composites),
        web.post("/v1/composites", handlers.add_composite),
        web.get("/v1/composites/reading", handlers.reading),
        web.get("/v1/sets", handlers.sets),
    ]


class _Handlers:
    def __init__(self, master: Master, intake: Intake, composites: CompositeReader) -> None:
        self._master = master
        self._intake = intake
        self._reader = composites

    async def images(self, _request: web.Request) -> web.Response:
        return web.json_response(
            [_without_pieces(image.to_document()) for image in self._master.roster.images]
        )

    async def add_image(self, request: web.Request) -> web.Response:
        record = await self._intake.read_image(_path(await read_body(request)))
        await self._master.enter_image(record)
        warnings = self._intake.warnings(record)
        return web.json_response({**_without_pieces(record.to_document()), "warnings": warnings})

    async def packages(self, _request: web.Request) -> web.Response:
        return web.json_response(self._package_documents(self._master.roster.packages))

    async def add_package(self, request: web.Request) -> web.Response:
        path = _path(await read_body(request))
        if (kind := await asyncio.to_thread(kind_of, path)) is not EnvelopeKind.PACKAGE:
            raise UsageError(
                "not a package", where=str(path), found=f"a {kind.words}", hint=f"fwmgr image add {path}"
            )
        taken = await self._intake.read_package(path)
        await self._master.enter_package(taken)
        (document,) = self._package_documents([taken.record])
        return web.json_response({**document, **_news(taken)})

    def _package_documents(self, records: Sequence[PackageRecord]) -> list[dict[str, Any]]:
        said = self._intake.package_warnings(records)
        return [
            {**record.to_document(), "warnings": warnings}
            for record, warnings in zip(records, said, strict=True)
        ]

    async def composites(self, _request: web.Request) -> web.Response:
        known = self._master.composites.composites
        return web.json_response([one.to_document() for one in sorted(known, key=_age)])

    async def add_composite(self, request: web.Request) -> web.Response:
        """A set or a composite image; the answer comes when all of it is in the catalogue."""
        path = _path(await read_body(request))
        if await asyncio.to_thread(kind_of, path) is EnvelopeKind.PACKAGE:
            hint = f"fwmgr package add {path}"
            raise UsageError("not a composite image", where=str(path), found="a package", hint=hint)
        known, images = self._master.composites.composites, self._master.roster.images
        taken = await self._reader.take(path, known, images)
        note = self._master.checks.note()
        entered = await self._master.enter_composite(taken, note)
        check = await change_document(note, self._master)
        return web.json_response({**self._entered(entered), "check": check})

    async def reading(self, _request: web.Request) -> web.Response:
        """What of a composite is being read; null when none is."""
        reading = self._reader.reading
        if reading is None:
            return web.json_response(None)
        member, done, total = reading
        return web.json_response({"member": member, "done": done, "total": total})

    def _entered(self, entered: Entered) -> dict[str, Any]:
        taken, roster = entered.taken, self._master.roster
        images = [
            {
                "kind": "boot image",
                **to_plain(one.record.ref),
                "name": one.record.board,
                "news": one.news.value,
            }
            for one in taken.images
        ]
        packages = [{"kind": "package", **to_plain(one.record.ref), **_news(one)} for one in taken.packages]
        warnings = [
            line for one in taken.images if one.news.is_new for line in self._intake.warnings(one.record)
        ]
        records = [one.record for one in taken.packages]
        warnings += [line for lines in self._intake.package_warnings(records) for line in lines]
        warnings += self._master.warnings([roster.get(slot) for slot in entered.slots])
        return {
            "composite": taken.record.to_document(),
            "known": taken.known,
            "members": [*images, *packages],
            "classes": list(entered.classes),
            "boards": list(entered.boards),
            "slots": [str(slot) for slot in entered.slots],
            "preferred": dict(entered.preferred),
            "warnings": list(dict.fromkeys(warnings)),
        }

    async def sets(self, _request: web.Request) -> web.Response:
        """The software sets: what each class and slot will run."""
        roster = self._master.roster
        cards = [entry.record for entry in roster]
        await self._master.checks.ready()
        wishes = self._master.wishes
        rows = who_runs_what(
            wishes.said, cards, roster.cpus, roster.images, roster.packages, in_order=wishes.in_order
        )
        return web.json_response([to_plain(row) for row in rows])


def _news(taken: TakenPackage) -> dict[str, str]:
    return {"news": taken.news.value, "same_as": taken.same_as}


def _age(composite: CompositeRecord) -> float:
    return composite.added_at


def _path(body: dict[str, Any]) -> Path:
    text = body.get("path")
    if not isinstance(text, str) or not text.startswith("/"):
        raise UsageError("no path", expected="an absolute path of the master's machine", found=repr(text))
    return Path(text)


def _without_pieces(document: dict[str, Any]) -> dict[str, Any]:
    """An image's document for people: of its root of trust the version is enough."""
    root = document["root"]
    short = {key: value for key, value in document.items() if key not in ("pieces", "root")}
    return {**short, "root_version": None if root is None else root["version"]}
