"""`GET /v1/watch`: the situation as soon as it is another than the asker knows; a long poll.

Knows when to look again and how two situations are compared. Knows not what is in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import canonical_json

#: The longest that one request waits, in seconds.
LONGEST: Final = 60.0
DEFAULT_SECONDS: Final = 25.0


class News:
    """Tells whoever waits that something has been done; what, they look up."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def tell(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Set by the next `tell`. Take it first, then look: nothing falls in between."""
        return self._next


def watch_route(news: News, situation: Callable[[], dict[str, Any]]) -> web.RouteDef:
    """`after` is the revision that the asker knows, `within` how long it waits for another.

    `situation` is asked anew when work has been done, and only while somebody watches.
    """

    async def handle(request: web.Request) -> web.Response:
        after = request.query.get("after", "")
        within = _seconds(request.query.get("within"))
        deadline = asyncio.get_running_loop().time() + within
        while True:
            changed = news.next()
            document = situation()
            revision = Digest.of(canonical_json(document)).short
            if revision != after:
                return web.json_response({"revision": revision, "changed": True, **document})
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
            except TimeoutError:
                return web.json_response({"revision": revision, "changed": False})

    return web.get("/v1/watch", handle)


def _seconds(text: str | None) -> float:
    try:
        seconds = DEFAULT_SECONDS if text is None else float(text)
    except ValueError as e:
        raise UsageError("not a number of seconds", where="within", found=repr(text)) from e
    if not 0 <= seconds <= LONGEST:
        raise UsageError("out of range", where="within", expected=f"0 to {LONGEST:g}", found=text)
    return seconds
