"""The client of the master's API: what the command line uses. Turns error documents back into errors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError, UsageError

#: Adding a large image takes a while; nothing takes longer.
PATIENCE = 600.0

_KINDS: dict[str, type[FwmgrError]] = {"UsageError": UsageError, "DeviceError": DeviceError}


class MasterClient:
    """Asks the master behind one Unix socket. Every call may raise FwmgrError."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def get(self, path: str, **query: str) -> Any:
        return asyncio.run(self.ask("GET", path, query=query))

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return asyncio.run(self.ask("POST", path, body=body or {}))

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> Any:
        where = str(self._socket)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(path=where), timeout=aiohttp.ClientTimeout(total=PATIENCE)
                ) as session,
                session.request(method, f"http://master{path}", params=query, json=body) as response,
            ):
                document = await response.json()
        except aiohttp.ClientConnectorError as e:
            raise PeerError(
                "no master answers",
                where=where,
                found=e.os_error.strerror,
                hint="start one with: fwmgr master run --chassis var/chassis",
            ) from e
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as e:
            raise PeerError("the master's answer broke off", where=where, found=str(e)) from e
        if response.status != 200:
            raise _error(document)
        return document


def _error(document: object) -> FwmgrError:
    if not isinstance(document, dict) or "what" not in document:
        return PeerError("the master sent no error document", found=repr(document))
    kind = _KINDS.get(str(document.get("kind")), PeerError)
    return kind(
        str(document["what"]),
        where=str(document.get("where", "")),
        expected=document.get("expected"),
        found=document.get("found"),
        hint=str(document.get("hint", "")),
    )
