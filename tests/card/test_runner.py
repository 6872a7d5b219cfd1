"""The runner over the in-process twin: what it orders, what it waits for, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from firmware_mgr.card.notify import Notice
from firmware_mgr.card.runner import Limits, ProcessState, ProcessStatus, SetRunner
from firmware_mgr.flash.store_geometry import Extent
from firmware_mgr.lab.sim.worlds import Script, TwinWorlds
from firmware_mgr.link.service import Settings, SettingsFile
from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.package.process import ProcessSpec, Restart
from tests.card.software import Program, package, process

FILES = {"usr/bin/busybox": Program(b"not run here")}
SIZE = 1 << 20


class Card:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.worlds = TwinWorlds()
        self.changes: list[ProcessStatus] = []
        (directory / "partition").write_bytes(bytes(SIZE))
        self.runner = self.new_runner()

    def new_runner(self, ready_s: float = 5.0) -> SetRunner:
        self.runner = SetRunner(
            store_partition=self.directory / "partition",
            state_directory=self.directory / "state",
            run_directory=self.directory / "run",
            on_change=self.changes.append,
            worlds=self.worlds,
            limits=Limits(ready_s=ready_s, first_pause_s=0.0),
        )
        return self.runner

    async def start(self, *specs: ProcessSpec) -> tuple[ProcessStatus, ...]:
        packages = [package("p", FILES, specs)]
        return await self.runner.start("s", packages, lambda _: Extent(4096, len(b"not run here")))

    def states(self, name: str) -> list[str]:
        return [change.state.value for change in self.changes if change.name == name]


@pytest.fixture
async def card(tmp_path: Path) -> AsyncIterator[Card]:
    card = Card(tmp_path)
    yield card
    await card.runner.stop()
    assert all(world.closed for world in card.worlds.worlds)
    assert {path.name for path in (tmp_path / "run").glob("*")} <= {"log"}


def spec(
    name: str, readiness: str = "started", restart: Restart = Restart.ALWAYS, grace_s: int = 5
) -> ProcessSpec:
    return process(
        name, [name], readiness=readiness, restart=restart, grace_s=grace_s, environment={"B": "2"}
    )


async def test_processes_start_in_the_order_of_the_set(card: Card) -> None:
    application = package("application", FILES, [spec("z")])
    base = package("base", {}, [])
    tools = package("tools", FILES, [spec("a"), spec("b")])
    extent = Extent(4096, len(b"not run here"))
    statuses = await card.runner.start("s", [application, base, tools], lambda _: extent)
    assert [status.name for status in statuses] == ["z", "a", "b"]
    assert [order.argv[0] for order in card.worlds.world.orders] == ["z", "a", "b"]
    first, second, third = card.worlds.world.orders
    assert dict(first.environment) == {
        "B": "2",
        "NOTIFY_SOCKET": "/run/fwmgr-notify",
        "STATE_DIRECTORY": "/state/application",
    }
    # A package's directory is its first process's own.
    assert [first.state, second.state, third.state] == ["/state/application", "/state/tools", ""]
    assert sorted(path.name for path in (card.directory / "state").iterdir()) == ["application", "tools"]
    assert statuses[0].package == application.ref
    assert all(status.state is ProcessState.READY and status.pid for status in statuses)


async def test_set_without_processes_needs_no_world(card: Card) -> None:
    assert await card.start() == ()
    assert not card.worlds.worlds


async def test_second_set_is_refused_while_one_runs(card: Card) -> None:
    await card.start(spec("p"))
    with pytest.raises(UsageError, match="a set runs already"):
        await card.start(spec("p"))
    assert card.runner.statuses()[0].state is ProcessState.READY


async def test_two_processes_of_one_name_are_refused(card: Card) -> None:
    packages = [package("a", FILES, [spec("web")]), package("b", FILES, [spec("web")])]
    with pytest.raises(PeerError, match=r"set s: two processes have one name: found web"):
        await card.runner.start("s", packages, lambda _: Extent(4096, 12))


async def test_crash_at_start_is_forgiven_twice(card: Card) -> None:
    card.worlds.scripts["p"] = [Script(refuses="busy"), Script(refuses="busy"), Script()]
    (status,) = await card.start(spec("p"))
    assert (status.state, status.restarts) == (ProcessState.READY, 2)


async def test_crash_loop_at_start_fails_the_set_with_the_programs_own_words(card: Card) -> None:
    card.worlds.scripts["p"] = [Script(ends=1, says=b"bad config\nline 3\n")]
    with pytest.raises(PeerError) as caught:
        await card.start(spec("ok"), spec("p", readiness="notify"))
    assert caught.value.where == "process p of p 1"
    assert caught.value.found == "ended with 1: bad config / line 3"
    assert card.states("ok")[-1] == "stopped"
    assert card.runner.statuses() == ()


async def test_process_that_never_says_ready_fails_the_set(card: Card) -> None:
    card.new_runner(ready_s=0.05)
    with pytest.raises(PeerError, match=r"expected READY=1 within 0\.05 s"):
        await card.start(spec("p", readiness="notify"))


async def test_world_that_cannot_be_made_is_the_devices_fault(card: Card) -> None:
    card.worlds.broken = True
    with pytest.raises(DeviceError, match="out of loop devices"):
        await card.start(spec("p"))
    card.worlds.broken = False
    await card.start(spec("p"))


async def test_missing_module_is_refused_before_anything_is_made(card: Card) -> None:
    def nowhere(digest: Digest) -> Extent:
        raise UsageError("not in the store", expected=digest.short)

    with pytest.raises(UsageError, match="not in the store"):
        await card.runner.start("s", [package("p", FILES, [spec("p")])], nowhere)
    assert not card.worlds.worlds


async def test_dead_process_comes_back_and_its_end_is_reported(card: Card) -> None:
    (status,) = await card.start(spec("p"))
    card.worlds.world.end(status.pid, 5)
    while not card.runner.statuses()[0].restarts or card.runner.statuses()[0].state is not ProcessState.READY:
        await asyncio.sleep(0)
    assert card.states("p")[-3:] == ["backing-off", "starting", "ready"]
    assert "ended with 5" in [change.detail for change in card.changes]


async def test_deaf_process_gets_sigkill_after_its_grace(card: Card) -> None:
    card.worlds.scripts["p"] = [Script(deaf=True)]
    (status,) = await card.start(spec("p", grace_s=0))
    await card.runner.stop()
    assert card.worlds.world.signals == [(status.pid, 15), (status.pid, 9)]
    assert card.states("p")[-2:] == ["stopping", "stopped"]


async def test_stop_while_starting_ends_the_start_with_an_error(card: Card) -> None:
    starting = asyncio.ensure_future(card.start(spec("p", readiness="notify")))
    while not card.worlds.worlds or not card.worlds.world.running:
        await asyncio.sleep(0)
    await card.runner.stop()
    with pytest.raises(DeviceError, match="stopped while it was being started"):
        await starting
    await card.runner.stop()


async def test_cancelled_start_leaves_nothing(card: Card) -> None:
    starting = asyncio.ensure_future(card.start(spec("p", readiness="notify")))
    while not card.worlds.worlds or not card.worlds.world.running:
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert card.worlds.world.closed and card.runner.statuses() == ()


class _Speaking(TwinWorlds):
    """Its processes have this test's pid, and speak before their pid is known."""

    def __init__(self, words: Sequence[bytes]) -> None:
        super().__init__()
        self.words = words

    async def make(self, order, on_end):  # type: ignore[no-untyped-def]
        world = await super().make(order, on_end)
        world.first_pid = os.getpid() - 1
        spawn = world.spawn

        async def speak_first(each):  # type: ignore[no-untyped-def]
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.connect(str(order.shared["run"] / "fwmgr-notify"))
                for word in self.words:
                    end.send(word)
            for _ in range(10):
                await asyncio.sleep(0)
            return await spawn(each)

        world.spawn = speak_first  # type: ignore[method-assign]
        return world


async def test_word_that_comes_before_the_pid_is_not_lost(card: Card) -> None:
    card.worlds = _Speaking([b"STATUS=hello", b"READY=1"])
    card.new_runner()
    (status,) = await card.start(spec("p", readiness="notify"))
    assert (status.state, status.detail) == (ProcessState.READY, "hello")


async def test_word_of_another_process_counts_for_nothing(card: Card) -> None:
    (status,) = await card.start(spec("p"))
    card.runner._on_notice(status.pid + 1, Notice(status="I am p"))
    assert card.runner.statuses()[0].detail == ""


async def test_settings_are_put_before_the_processes_and_win_over_the_package(card: Card) -> None:
    file = SettingsFile("web/key", 0o400, 0, 0, (b"secret",), secret=True)
    given = Settings(Digest.of(b"x"), files=(file,), environment={"B": "3", "NOTIFY_SOCKET": "/tmp/x"})
    packages = [package("p", FILES, [spec("a")])]
    extent = Extent(4096, len(b"not run here"))
    await card.runner.start("s", packages, lambda _: extent, given)
    world = card.worlds.world
    environment = dict(world.orders[0].environment)
    assert (environment["B"], environment["NOTIFY_SOCKET"]) == ("3", "/run/fwmgr-notify")
    assert world.order.read_only == {"run/settings"}
    assert (world.order.shared["run/settings"] / "web" / "key").read_bytes() == b"secret"
    await card.runner.stop()
    assert not (card.directory / "run" / "settings").exists()


async def test_a_store_that_is_looked_for_and_not_there_is_said(card: Card) -> None:
    def missing() -> Path:
        raise DeviceError("no such partition on the disk", where="/dev/vda", expected="store")

    runner = SetRunner(
        store_partition=missing,
        state_directory=card.directory / "state",
        run_directory=card.directory / "run",
        on_change=card.changes.append,
        worlds=card.worlds,
    )
    with pytest.raises(DeviceError, match="no such partition"):
        await runner.start("s", [package("p", FILES, [spec("a")])], lambda _: Extent(0, 1))
