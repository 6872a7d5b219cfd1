"""The notification socket: what processes say of themselves (sd_notify(3)).

Datagrams of lines `NAME=value`. The kernel vouches for the sender's pid (SCM_CREDENTIALS, unix(7)), so a
process can speak for itself only. Knows words; refuses to know what follows from them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAX_DATAGRAM = 4096
MAX_STATUS = 200
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True)
class Notice:
    """What one datagram says. `status` is None when it says nothing for people."""

    ready: bool = False
    stopping: bool = False
    reloading: bool = False
    status: str | None = None


def read_notice(data: bytes) -> Notice:
    """Names that we do not know are passed over, as sd_notify(3) wants it."""
    lines = data.decode("utf-8", "replace").split("\n")
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    status = fields.get("STATUS")
    if status is not None:
        status = "".join(c if c.isprintable() else " " for c in status)[:MAX_STATUS]
    return Notice(
        ready=fields.get("READY") == "1",
        stopping=fields.get("STOPPING") == "1",
        reloading=fields.get("RELOADING") == "1",
        status=status,
    )


class NotifySocket:
    """Listens at `path` and hands each notice on with its sender's pid."""

    def __init__(self, path: Path, on_notice: Callable[[int, Notice], None]) -> None:
        """Raises OSError when the socket cannot be made."""
        self._path = path
        self._on_notice = on_notice
        self._loop = asyncio.get_running_loop()
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._bind(path)
            path.chmod(0o666)  # processes run as any user
            self._loop.add_reader(self._socket, self._read)
        except BaseException:
            self._socket.close()
            raise

    def _bind(self, path: Path) -> None:
        """By way of /proc, since a socket's own path may have 107 bytes only (unix(7))."""
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._socket.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)

    def close(self) -> None:
        """May be called when the loop does not run."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _read(self) -> None:
        room = socket.CMSG_SPACE(_CREDENTIALS.size)
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(MAX_DATAGRAM, room)
            except BlockingIOError:
                return
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    self._on_notice(_CREDENTIALS.unpack(value[: _CREDENTIALS.size])[0], read_notice(data))
