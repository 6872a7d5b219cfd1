"""A process that a package asks the card to run: what, as whom, when it is ready, how it is stopped.

SPEC-package §4.3. Knows values and their limits. Refuses to know how a process is started.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import check_name
from firmware_mgr.package.paths import check_directory, check_path

MAX_ARGUMENTS = 256
MAX_ARGUMENT = 4096
MAX_VARIABLES = 256
MAX_GRACE_S = 3600
MAX_ID = 0xFFFF_FFFE  # 2^32 - 1 means "leave as it is" to setuid(2)'s relatives
MAX_SIGNAL = 31

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,255}")
_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_NUMBERS = re.compile(r"(?P<uid>[0-9]{1,10}):(?P<gid>[0-9]{1,10})")
_TCP = re.compile(r"tcp:(?P<port>[1-9][0-9]{0,4})")


class Restart(Enum):
    """When the supervisor starts the process again after it has ended by itself."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class NumericUser:
    """A user and group by number."""

    uid: int
    gid: int

    def __post_init__(self) -> None:
        for name, value in (("uid", self.uid), ("gid", self.gid)):
            if not 0 <= value <= MAX_ID:
                raise UsageError(f"{name} out of range", expected=f"0 to {MAX_ID}", found=value)

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


@dataclass(frozen=True, slots=True)
class NamedUser:
    """A user by name, looked up in the root's `etc/passwd`."""

    name: str

    def __post_init__(self) -> None:
        if not _USER_NAME.fullmatch(self.name):
            raise UsageError("not a user name", expected="such as www-data", found=repr(self.name))

    def __str__(self) -> str:
        return self.name


User = NumericUser | NamedUser


def parse_user(text: str) -> User:
    """Read `1000:1000` or `www-data`. Raises UsageError."""
    match = _NUMBERS.fullmatch(text)
    return NumericUser(int(match["uid"]), int(match["gid"])) if match else NamedUser(text)


class ReadinessKind(Enum):
    """How it is known that a process is ready."""

    NOTIFY = "notify"
    STARTED = "started"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Readiness:
    """`notify` (READY=1 on NOTIFY_SOCKET), `started`, or `tcp:PORT` (the port answers)."""

    kind: ReadinessKind
    port: int = 0

    def __post_init__(self) -> None:
        legal = range(1, 0x10000) if self.kind is ReadinessKind.TCP else range(1)
        if self.port not in legal:
            raise UsageError(
                "readiness port out of range", expected=f"{legal.start} to {legal.stop - 1}", found=self.port
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises UsageError."""
        match = _TCP.fullmatch(text)
        if match:
            return cls(ReadinessKind.TCP, int(match["port"]))
        if text in (ReadinessKind.NOTIFY.value, ReadinessKind.STARTED.value):
            return cls(ReadinessKind(text))
        raise UsageError("not a readiness", expected="notify, started or tcp:PORT", found=repr(text))

    def __str__(self) -> str:
        return f"tcp:{self.port}" if self.kind is ReadinessKind.TCP else self.kind.value


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process. `module` is the path of its program in the package; `grace_s` is in seconds.

    `environment` is sorted by name and is all of the process's environment, but for what the supervisor's
    own conventions add.
    """

    name: str
    module: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_directory: str
    user: User
    readiness: Readiness
    stop_signal: int
    grace_s: int
    restart: Restart
    self_managing: bool

    def __post_init__(self) -> None:
        check_name(self.name, "process")
        check_path(self.module)
        check_directory(self.working_directory)
        if not 1 <= len(self.argv) <= MAX_ARGUMENTS:
            raise UsageError(
                "illegal number of arguments", expected=f"1 to {MAX_ARGUMENTS}", found=len(self.argv)
            )
        for text in (*self.argv, *(value for _, value in self.environment)):
            _check_argument(text)
        names = [name for name, _ in self.environment]
        if len(names) > MAX_VARIABLES or names != sorted(set(names)):
            raise UsageError(
                "environment is not sorted and unique", expected=f"{MAX_VARIABLES} names at most", found=names
            )
        for name in names:
            if not _VARIABLE.fullmatch(name):
                raise UsageError("not a name of an environment variable", found=repr(name))
        if not 1 <= self.stop_signal <= MAX_SIGNAL:
            raise UsageError("not a stop signal", expected=f"1 to {MAX_SIGNAL}", found=self.stop_signal)
        if not 0 <= self.grace_s <= MAX_GRACE_S:
            raise UsageError("grace out of range", expected=f"0 to {MAX_GRACE_S} s", found=self.grace_s)

    def document(self) -> dict[str, Any]:
        """The process as JSON-ready fields."""
        return {
            "name": self.name,
            "module": self.module,
            "argv": list(self.argv),
            "environment": dict(self.environment),
            "working_directory": self.working_directory,
            "user": str(self.user),
            "readiness": str(self.readiness),
            "stop_signal": signal.Signals(self.stop_signal).name,
            "grace_s": self.grace_s,
            "restart": self.restart.value,
            "self_managing": self.self_managing,
        }


def _check_argument(text: str) -> None:
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise UsageError("argument is not text", found=repr(text)) from None
    if length > MAX_ARGUMENT or "\0" in text:
        raise UsageError(
            "illegal argument or value",
            expected=f"no NUL, {MAX_ARGUMENT} bytes at most",
            found=repr(text[:80]),
        )
