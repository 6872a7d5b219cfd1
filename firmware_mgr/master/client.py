"""The client of the master's API: what the command line uses. Turns error documents back into errors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError, UsageError

#: Adding a large image takes a while; nothing takes longer.
PATIENCE = 600.0

_KINDS: dict[str, type[FwmgrError]] = {kind.__name__: kind for kind in (UsageError, PeerError, DeviceError)}


class MasterClient:
    """Asks the master behind one Unix socket. Every call may raise FwmgrError."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def get(self, path: str, **query: str) -> Any:
        return asyncio.run(self.ask("GET", path, query=query))

    def post(self, path: str, body: dict[str, Any] | None = None, patience: float | None = PATIENCE) -> Any:
        """`patience` in seconds; None waits as long as it takes."""
        return asyncio.run(self.ask("POST", path, body=body or {}, patience=patience))

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        patience: float | None = PATIENCE,
    ) -> Any:
        where = str(self._socket)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(path=where), timeout=aiohttp.ClientTimeout(total=patience)
                ) as session,
                session.request(method, f"http://master{path}", params=query, json=body) as response,
            ):
                document = await response.json()
        except aiohttp.ClientConnectorError as e:
            raise _unreachable(e.os_error, where) from e
        except aiohttp.ContentTypeError as e:
            hint = "its log says more: the terminal of fwmgr master run, or journalctl -u fwmgr-master"
            raise PeerError(
                "the master did not answer with JSON", where=where, found=f"HTTP {e.status}", hint=hint
            ) from e
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as e:
            raise PeerError("the master's answer broke off", where=where, found=str(e)) from e
        if response.status != 200:
            raise _error(document)
        return document


def _unreachable(cause: OSError, where: str) -> PeerError:
    if isinstance(cause, PermissionError):
        hint = "its API is for its own user: sudo -u fwmgr … (docs/OPERATING.md)"
        return PeerError(
            "the master may not be asked by this user", where=where, found=cause.strerror, hint=hint
        )
    hint = "start one with: fwmgr master run --chassis var/chassis; or say where it is: --dir, $FWMGR_MASTER"
    return PeerError("no master answers", where=where, found=cause.strerror, hint=hint)


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
