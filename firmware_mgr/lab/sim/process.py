"""A process of the twin: a group of tasks that one kill ends between two instructions, with no clean-up.

Knows who belongs to it, by the context that tasks and callbacks inherit. Refuses to know what they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

PROCESS: ContextVar[SimProcess | None] = ContextVar("sim_process", default=None)


class ProcessKilled(BaseException):
    """Raised in a thread whose process was killed while it waited. An event: nobody handles it."""


class SimProcess:
    """`host` is the machine that it runs on, as the network knows it; `say` takes what it logs, if set."""

    def __init__(self, name: str, host: object) -> None:
        self.name = name
        self.host = host
        self.dead = False
        self.say: Callable[[str], None] | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        self.at_death: list[Callable[[], None]] = []
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that belongs to this process."""
        return asyncio.get_running_loop().create_task(work, context=self.context.copy())

    def kill(self) -> None:
        """As kill -9: not one more instruction runs; then what its kernel does about it (`at_death`)."""
        if self.dead:
            return
        self.dead = True
        for tidy in self.at_death:
            tidy()

    def bury(self) -> None:
        """Let go of what never ended. The loop must be mute: what clean-up says now reaches nobody."""
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            try:
                coroutine.close()
            except (RuntimeError, ValueError):
                pass  # it wanted to wait, or is running
        self.tasks.clear()


def belongs_to(context: Context) -> SimProcess | None:
    return context.get(PROCESS)
