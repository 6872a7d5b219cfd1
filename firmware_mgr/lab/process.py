"""Processes by identity: a pid counts only with the moment its process started.

Knows /proc and pidfds, so that nothing is ever signalled that is not the recorded process.
Refuses to know what the process is for.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from firmware_mgr.model.errors import DeviceError, PeerError, UsageError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: Of the fields of /proc/PID/stat that follow the name in parentheses (proc(5)): 3 state, 22 starttime.
_STATE, _START_TICKS = 3 - 3, 22 - 3
#: States of a process that has ended (proc(5)): zombie, dead.
_ENDED = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of one boot of the host: pid, start time in clock ticks since that boot, the boot's id."""

    pid: int
    start_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """The identity of a running process. Raises DeviceError when there is none."""
        fields = _stat(pid)
        if fields is None or fields[_STATE] in _ENDED:
            raise DeviceError("process has already ended", where=f"pid {pid}")
        return cls(pid, int(fields[_START_TICKS]), _BOOT_ID.read_text().strip())

    def alive(self) -> bool:
        """Whether this very process still runs."""
        fields = self._own_stat()
        return fields is not None and fields[_STATE] not in _ENDED

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to this very process; False when it has ended."""
        with self._pidfd() as fd:
            if fd is None:
                return False
            try:
                signal.pidfd_send_signal(fd, number)
            except ProcessLookupError:
                return False
            except PermissionError as e:
                raise UsageError(
                    "the process belongs to another user", where=f"pid {self.pid}", hint="run as that user"
                ) from e
            return True

    def wait_ended(self, timeout: float) -> bool:
        """Wait until all of it has ended; False after `timeout` seconds.

        A process killed while it has threads is a zombie first, and lets go of its files a little later.
        """
        with self._pidfd() as fd:
            if fd is None:
                return True
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            return bool(poll.poll(timeout * 1000))

    def end(self, timeout: float = 10.0) -> bool:
        """Kill and wait; False when it had already ended. Raises DeviceError when it does not go."""
        was_alive = self.alive() and self.signal(signal.SIGKILL)
        if not self.wait_ended(timeout):
            raise DeviceError("process does not end", where=f"pid {self.pid}", expected=f"in {timeout:g} s")
        return was_alive

    @contextmanager
    def _pidfd(self) -> Iterator[int | None]:
        """A handle that cannot come to mean another process: opened first, the identity checked after."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            yield None
            return
        try:
            yield None if self._own_stat() is None else fd
        finally:
            os.close(fd)

    def _own_stat(self) -> list[str] | None:
        fields = _stat(self.pid)
        if fields is None or int(fields[_START_TICKS]) != self.start_ticks:
            return None
        return fields if _BOOT_ID.read_text().strip() == self.boot_id else None

    def document(self) -> dict[str, Any]:
        return {"pid": self.pid, "start_ticks": self.start_ticks, "boot_id": self.boot_id}

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        """Raises PeerError when a field is missing or wrong."""
        try:
            return cls(int(doc["pid"]), int(doc["start_ticks"]), str(doc["boot_id"]))
        except (KeyError, TypeError, ValueError) as e:
            raise PeerError("not a process identity", found=str(e)) from e


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


class PidFile:
    """A locked pid file: whoever holds it is the one daemon of its directory, for as long as it lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Raises UsageError when another process holds it."""
        while self._fd is None:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
                os.close(fd)
                raise UsageError(
                    "a chassis daemon is at work here already",
                    where=str(self._path.parent),
                    found=f"pid {holder or 'unknown'}",
                    hint="end it with: fwmgr chassis down",
                ) from e
            if self._is_the_path(fd):
                self._fd = fd
            else:  # The one before us removed the file between our open and our lock.
                os.close(fd)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Remove the file and let go of it."""
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None

    def _is_the_path(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._path.stat())
        except FileNotFoundError:
            return False
