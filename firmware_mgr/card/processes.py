"""What is known of a process of the set: its state, and what it takes to start it. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.software import PackageRef
from firmware_mgr.package.process import User


class ProcessState(Enum):
    """Where a process stands. STOPPING lasts from the stop signal to the end."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    BACKING_OFF = "backing-off"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """`pid` is 0 while there is none. `started_at`: the last start, in seconds of the monotonic clock."""

    name: str
    package: PackageRef
    pid: int
    state: ProcessState
    detail: str
    restarts: int
    started_at: float


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """A process has ended: by exit with `code`, or by `signal` when that is not 0."""

    pid: int
    code: int
    signal: int = 0

    @property
    def good(self) -> bool:
        return not self.code and not self.signal

    def __str__(self) -> str:
        return f"killed by signal {self.signal}" if self.signal else f"ended with {self.code}"


@dataclass(frozen=True, slots=True)
class SpawnOrder:
    """A process to start. `program` and `directory` are paths in the world, `output` our descriptor.

    `state` is the directory in the world that is made the user's own, if any.
    """

    program: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    directory: str
    user: User
    output: int
    state: str = ""


@dataclass(frozen=True, slots=True)
class WorldOrder:
    """A world to make. `shared` binds directories of ours, by their path in the world without leading `/`.

    `scratch` is an empty directory that only the world's maker uses; processes cannot write to what is
    `read_only` of the shared ones.
    """

    partition: Path
    tree: bytes
    source: bytes
    shared: Mapping[str, Path]
    scratch: Path
    read_only: frozenset[str] = frozenset()


class WorldLost(DeviceError):
    """The world is gone with all its processes: nothing can be started in it any more."""


class World(Protocol):
    """A root in which processes run."""

    async def spawn(self, order: SpawnOrder) -> int:
        """Start a process; its pid once `execve` has succeeded. Raises PeerError, DeviceError, WorldLost."""

    def send_signal(self, pid: int, number: int) -> None:
        """Signal the process; SIGKILL goes to its whole group. Nothing happens when it has ended."""

    async def close(self) -> None:
        """Kill what still runs and take the root down. May be called again."""


class WorldMaker(Protocol):
    """Makes worlds. The real one mounts; a simulated card's need not."""

    async def make(self, order: WorldOrder, on_end: Callable[[ProcessEnd], None]) -> World:
        """Make a world. `on_end` is told once of the end of each process that `spawn` has returned.

        Raises DeviceError; nothing is left then.
        """
