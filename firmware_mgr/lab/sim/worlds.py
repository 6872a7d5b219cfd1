"""The in-process twin of worlds, stricter than the real one: processes are scripts of a few words.

It refuses what the real one lets pass: a closed or leaked world, a signal to a process that was never there,
an image that is not whole, directories that are not fresh. Time is asyncio's own.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from firmware_mgr.card import erofs_layout as ondisk
from firmware_mgr.card.processes import ProcessEnd, SpawnOrder, WorldOrder
from firmware_mgr.model.errors import DeviceError, PeerError


@dataclass(frozen=True, slots=True)
class Script:
    """How a program behaves: `refuses` is execve's error, `ends` its early end, `deaf` to all but SIGKILL.

    `serves` is the port that answers once it has run for `after` seconds.
    """

    refuses: str = ""
    ends: int | None = None
    deaf: bool = False
    says: bytes = b""
    serves: int | None = None
    after: float = 0.0


#: Begins to serve a port and gives what ends it.
Serve = Callable[[int], Callable[[], None]]


@dataclass
class TwinWorld:
    """See World."""

    order: WorldOrder
    scripts: Mapping[str, list[Script]]
    on_end: Callable[[ProcessEnd], None]
    first_pid: int
    orders: list[SpawnOrder] = field(default_factory=list)
    signals: list[tuple[int, int]] = field(default_factory=list)
    running: dict[int, Script] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    closed: bool = False
    serve: Serve | None = None
    serving: dict[int, Callable[[], None]] = field(default_factory=dict)

    async def spawn(self, order: SpawnOrder) -> int:
        assert not self.closed, "spawn in a closed world"
        assert order.environment == tuple(dict(order.environment).items()), "a variable twice"
        os.fstat(order.output)
        scripts = self.scripts.get(order.argv[0], [])
        script = scripts.pop(0) if len(scripts) > 1 else (scripts or [Script()])[0]
        self.orders.append(order)
        os.write(order.output, script.says)
        await asyncio.sleep(0)
        if script.refuses:
            raise PeerError("process cannot be started", where=order.program, found=script.refuses)
        pid = self.first_pid + len(self.orders)
        self.running[pid] = script
        if script.ends is not None:
            asyncio.get_running_loop().call_soon(self.end, pid, script.ends)
        if script.serves is not None:
            asyncio.get_running_loop().call_later(script.after, self._serve, pid, script.serves)
        return pid

    def _serve(self, pid: int, port: int) -> None:
        if pid in self.running:
            assert self.serve is not None, "this twin's processes have no network"
            self.serving[pid] = self.serve(port)

    def send_signal(self, pid: int, number: int) -> None:
        assert not self.closed, "signal in a closed world"
        assert pid in self.running or pid in self.ended, f"signal to {pid}, which was never there"
        self.signals.append((pid, number))
        script = self.running.get(pid)
        if script is not None and (number == signal.SIGKILL or not script.deaf):
            asyncio.get_running_loop().call_soon(self.end, pid, 0, number)

    def end(self, pid: int, code: int, number: int = 0) -> None:
        if self.running.pop(pid, None) is not None:
            self.ended.add(pid)
            if pid in self.serving:
                self.serving.pop(pid)()
            self.on_end(ProcessEnd(pid, code, number))

    async def close(self) -> None:
        self.closed = True
        for pid in list(self.running):
            self.end(pid, 0, signal.SIGKILL)


class TwinWorlds:
    """See WorldMaker. `scripts` are by argument 0; the last one of a list is used again."""

    def __init__(
        self,
        scripts: Mapping[str, Sequence[Script]] | None = None,
        broken: bool = False,
        serve: Serve | None = None,
    ) -> None:
        self.scripts = {name: list(given) for name, given in (scripts or {}).items()}
        self.broken = broken
        self.serve = serve
        self.worlds: list[TwinWorld] = []

    @property
    def world(self) -> TwinWorld:
        return self.worlds[-1]

    async def make(self, order: WorldOrder, on_end: Callable[[ProcessEnd], None]) -> TwinWorld:
        assert all(world.closed for world in self.worlds), "two worlds at once"
        for image in (order.tree, order.source):
            magic = ondisk.SUPER.unpack_from(image, ondisk.SUPER_OFFSET)[0]
            assert magic == ondisk.SUPER_MAGIC and len(image) % ondisk.BLOCK == 0
        for directory in (*order.shared.values(), order.scratch):
            assert directory.is_dir(), f"{directory} is not there"
        assert not list(order.scratch.iterdir()), "scratch is not empty"
        await asyncio.sleep(0)
        if self.broken:
            raise DeviceError("cannot make", where="keeper", found="out of loop devices")
        self.worlds.append(
            TwinWorld(order, self.scripts, on_end, 1000 * (len(self.worlds) + 1), serve=self.serve)
        )
        return self.world
