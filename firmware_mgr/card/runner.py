"""Runs a software set: makes its world, starts its processes, keeps them running, stops them.

The shell of `supervisor`: it performs the machines' actions and brings them events. Refuses to know the link,
flash and whether a set may run. docs/RUNNING.md says what a process finds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from firmware_mgr.card import supervisor as s
from firmware_mgr.card import tree
from firmware_mgr.card.keeper_world import KeeperWorlds
from firmware_mgr.card.mounts import prepare_root
from firmware_mgr.card.notify import Notice, NotifySocket
from firmware_mgr.card.process_log import ProcessLog
from firmware_mgr.card.processes import (
    ProcessEnd,
    ProcessState,
    ProcessStatus,
    SpawnOrder,
    World,
    WorldLost,
    WorldMaker,
    WorldOrder,
)
from firmware_mgr.card.settings_files import lay_out, variables
from firmware_mgr.card.supervisor import Limits, ProcessMachine
from firmware_mgr.card.tree import InstalledPackage
from firmware_mgr.flash.store_geometry import Extent
from firmware_mgr.link.service import Settings
from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError, UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.package.process import ReadinessKind

__all__ = [
    "InstalledPackage",
    "Limits",
    "ProcessState",
    "ProcessStatus",
    "SetRunner",
    "prepare_root",
]

#: While a set is being started, a process that has ended so often without being ready gives the set up.
START_TRIES = 3
#: Between two looks whether a port answers, in seconds.
PROBE_SECONDS = 0.2
#: After the longest grace period; then the world is closed over what still runs.
STOP_MARGIN_SECONDS = 10.0
NOTIFY_NAME = "fwmgr-notify"
#: Where processes find the files of the slot's settings; it lies in `/run`, which packages cannot bring.
SETTINGS_PLACE = "run/settings"
#: Notices that are kept for a process which speaks before we have been told its pid.
MAX_EARLY_NOTICES = 64
_RUNNING = (ProcessState.STARTING, ProcessState.READY, ProcessState.STOPPING)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a runner asks of the card's kernel besides worlds. A simulated card answers otherwise."""

    measure: Callable[[Path], int]
    answers: Callable[[int], Awaitable[bool]]


class _Member:
    """A process of the set with what belongs to it."""

    def __init__(self, package: InstalledPackage, machine: ProcessMachine, log: ProcessLog) -> None:
        self.package = package
        self.machine = machine
        self.log = log
        self.timer: asyncio.TimerHandle | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def title(self) -> str:
        return f"process {self.machine.spec.name} of {self.package.title}"

    @property
    def status(self) -> ProcessStatus:
        m = self.machine
        return ProcessStatus(
            m.spec.name, self.package.ref, m.pid, m.state, m.detail, m.restarts, m.started_at
        )


class SetRunner:
    """Runs one set at a time. For one event loop.

    `store_partition` is the block device node of the store, or finds it (it may raise DeviceError);
    `run_directory` a directory in RAM of which
    `log/`, `run/`, `tmp/` and `world/` are ours. `on_change` is told every change of a process's status,
    `on_lost` that the set's world is gone: only a new start can bring the set back.
    """

    def __init__(
        self,
        *,
        store_partition: Path | Callable[[], Path],
        state_directory: Path,
        run_directory: Path,
        on_change: Callable[[ProcessStatus], None],
        on_lost: Callable[[WorldLost], None] | None = None,
        worlds: WorldMaker | None = None,
        limits: Limits | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self._around = surroundings or Surroundings(_sync_and_measure, _answers)
        self._partition = store_partition
        self._state = state_directory
        self._directory = run_directory
        self._on_change = on_change
        self._on_lost = on_lost
        self._worlds = KeeperWorlds() if worlds is None else worlds
        self._limits = Limits() if limits is None else limits
        self._members: list[_Member] = []
        self._world: World | None = None
        self._notify: NotifySocket | None = None
        self._early: deque[tuple[int, Notice]] = deque(maxlen=MAX_EARLY_NOTICES)
        self._changed = asyncio.Event()
        self._name: str | None = None
        self._settings: Settings | None = None
        self._starting: asyncio.Task[None] | None = None
        self._stopping = asyncio.Lock()

    def statuses(self) -> tuple[ProcessStatus, ...]:
        """The processes of the set, in the order in which they were started; empty when none runs."""
        return tuple(member.status for member in self._members)

    async def start(
        self,
        name: str,
        packages: Sequence[InstalledPackage],
        extent_of: Callable[[Digest], Extent],
        settings: Settings | None = None,
    ) -> tuple[ProcessStatus, ...]:
        """Make the set's world, start its processes in the set's order, and wait until all are ready.

        `name` is for errors and logs; `settings` hold until the set is stopped.
        Raises UsageError when a set runs already, PeerError when a package or
        a process of it is at fault, DeviceError otherwise; nothing is left running then.
        """
        if self._name is not None:
            raise UsageError("a set runs already", where=f"set {name}", found=self._name)
        self._name, self._settings = name, settings
        self._starting = asyncio.get_running_loop().create_task(self._bring_up(name, packages, extent_of))
        try:
            await self._starting
        except asyncio.CancelledError:
            await self.stop()
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            raise DeviceError("set was stopped while it was being started", where=f"set {name}") from None
        except BaseException:
            await self.stop()
            raise
        return self.statuses()

    async def _bring_up(
        self, name: str, packages: Sequence[InstalledPackage], extent_of: Callable[[Digest], Extent]
    ) -> None:
        await self._build(name, packages, extent_of)
        for member in self._members:
            self._tell(member, s.Start())
        await self._wait_all_ready()

    async def stop(self) -> None:
        """Stop all processes and take the world down. May be called at any time, and again."""
        async with self._stopping:
            if self._starting is not None and not self._starting.done():
                self._starting.cancel()
                await asyncio.wait([self._starting])
            await self._take_down()
            self._name = self._starting = None

    async def _take_down(self) -> None:
        for member in self._members:
            self._tell(member, s.Stop())
        longest = max((member.machine.spec.grace_s for member in self._members), default=0)
        try:
            async with asyncio.timeout(longest + STOP_MARGIN_SECONDS):
                await self._wait_none_runs()
        except TimeoutError:
            _log.error("set %s: processes do not end, not even by SIGKILL", self._name)
        if self._world is not None:
            await self._world.close()
            self._world = None
        for member in self._members:
            if member.timer is not None:
                member.timer.cancel()
            for task in member.tasks:
                task.cancel()
            member.log.close()
        self._members = []
        if self._notify is not None:
            self._notify.close()
            self._notify = None
        for directory in ("run", "tmp", "world", "settings"):
            shutil.rmtree(self._directory / directory, ignore_errors=True)

    # Making the world

    async def _build(
        self, name: str, packages: Sequence[InstalledPackage], extent_of: Callable[[Digest], Extent]
    ) -> None:
        specs = [(package, spec) for package in packages for spec in package.processes]
        names = [spec.name for _, spec in specs]
        if twice := {each for each in names if names.count(each) > 1}:
            raise PeerError(
                "two processes have one name", where=f"set {name}", found=", ".join(sorted(twice))
            )
        if not specs:
            return
        try:
            self._prepare_directories()
            lay_out(self._settings, self._directory / "settings")
            for package, _ in specs:
                (self._state / package.ref.name).mkdir(mode=0o750, exist_ok=True)
            for package, spec in specs:
                log = ProcessLog(self._directory / "log" / f"{spec.name}.log")
                self._members.append(_Member(package, ProcessMachine(spec, self._limits), log))
            self._notify = NotifySocket(self._directory / "run" / NOTIFY_NAME, self._on_notice)
            partition = self._partition if isinstance(self._partition, Path) else self._partition()
            partition_size = await asyncio.to_thread(self._around.measure, partition)
        except OSError as e:
            raise DeviceError(
                "set cannot be prepared", where=str(e.filename or f"set {name}"), found=e.strerror or str(e)
            ) from e
        images = await asyncio.to_thread(_images, packages, extent_of, partition_size)
        shared = {
            "run": self._directory / "run",
            "tmp": self._directory / "tmp",
            "state": self._state,
            SETTINGS_PLACE: self._directory / "settings",
        }
        scratch, fixed = self._directory / "world", frozenset({SETTINGS_PLACE})
        order = WorldOrder(partition, *images, shared, scratch, fixed)
        self._world = await self._worlds.make(order, self._on_end)

    def _prepare_directories(self) -> None:
        for name, mode in (("log", 0o755), ("run", 0o755), ("tmp", 0o1777), ("world", 0o700)):
            directory = self._directory / name
            if name != "log":
                shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(mode)
        (self._directory / SETTINGS_PLACE).mkdir()
        self._state.mkdir(parents=True, exist_ok=True)

    # Events

    def _tell(self, member: _Member, event: s.Event) -> None:
        """Bring an event to a machine and perform its actions."""
        loop = asyncio.get_running_loop()
        machine = member.machine
        for action in machine.receive(event, loop.time()):
            if isinstance(action, s.Spawn):
                self._begin(member, self._spawn(member))
            elif isinstance(action, s.Signal) and self._world is not None:
                self._world.send_signal(action.pid, action.number)
            elif isinstance(action, s.Report):
                self._report(member)
        if member.timer is not None:
            member.timer.cancel()
            member.timer = None
        if machine.next_deadline is not None:
            member.timer = loop.call_at(machine.next_deadline, partial(self._tell, member, s.TimePassed()))

    def _begin(self, member: _Member, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        member.tasks.add(task)
        task.add_done_callback(member.tasks.discard)

    def _report(self, member: _Member) -> None:
        status = member.status
        if status.state in (ProcessState.BACKING_OFF, ProcessState.FAILED):
            member.log.drain()
            _log.warning(
                "%s: %s: %s\n%s", member.title, status.state.value, status.detail, member.log.opening
            )
        else:
            _log.info("%s: %s %s", member.title, status.state.value, status.detail)
        self._changed.set()
        self._on_change(status)

    async def _spawn(self, member: _Member) -> None:
        spec = member.machine.spec
        output = -1
        try:
            output = member.log.begin_run()
            if self._world is None:
                raise DeviceError("the set has no world", where=member.title)
            given = {**dict(spec.environment), **variables(self._settings)}
            state = f"/state/{member.package.ref.name}"
            given |= {"NOTIFY_SOCKET": f"/run/{NOTIFY_NAME}", "STATE_DIRECTORY": state}
            program = f"/{spec.module}"
            order = SpawnOrder(
                program,
                spec.argv,
                tuple(given.items()),
                spec.working_directory,
                spec.user,
                output,
                state if member.package.processes[0] == spec else "",
            )
            pid = await self._world.spawn(order)
        except (FwmgrError, OSError) as e:
            self._tell(member, s.SpawnFailed(str(e)))
            if isinstance(e, WorldLost) and self._on_lost is not None:
                self._on_lost(e)
            return
        finally:
            if output >= 0:
                os.close(output)
        self._tell(member, s.Spawned(pid))
        early = [notice for sender, notice in self._early if sender == pid]
        if not self._is_spawning():
            self._early.clear()
        for notice in early:
            self._on_notice(pid, notice)
        if spec.readiness.kind is ReadinessKind.TCP:
            await self._probe(member, pid)

    async def _probe(self, member: _Member, pid: int) -> None:
        """Tell Ready once the port answers, unless that run is over before."""
        machine = member.machine
        while machine.state is ProcessState.STARTING and machine.pid == pid:
            if await self._around.answers(machine.spec.readiness.port):
                if machine.state is ProcessState.STARTING and machine.pid == pid:
                    self._tell(member, s.Ready())
                return
            await asyncio.sleep(PROBE_SECONDS)

    def _on_end(self, end: ProcessEnd) -> None:
        for member in self._members:
            if member.machine.pid == end.pid and member.machine.state in _RUNNING:
                self._tell(member, s.Ended(end))

    def _on_notice(self, pid: int, notice: Notice) -> None:
        for member in self._members:
            if member.machine.pid == pid:
                if notice.status is not None:
                    self._tell(member, s.Said(notice.status))
                elif notice.stopping or notice.reloading:
                    self._tell(member, s.Said("stopping" if notice.stopping else "reloading"))
                if notice.ready and member.machine.spec.readiness.kind is ReadinessKind.NOTIFY:
                    self._tell(member, s.Ready())
                return
        if self._is_spawning():
            self._early.append((pid, notice))
        else:
            _log.debug("notification of pid %d ignored: not a process of the set", pid)

    def _is_spawning(self) -> bool:
        """Whether there may be a process whose pid we have not been told yet."""
        return any(m.machine.state in _RUNNING and not m.machine.pid for m in self._members)

    # Waiting

    async def _wait_all_ready(self) -> None:
        """Until each has been ready. Raises PeerError for the first that gives no more hope."""
        deadline = asyncio.get_running_loop().time() + self._limits.ready_s
        while True:
            self._changed.clear()
            for member in self._members:
                if _is_hopeless(member.machine):
                    raise self._not_ready(member)
            waiting = [member for member in self._members if not member.machine.was_ready]
            if not waiting:
                return
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                raise self._not_ready(waiting[0]) from None

    def _not_ready(self, member: _Member) -> PeerError:
        member.log.drain()
        machine = member.machine
        expected = {
            ReadinessKind.NOTIFY: "READY=1",
            ReadinessKind.STARTED: "a running process",
            ReadinessKind.TCP: f"port {machine.spec.readiness.port} to answer",
        }[machine.spec.readiness.kind]
        words = member.log.opening.replace("\n", " / ")
        return PeerError(
            "process does not become ready",
            where=member.title,
            expected=f"{expected} within {self._limits.ready_s:g} s",
            found=": ".join(part for part in (machine.detail or machine.state.value, words) if part),
            hint=f"its output is in {member.log.path}",
        )

    async def _wait_none_runs(self) -> None:
        while True:
            self._changed.clear()
            if not any(member.machine.state in _RUNNING for member in self._members):
                return
            await self._changed.wait()


def _is_hopeless(machine: ProcessMachine) -> bool:
    if machine.was_ready:
        return False
    if machine.state is ProcessState.BACKING_OFF:
        return machine.short_lives >= START_TRIES
    return machine.state in (ProcessState.FAILED, ProcessState.STOPPED)


def _images(
    packages: Sequence[InstalledPackage], extent_of: Callable[[Digest], Extent], partition_size: int
) -> tuple[bytes, bytes]:
    """Tree and source."""
    won = tree.merge(packages)
    tree.check_programs(packages, won)
    return tree.tree_image(won), tree.source_image(tree.contents_of(won), extent_of, partition_size)


def _sync_and_measure(partition: Path) -> int:
    """The partition's size in bytes, after all that was written to it has gone there. Raises OSError.

    It may have been written by way of the whole disk's node, whose cache is another; so everything is synced.
    """
    os.sync()
    descriptor = os.open(partition, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)


async def _answers(port: int) -> bool:
    """Whether something on this card accepts connections there."""
    for address in ("127.0.0.1", "::1"):
        try:
            async with asyncio.timeout(1.0):
                _, writer = await asyncio.open_connection(address, port)
        except (OSError, TimeoutError):
            continue
        writer.close()
        return True
    return False
