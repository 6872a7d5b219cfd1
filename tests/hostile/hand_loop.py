"""An event loop moved by hand, in virtual time: what a server registers is called when the test says so.

Stricter than the real one: an exception in a callback comes out of the call that ran it.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any


class HandLoop(asyncio.AbstractEventLoop):
    """Readers, writers, timers and calls; nothing runs by itself."""

    def __init__(self) -> None:
        self.now = 0.0
        self.readers: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}
        self.writers: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = count()

    @contextmanager
    def running(self) -> Iterator[None]:
        """`asyncio.get_running_loop()` gives this loop inside."""
        former = events._get_running_loop()
        events._set_running_loop(self)
        try:
            yield
        finally:
            events._set_running_loop(former)

    def readable(self, fd: int) -> None:
        """Call who waits to read there, if anybody does, and all that this brings about."""
        if fd in self.readers:
            callback, args = self.readers[fd]
            callback(*args)
        self.run_ready()

    def run_ready(self) -> None:
        while self._ready:
            self._ready.popleft()._run()

    def advance(self, seconds: float) -> None:
        """Let virtual time pass; timers are called at their moments."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if not timer.cancelled():
                timer._run()
            self.run_ready()
        self.now = end

    @property
    def timers(self) -> int:
        """Timers that are still to come."""
        return sum(not timer.cancelled() for _, _, timer in self._timers)

    # What servers use of a loop.

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        self.readers[fd] = (callback, args)

    def remove_reader(self, fd: Any) -> bool:
        return self.readers.pop(fd, None) is not None

    def add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        self.writers[fd] = (callback, args)

    def remove_writer(self, fd: Any) -> bool:
        return self.writers.pop(fd, None) is not None

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=name)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(self.now + delay, callback, args, self, context)
        heapq.heappush(self._timers, (timer.when(), next(self._order), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._timers = [entry for entry in self._timers if entry[2] is not handle]
        heapq.heapify(self._timers)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise context["exception"]


class HandClock:
    """The servers' clock over that loop."""

    def __init__(self, loop: HandLoop) -> None:
        self._loop = loop

    def unix(self) -> float:
        return 1_700_000_000 + self._loop.now

    def monotonic(self) -> float:
        return self._loop.now
