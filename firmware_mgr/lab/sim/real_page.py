"""The page that a simulated card serves on a real socket. Refuses to know whose page it is."""

from __future__ import annotations

import asyncio
import logging
import socket

from firmware_mgr.lab.sim.around import PageProtocol

LOG = logging.getLogger(__name__)
#: After the kernel refused a connection, such as when this process has no descriptor left.
PAUSE_SECONDS = 0.5


class RealPage:
    """Answers HTTP with one page on a listening socket, until `close`, which closes the socket too."""

    def __init__(self, listening: socket.socket, page: str, *, pause: float = PAUSE_SECONDS) -> None:
        listening.setblocking(False)
        self._listening = listening
        self._page = page
        self._pause = pause
        self._loop = asyncio.get_running_loop()
        self._accepting = self._loop.create_task(self._accept())

    def close(self) -> None:
        """Its port is free at once. May be called again."""
        if self._listening.fileno() >= 0:
            self._accepting.cancel()
            # The task takes its reader away when it ends: by then the number may be another socket's.
            self._loop.remove_reader(self._listening)
            self._listening.close()

    async def _accept(self) -> None:
        """One connection that goes wrong costs the others nothing."""
        while True:
            try:
                connection, _ = await self._loop.sock_accept(self._listening)
            except OSError as e:
                LOG.warning("cannot accept a connection: %s", e)
                await asyncio.sleep(self._pause)
                continue
            try:
                await self._loop.connect_accepted_socket(lambda: PageProtocol(self._page), connection)
            except OSError as e:
                connection.close()
                LOG.debug("a connection ended before it began: %s", e)
