"""Turns a fresh child of the keeper into a process of the set. Runs in the keeper, which has one thread.

Knows what a process inherits and what it does not (docs/RUNNING.md); refuses to know when and why.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from typing import NoReturn

from firmware_mgr.card import mounts
from firmware_mgr.card.keeper_wire import to_error
from firmware_mgr.card.users import find_user
from firmware_mgr.model.errors import FwmgrError, PeerError
from firmware_mgr.package.process import User, parse_user

UMASK = 0o022
#: proc(5): when RAM runs out, a package's process goes before the agent and its helpers.
OOM_SCORE = "500"


@dataclass(frozen=True, slots=True)
class SpawnRequest:
    """What goes over the wire for a process to start."""

    program: str
    argv: list[str]
    environment: dict[str, str]
    directory: str
    user: str
    state: str = ""


def spawn(request: SpawnRequest, world: int, output: int) -> int:
    """Start a process in the world and return its pid once `execve` has succeeded.

    Raises PeerError when the package is at fault, DeviceError otherwise; the child is gone then.
    """
    user = parse_user(request.user)
    failed, report = os.pipe()  # closed by execve; what is written before that is the failure
    pid = os.fork()
    if pid == 0:
        _become(request, user, world, output, report)
    os.close(report)
    with os.fdopen(failed, "rb") as answer:
        error = answer.read()
    if error:
        os.waitpid(pid, 0)
        raise to_error(json.loads(error))
    return pid


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _become(request: SpawnRequest, user: User, world: int, output: int, report: int) -> NoReturn:
    step = "setns"
    try:
        mounts.enter_mounts(world)
        step = f"working directory {request.directory}"
        os.chdir(request.directory)
        identity = find_user(user, _text("/etc/passwd"), _text("/etc/group"))
        step = "session and descriptors"
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor, standard in ((null, 0), (output, 1), (output, 2)):
            os.dup2(descriptor, standard)
        step = "oom_score_adj"
        _write("/proc/self/oom_score_adj", OOM_SCORE)
        if request.state:
            step = f"directory {request.state}"
            owner = os.stat(request.state)
            if (owner.st_uid, owner.st_gid) != (identity.uid, identity.gid):
                os.chown(request.state, identity.uid, identity.gid)
        step = f"user {request.user}"
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
        step = "prctl"
        mounts.set_process(mounts.PR_SET_NO_NEW_PRIVS, 1)
        mounts.set_process(mounts.PR_SET_PDEATHSIG, signal.SIGKILL)  # after setuid, which clears it
        os.umask(UMASK)
        signal.set_wakeup_fd(-1)
        # What Python ignores, what we handle, and what whoever started us had ignored (nohup does).
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            if signal.getsignal(number) is not signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        step = f"execve {request.program}"
        os.set_inheritable(report, False)
        os.closerange(3, report)
        os.closerange(report + 1, os.sysconf("SC_OPEN_MAX"))
        os.execve(request.program, request.argv, request.environment)
    except OSError as e:
        hint = ""
        if isinstance(e, FileNotFoundError) and step.startswith("execve"):
            hint = "the program itself, or the loader that it names, is not in the set"
        error: FwmgrError = PeerError(
            "process cannot be started", where=step, found=e.strerror or str(e), hint=hint
        )
        os.write(report, json.dumps(error.document()).encode())
    except FwmgrError as e:
        os.write(report, json.dumps(e.document()).encode())
    finally:
        os._exit(127)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
