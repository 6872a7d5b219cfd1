"""A master's API for tests of commands: answers what it was given, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

from firmware_mgr.master.site import MasterPaths


class Answering:
    """`answers` maps a path to the document that it answers with. `close` ends it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)
        self._up = threading.Event()
        self._thread.start()
        assert self._up.wait(10)

    def _serve(self) -> None:
        self._loop.run_until_complete(self._start())
        self._up.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())

    def routes(self, router: web.UrlDispatcher) -> None:
        """What answers; another master may answer otherwise."""
        router.add_route("*", "/{path:.*}", self._answer)

    async def _start(self) -> None:
        application = web.Application()
        self.routes(application.router)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(MasterPaths(self.directory).api)).start()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json() if request.method == "POST" else dict(request.query)
        self.asked.append((request.path, body))
        return web.json_response(self.answers[request.path])

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
