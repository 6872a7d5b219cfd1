"""The real worlds: starts a keeper for each, and speaks with it. The agent's side of the keeper's wire.

Knows frames and descriptors; refuses to know mounts and when processes are wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import firmware_mgr
from firmware_mgr.card import keeper_wire as wire
from firmware_mgr.card.keeper_wire import Request
from firmware_mgr.card.processes import ProcessEnd, SpawnOrder, WorldLost, WorldOrder
from firmware_mgr.model.errors import DeviceError

#: No site packages, and nothing from the current directory: the keeper needs the standard library and us.
_PYTHON_FLAGS = ("-S", "-P")
_CODE = Path(firmware_mgr.__file__).parent.parent
#: A keeper that was told to close has this long until it is killed; its processes and mounts go with it.
CLOSE_SECONDS = 20.0


class KeeperWorlds:
    """Makes worlds by mounting. For root on Linux 5.16 and later."""

    async def make(self, order: WorldOrder, on_end: Callable[[ProcessEnd], None]) -> KeeperWorld:
        """See WorldMaker."""
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, *_PYTHON_FLAGS, "-m", "firmware_mgr.card.keeper", str(theirs.fileno())]
            environment = {"PYTHONPATH": str(_CODE), "LC_ALL": "C.UTF-8"}
            try:
                keeper = _start(command, environment, theirs.fileno())
            except OSError as e:
                ours.close()
                raise DeviceError("the keeper does not start", where=command[0], found=e.strerror) from e
        world = KeeperWorld(keeper, ours, on_end)
        try:
            await world.build(order)
        except BaseException:
            await world.close()
            raise
        return world


def _start(command: Sequence[str], environment: dict[str, str], descriptor: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, env=environment, pass_fds=(descriptor,), stdin=subprocess.DEVNULL, cwd="/", close_fds=True
    )


class KeeperWorld:
    """A world in the hands of a keeper."""

    def __init__(
        self, keeper: subprocess.Popen[bytes], end: socket.socket, on_end: Callable[[ProcessEnd], None]
    ) -> None:
        self._keeper = keeper
        self._end = end
        self._on_end = on_end
        self._running: set[int] = set()
        self._answers: deque[asyncio.Future[dict[str, Any]]] = deque()
        self._sending = asyncio.Lock()
        self._signals: set[asyncio.Task[None]] = set()
        end.setblocking(False)
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def build(self, order: WorldOrder) -> None:
        document = {
            "do": Request.MAKE.value,
            "partition": str(order.partition),
            "scratch": str(order.scratch),
            "shared": {inside: str(outside) for inside, outside in order.shared.items()},
            "read_only": sorted(order.read_only),
        }
        images = []
        try:
            for name, image in (("fwmgr-tree", order.tree), ("fwmgr-source", order.source)):
                # The name shows in /sys/block/loop*/loop/backing_file for as long as the image is held.
                images.append(os.memfd_create(f"{name}-{os.getpid()}", os.MFD_CLOEXEC))
                with os.fdopen(images[-1], "wb", closefd=False) as file:
                    file.write(image)
            await self._ask(document, images)
        finally:
            for descriptor in images:
                os.close(descriptor)

    async def spawn(self, order: SpawnOrder) -> int:
        """See World."""
        process = {
            "program": order.program,
            "argv": list(order.argv),
            "environment": dict(order.environment),
            "directory": order.directory,
            "user": str(order.user),
            "state": order.state,
        }
        answer = await self._ask({"do": Request.SPAWN.value, "process": process}, [order.output])
        return int(answer["pid"])

    def send_signal(self, pid: int, number: int) -> None:
        """See World."""
        document = {"do": Request.SIGNAL.value, "pid": pid, "signal": int(number)}
        task = asyncio.get_running_loop().create_task(self._send(document, ()))
        self._signals.add(task)
        task.add_done_callback(self._signals.discard)

    async def close(self) -> None:
        """See World. Works whatever state the keeper is in."""
        if self._end.fileno() < 0:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ask({"do": Request.CLOSE.value}, ())
        except (DeviceError, TimeoutError):
            self._keeper.send_signal(signal.SIGKILL)
        self._reader.cancel()
        await asyncio.gather(self._reader, *self._signals, return_exceptions=True)
        self._end.close()
        await asyncio.to_thread(self._keeper.wait)
        self._lose()

    async def _ask(self, document: dict[str, Any], descriptors: Sequence[int]) -> dict[str, Any]:
        if self._reader.done():
            raise _gone()
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        await self._send(document, descriptors, answer)
        result = await answer
        if "error" in result:
            raise wire.to_error(result["error"])
        return result

    async def _send(
        self,
        document: dict[str, Any],
        descriptors: Sequence[int],
        answer: asyncio.Future[dict[str, Any]] | None = None,
    ) -> None:
        """One frame. Answers come in the order of requests, so a future queues as its frame is sent."""
        frame = wire.encode(document)
        async with self._sending:
            if answer is not None:
                self._answers.append(answer)
            try:
                if descriptors:
                    # Only the frame's head: it fits whenever the socket has room at all, and each request
                    # with descriptors waits for its answer.
                    sent = socket.send_fds(self._end, [frame[: wire.LENGTH.size]], list(descriptors))
                    frame = frame[sent:]
                await asyncio.get_running_loop().sock_sendall(self._end, frame)
            except OSError:
                if answer is not None and not answer.done():
                    answer.set_exception(_gone())

    async def _read(self) -> None:
        decoder = wire.Decoder()
        try:
            while data := await asyncio.get_running_loop().sock_recv(self._end, 65536):
                for document in decoder.feed(data):
                    self._receive(document)
        except OSError:
            pass  # the same as an end of the stream
        finally:
            self._lose()

    def _receive(self, document: dict[str, Any]) -> None:
        if "end" in document:
            self._running.discard(document["end"])
            end = ProcessEnd(document["end"], document["code"], document["signal"])
            # Behind the caller of `spawn`, who may be about to learn this very pid.
            asyncio.get_running_loop().call_soon(self._on_end, end)
            return
        answer = self._answers.popleft()
        if "pid" in document:
            self._running.add(document["pid"])
        if not answer.done():
            answer.set_result(document)

    def _lose(self) -> None:
        """The keeper is gone, and by its death its processes; their groups are ours to kill then."""
        while self._answers:
            answer = self._answers.popleft()
            if not answer.done():
                answer.set_exception(_gone())
        while self._running:
            pid = self._running.pop()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            self._on_end(ProcessEnd(pid, 0, signal.SIGKILL))


def _gone() -> WorldLost:
    return WorldLost("the keeper has died", where="keeper", hint="its last words are on the console")
