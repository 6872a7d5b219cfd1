"""`POST /v1/snapshot`: a whole copy of the catalogue for whoever exports a running master.

Knows where copies lie and that old ones are removed. The copy is the asker's to remove.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Final

from aiohttp import web

from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue
from firmware_mgr.master.files import disk_errors
from firmware_mgr.master.site import MasterPaths

#: A copy that is older was left by an export that died.
LEFT_SECONDS: Final = 24 * 3600.0
_NAME: Final = ".snapshot-"


def snapshot_path(paths: MasterPaths) -> Path:
    """A new name for a copy; what begins with a dot is never exported itself."""
    return paths.directory / f"{_NAME}{secrets.token_hex(8)}.sqlite"


def snapshot_route(catalogue: SqliteCatalogue, paths: MasterPaths) -> web.RouteDef:
    async def handle(_request: web.Request) -> web.Response:
        remove_left(paths)
        target = snapshot_path(paths)
        revision = await catalogue.snapshot(target)
        return web.json_response({"path": str(target), "revision": revision})

    return web.post("/v1/snapshot", handle)


def remove_left(paths: MasterPaths) -> None:
    """Remove copies that nobody has come back for."""
    with disk_errors("cannot look at the master's directory", paths.directory):
        for path in paths.directory.glob(f"{_NAME}*"):
            if path.stat().st_mtime < time.time() - LEFT_SECONDS:
                path.unlink()
