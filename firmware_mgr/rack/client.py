"""The client of the hands: what the command line and the master's power seam use.

Knows the API's paths, and turns error documents back into errors. Refuses to know what is behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import ConsoleLine, HandsStatus, PowerAction, SlotRegister

#: Longest wait for an answer, in seconds: starting or ending a machine takes a few.
ANSWER_TIMEOUT = 60.0

_KINDS: dict[str, type[FwmgrError]] = {kind.__name__: kind for kind in (UsageError, PeerError, DeviceError)}
_NOT_RUNNING = "start one with: fwmgr chassis up"


class HandsClient:
    """Asks the daemon behind one Unix socket. Every method may raise FwmgrError."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    @property
    def socket(self) -> Path:
        return self._socket

    async def status(self) -> HandsStatus:
        return HandsStatus.from_document(await self.ask("GET", "status"))

    async def slots(self) -> list[SlotRegister]:
        return [SlotRegister.from_document(item) for item in await self.ask("GET", "slots")]

    async def power(self, slot: SlotId, action: PowerAction, *, netboot: bool = False) -> SlotRegister:
        """Do it and return the slot's register after it."""
        body = {"action": action.value, "netboot": netboot}
        return SlotRegister.from_document(await self.ask("POST", f"slots/{_quoted(slot)}/power", body=body))

    async def console_tail(self, slot: SlotId, lines: int = 100) -> list[ConsoleLine]:
        """The last lines of the slot's console, oldest first."""
        answer = await self.ask("GET", f"slots/{_quoted(slot)}/console", query={"tail": lines})
        return [ConsoleLine.from_document(item) for item in answer]

    async def wait_for_line(
        self, slot: SlotId, text: str, *, after: int = 0, within: float = 60.0
    ) -> ConsoleLine:
        """The first console line numbered over `after` that holds `text`; PeerError after `within` s."""
        query = {"text": text, "after": after, "within": within}
        path = f"slots/{_quoted(slot)}/console/wait"
        return ConsoleLine.from_document(
            await self.ask("GET", path, query=query, patience=within + ANSWER_TIMEOUT)
        )

    async def shutdown(self) -> None:
        """Ask the daemon to end. It answers before it has ended."""
        await self.ask("POST", "shutdown")

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        patience: float = ANSWER_TIMEOUT,
    ) -> Any:
        """One request below /v1/ and the document that answers it."""
        url = f"http://hands/v1/{path}"
        if query:
            url += f"?{urlencode(query)}"
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(path=str(self._socket)),
                    timeout=aiohttp.ClientTimeout(total=patience),
                ) as session,
                # Encoded: a slot's slash must reach the other end as %2F.
                session.request(method, URL(url, encoded=True), json=body) as response,
            ):
                document = await response.json()
        except aiohttp.ClientConnectorError as e:
            raise self._unreachable(e.os_error) from e
        except TimeoutError as e:
            raise PeerError("no answer in time", where=str(self._socket), expected=f"{patience:g} s") from e
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as e:
            raise PeerError("the hands' answer broke off", where=str(self._socket), found=str(e)) from e
        if response.status != 200:
            raise as_error(document, str(self._socket))
        return document

    def _unreachable(self, cause: OSError) -> FwmgrError:
        where = str(self._socket)
        if isinstance(cause, FileNotFoundError | ConnectionRefusedError):
            return PeerError("nothing answers here", where=where, found=cause.strerror, hint=_NOT_RUNNING)
        if "too long" in str(cause):
            return UsageError("the socket's path is too long", where=where, hint="use a shorter directory")
        return PeerError("cannot reach the hands", where=where, found=str(cause))


def _quoted(slot: SlotId) -> str:
    return quote(str(slot), safe="")


def as_error(document: object, where: str) -> FwmgrError:
    """The error that an error document tells of."""
    if not isinstance(document, dict) or "what" not in document:
        return PeerError("not an error document", where=where, found=repr(document))
    kind = _KINDS.get(str(document.get("kind")), PeerError)
    return kind(
        str(document["what"]),
        where=str(document.get("where", "")),
        expected=document.get("expected"),
        found=document.get("found"),
        hint=str(document.get("hint", "")),
    )
