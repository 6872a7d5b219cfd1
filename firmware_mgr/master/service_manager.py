"""What the master tells the service manager that started it: ready, stopping, still alive (sd_notify(3)).

Knows the words and the socket's name. Refuses to know whether anybody listens: without one, nothing is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Mapping

from firmware_mgr.model.errors import DeviceError

log = logging.getLogger(__name__)

SOCKET_VARIABLE = "NOTIFY_SOCKET"
#: Microseconds between two signs of life at most, and whom that is meant for (sd_watchdog_enabled(3)).
WATCHDOG_VARIABLE = "WATCHDOG_USEC"
WATCHDOG_PID_VARIABLE = "WATCHDOG_PID"


class ServiceManager:
    """The last of the master's parts: `start` says that all others are up."""

    def __init__(self, environment: Mapping[str, str], pid: int | None = None) -> None:
        self._path = environment.get(SOCKET_VARIABLE, "")
        meant = environment.get(WATCHDOG_PID_VARIABLE, "")
        for_us = meant in {"", str(os.getpid() if pid is None else pid)}
        usec = environment.get(WATCHDOG_VARIABLE, "")
        #: Seconds between signs of life: half of what is allowed. None: nobody waits for any.
        self.interval = int(usec) / 2e6 if usec.isdigit() and int(usec) > 0 and for_us else None
        self._heart: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._say("READY=1\nSTATUS=serving cards")
        if self.interval is not None:
            self._heart = asyncio.create_task(self._beat(self.interval))

    async def stop(self) -> None:
        self._say("STOPPING=1\nSTATUS=going down")
        if self._heart is not None:
            self._heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._heart

    async def _beat(self, interval: float) -> None:
        """From the event loop itself: one that is stuck says nothing, and is started anew."""
        while True:
            self._say("WATCHDOG=1")
            await asyncio.sleep(interval)

    def _say(self, words: str) -> None:
        if not self._path:
            return
        # A name that begins with @ is an abstract one (unix(7)).
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.sendto(words.encode(), address)
        except OSError as e:
            log.warning(
                "%s", DeviceError("the service manager cannot be told", where=self._path, found=e.strerror)
            )
