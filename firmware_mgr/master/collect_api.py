"""`POST /v1/packages/collect`: versions that nobody refers to leave the catalogue. Knows shapes alone."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from firmware_mgr.master.collect import KEEP, Collected
from firmware_mgr.master.requests import read_body
from firmware_mgr.master.service import Master
from firmware_mgr.model.errors import UsageError


def collect_routes(master: Master) -> list[web.RouteDef]:
    async def collect(request: web.Request) -> web.Response:
        """`keep` versions of each name stay; with `dry_run` all do."""
        body = await read_body(request)
        keep, dry_run = body.get("keep", KEEP), body.get("dry_run") is True
        if type(keep) is not int:
            raise UsageError("not a number", where="keep", expected="how many versions", found=repr(keep))
        return web.json_response(
            {**_document(await master.collect_software(keep, dry_run=dry_run)), "dry_run": dry_run}
        )

    return [web.post("/v1/packages/collect", collect)]


def _document(found: Collected) -> dict[str, Any]:
    return {
        "images": [
            {"board": one.board, "version": one.version, "digest": one.digest.hex, "length": one.length}
            for one in found.images
        ],
        "packages": [{**one.ref.document(), "cpus": list(one.cpus)} for one in found.packages],
        "freed": found.freed,
    }
