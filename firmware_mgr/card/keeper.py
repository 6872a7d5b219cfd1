"""The keeper: the agent's helper with one thread, which mounts worlds and is the parent of their processes.

A program of its own (`python3 -m firmware_mgr.card.keeper DESCRIPTOR`), since the agent has threads and may
not fork or change namespaces. It does what it is told, reports every process that ends, and ends with the
agent; its namespace and its processes go with it. Refuses to decide anything.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from firmware_mgr.card import keeper_wire as wire
from firmware_mgr.card import mounts, world
from firmware_mgr.card.keeper_wire import Request
from firmware_mgr.card.spawn import SpawnRequest, spawn
from firmware_mgr.model.errors import DeviceError, FwmgrError, UsageError


class Keeper:
    """One world at most, and the processes in it."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._world = -1
        self._source: Path | None = None
        self._processes: set[int] = set()

    def run(self) -> None:
        """Serve until the agent's end is closed."""
        mounts.set_process(mounts.PR_SET_CHILD_SUBREAPER, 1)
        mounts.unshare_mounts()
        wake, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        for descriptor in (self._end.fileno(), wake):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if wake in ready:
                os.read(wake, 4096)
                self._reap()
            if self._end.fileno() in ready and not self._serve():
                break
        self._close()

    def _serve(self) -> bool:
        received = wire.receive(self._end)
        if received is None:
            return False
        document, descriptors = received
        request = Request(document["do"])
        try:
            answer = self._carry_out(request, document, descriptors)
        except FwmgrError as e:
            answer = {"error": e.document()}
        except OSError as e:
            error = DeviceError(f"cannot {request.value}", where="keeper", found=e.strerror or str(e))
            answer = {"error": error.document()}
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        if request is not Request.SIGNAL:
            try:
                wire.send(self._end, answer)
            except OSError:
                return False
        return True

    def _carry_out(
        self, request: Request, document: dict[str, Any], descriptors: list[int]
    ) -> dict[str, Any]:
        if request is Request.MAKE:
            self._make(document, *descriptors)
        elif request is Request.SPAWN:
            pid = spawn(SpawnRequest(**document["process"]), self._world, *descriptors)
            self._processes.add(pid)
            return {"pid": pid}
        elif request is Request.SIGNAL:
            self._signal(document["pid"], document["signal"])
        elif request is Request.CLOSE:
            self._close()
        return {}

    def _make(self, document: dict[str, Any], tree: int, source: int) -> None:
        if self._world >= 0:
            raise UsageError("the keeper has a world already")
        scratch = Path(document["scratch"])
        self._source = world.mount_source(source, Path(document["partition"]), scratch)
        try:
            self._world = world.make_world(
                tree, self._source, document["shared"], scratch, frozenset(document["read_only"])
            )
        except OSError:
            self._unmount_source()
            raise

    def _signal(self, pid: int, number: int) -> None:
        """Processes that have not been reaped keep their numbers, so this cannot hit another."""
        if pid in self._processes:
            if number == signal.SIGKILL:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)

    def _reap(self) -> None:
        """Report processes that have ended, after what is left of their groups has been killed."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            if pid in self._processes:
                os.killpg(pid, signal.SIGKILL)  # the number is the dead leader's until it is waited for
            os.waitpid(pid, 0)
            if pid in self._processes:
                self._processes.discard(pid)
                killed = found.si_code != os.CLD_EXITED
                status = found.si_status
                end = {"end": pid, "code": 0 if killed else status, "signal": status if killed else 0}
                try:
                    wire.send(self._end, end)
                except OSError:
                    return  # the agent is gone; the main loop will see it

    def _close(self) -> None:
        """Kill everything that descends from us, and take the world down."""
        for pid in self._processes:
            os.killpg(pid, signal.SIGKILL)
        while (children := _children()) or self._processes:
            for pid in children - self._processes:
                os.kill(pid, signal.SIGKILL)
            try:
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            except ChildProcessError:
                break
            self._reap()
        if self._world >= 0:
            os.close(self._world)
            self._world = -1
        self._unmount_source()

    def _unmount_source(self) -> None:
        if self._source is not None:
            mounts.unmount(self._source, mounts.MNT_DETACH)
            self._source = None


def _children() -> set[int]:
    """Our children, dead ones too; orphans of our processes are among them (PR_SET_CHILD_SUBREAPER)."""
    own = os.getpid()
    try:
        return {int(pid) for pid in Path(f"/proc/{own}/task/{own}/children").read_text().split()}
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return set()


def main() -> None:
    os.setsid()
    Keeper(socket.socket(fileno=int(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
