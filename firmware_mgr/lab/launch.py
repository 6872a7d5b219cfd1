"""Brings a virtual chassis up and takes it down, from a command that ends while the chassis stays.

Knows how the daemon is started, heard and ended. Refuses to know what it does in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from enum import Enum
from pathlib import Path

from firmware_mgr.lab.leftovers import end_leftovers
from firmware_mgr.lab.network import UNSHARE
from firmware_mgr.lab.plan import ChassisPaths, ChassisPlan
from firmware_mgr.lab.process import PidFile, ProcessIdentity
from firmware_mgr.lab.record import load_record
from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError
from firmware_mgr.rack.client import HandsClient, as_error

#: The daemon's entry; it is above this room, and so is named and not imported.
DAEMON_MODULE = "firmware_mgr.app.chassis"
#: From starting the daemon to its word, in seconds.
READY_TIMEOUT = 60.0
#: From asking the daemon to end to its end, in seconds.
DOWN_TIMEOUT = 30.0


class TakenDown(Enum):
    """What `take_down` found."""

    ENDED = "ended"
    CLEANED = "cleaned up after a daemon that had died"
    NOTHING = "nothing was up"


def bring_up(plan: ChassisPlan) -> HandsClient:
    """Start the daemon in a session of its own and return when its API answers. Raises FwmgrError."""
    plan.directory.mkdir(parents=True, exist_ok=True)
    read_end, write_end = os.pipe()
    command = [sys.executable, "-m", DAEMON_MODULE, json.dumps(plan.document()), str(write_end)]
    try:
        with plan.paths.daemon_log.open("ab") as log:
            daemon = subprocess.Popen(
                [*UNSHARE, *command] if plan.rootless else command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(write_end,),
            )
    finally:
        os.close(write_end)
    try:
        word = _read_word(read_end, READY_TIMEOUT)
    finally:
        os.close(read_end)
    _judge_word(word, daemon, plan.paths)
    return HandsClient(plan.paths.api_socket)


def take_down(directory: Path) -> TakenDown:
    """End the chassis of `directory`, whatever state it is in. Raises FwmgrError when something stays."""
    paths = ChassisPaths(directory)
    record = load_record(paths.record)
    if record is None:
        return TakenDown.NOTHING
    alive = record.daemon.alive()
    if alive:
        _end_daemon(record.daemon, paths)
    pid_file = PidFile(paths.pid)
    pid_file.acquire()
    try:
        left = end_leftovers(paths)
    finally:
        pid_file.release()
    return TakenDown.CLEANED if left or not alive else TakenDown.ENDED


def _end_daemon(daemon: ProcessIdentity, paths: ChassisPaths) -> None:
    """Ask, then signal, then kill."""
    try:
        asyncio.run(HandsClient(paths.api_socket).shutdown())
    except FwmgrError:
        daemon.signal(signal.SIGTERM)
    if not daemon.wait_ended(DOWN_TIMEOUT):
        daemon.end()


def _read_word(fd: int, timeout: float) -> bytes | None:
    """What the daemon says before it closes its end: a document, nothing if it died; None if it is late."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    word = b""
    while poll.poll(timeout * 1000):
        piece = os.read(fd, 1 << 16)
        if not piece:
            return word
        word += piece
    return None


def _judge_word(word: bytes | None, daemon: subprocess.Popen[bytes], paths: ChassisPaths) -> None:
    """Raise what went wrong, in the daemon's own words where it had any."""
    if word is None:
        daemon.kill()
        raise DeviceError("the chassis daemon is late", where=str(paths.daemon_log), expected=READY_TIMEOUT)
    if word == b"":
        said = paths.daemon_log.read_text(errors="replace").strip().splitlines()
        raise DeviceError(
            "the chassis daemon died as it started",
            where=str(paths.daemon_log),
            found=said[-1] if said else f"code {daemon.wait()}",
        )
    try:
        document = json.loads(word)
    except ValueError as e:
        raise PeerError("not a daemon's first word", where=DAEMON_MODULE, found=repr(word)) from e
    if document:
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(DOWN_TIMEOUT)  # It says its word before it has let go of everything.
        raise as_error(document, str(paths.directory))
