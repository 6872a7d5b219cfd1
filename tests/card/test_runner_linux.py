"""Sets run for real: this machine's kernel mounts them, as root, in the keeper's namespace."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from firmware_mgr.card.runner import InstalledPackage, Limits, ProcessState, ProcessStatus, SetRunner
from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError
from firmware_mgr.package.process import NamedUser, ProcessSpec, Restart
from tests.card.software import (
    Content,
    Folder,
    Link,
    Program,
    Store,
    busybox_files,
    package,
    process,
    python_files,
    shell,
)

WAIT = 30.0


class Card:
    """A runner over a store on a loop device, and all that its processes reported."""

    def __init__(self, directory: Path, device: Path, store: Store) -> None:
        self.directory = directory
        self.store = store
        self.changes: list[ProcessStatus] = []
        self.changed = asyncio.Event()
        self.runner = SetRunner(
            store_partition=device,
            state_directory=directory / "state",
            run_directory=directory / "run",
            on_change=self._on_change,
            limits=Limits(ready_s=15.0, first_pause_s=0.05),
        )

    def _on_change(self, status: ProcessStatus) -> None:
        self.changes.append(status)
        self.changed.set()

    async def start(
        self, *parts: tuple[str, dict[str, Content], list[ProcessSpec]]
    ) -> tuple[ProcessStatus, ...]:
        packages = [package(*part) for part in parts]
        self.store.add(packages, [files for _, files, _ in parts])
        return await self.runner.start("test", packages, self.store.extent)

    async def run_script(
        self, script: str, files: dict[str, Content] | None = None, **options: object
    ) -> str:
        """The output of a shell script that runs in a world until it ends."""
        spec = shell("script", script, **options)
        await self.start(("scripts", busybox_files() | (files or {}), [spec]))
        await self.wait_state("script", ProcessState.STOPPED, ProcessState.FAILED)
        await self.runner.stop()
        return self.output("script")

    def output(self, name: str) -> str:
        return (self.directory / "run" / "log" / f"{name}.log").read_text()

    async def wait_state(self, name: str, *states: ProcessState) -> ProcessStatus:
        async with asyncio.timeout(WAIT):
            while True:
                self.changed.clear()
                for status in self.runner.statuses():
                    if status.name == name and status.state in states:
                        return status
                await self.changed.wait()

    async def wait_output(self, name: str, text: str) -> str:
        async with asyncio.timeout(WAIT):
            while text not in (output := self.output(name)):
                await asyncio.sleep(0.02)
        return output


def held_images() -> list[str]:
    """The images of this process's sets that some mount still holds."""
    found = []
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            found.append(file.read_text().strip())
    return [name for name in found if name.startswith("/memfd:fwmgr-") and f"-{os.getpid()} " in name]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[tuple[Path, Store]]:
    store = Store(tmp_path / "store.img")
    store.add([], [{}])
    attach = ["losetup", "--find", "--show", str(store.path)]
    path = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    yield Path(path), store
    subprocess.run(["losetup", "--detach", path], check=True)


@pytest.fixture
async def card(tmp_path: Path, device: tuple[Path, Store]) -> AsyncIterator[Card]:
    path, store = device
    card = Card(tmp_path, path, store)
    yield card
    await card.runner.stop()
    async with asyncio.timeout(WAIT):  # a process that we are not the parent of takes its time to die
        while held_images():
            await asyncio.sleep(0.02)
    assert not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(), "a keeper is left"


async def wait_gone(pid: int) -> None:
    """Until the process has ended; init may take its time to take note of it."""
    async with asyncio.timeout(WAIT):
        while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
            await asyncio.sleep(0.02)


async def test_process_reads_every_byte_of_its_set_and_nothing_else(card: Card) -> None:
    sizes = (0, 1, 4095, 4096, 4097, 100_000, 3_000_001)
    files: dict[str, Content] = {f"data/{size}": os.urandom(size) for size in sizes}
    files |= {"data/link": Link("4097"), "data/inner/folder": Folder(0o700), "data/x": Program(b"#", 0o511)}
    output = await card.run_script(
        "cd /data; sha256sum *[0-9] link; stat -c '%n %a %Y' inner/folder x; ls -A /", files
    )
    for size in sizes:
        data = files[f"data/{size}"]
        assert isinstance(data, bytes)
        assert f"{hashlib.sha256(data).hexdigest()}  {size}\n" in output
    assert "inner/folder 700 1700000000\nx 511 1700000000\n" in output
    assert output.endswith("bin\ndata\ndev\nlib\nmnt\nproc\nrun\nsbin\nstate\ntmp\nusr\n")


async def test_first_package_in_the_set_wins_a_path(card: Card) -> None:
    upgrade: dict[str, Content] = {"etc/who": b"upgrade"}
    base: dict[str, Content] = busybox_files() | {"etc/who": b"base", "etc/other": b"other"}
    await card.start(("upgrade", upgrade, []), ("base", base, [shell("show", "cat /etc/who /etc/other")]))
    await card.wait_state("show", ProcessState.STOPPED)
    await card.runner.stop()
    assert card.output("show") == "upgradeother"


async def test_process_finds_what_the_page_says(card: Card) -> None:
    script = """
        id -u; id -g; id -G; umask; pwd; env | sort; ls /dev; ls /proc/self/fd
        grep NoNewPrivs /proc/self/status; grep SigIgn /proc/self/status; grep SigBlk /proc/self/status
        touch /x /usr/x
        echo kept > /state/f
        [ $(cut -d' ' -f6 /proc/self/stat) = $$ ] && echo own session
        stat -c %a /tmp /run"""
    (card.directory / "state").mkdir(mode=0o777)
    (card.directory / "state").chmod(0o777)
    output = await card.run_script(
        script, {"srv": Folder()}, environment={"A": "1", "PATH": "/bin"}, directory="/srv"
    )
    assert output.startswith(
        "65534\n65534\n65534\n0022\n/srv\nA=1\nNOTIFY_SOCKET=/run/fwmgr-notify\nPATH=/bin\n"
    )
    assert "fd\nfull\nnull\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n0\n1\n2\n3\n" in output
    assert "NoNewPrivs:\t1\nSigIgn:\t0000000000000000\nSigBlk:\t0000000000000000\n" in output
    assert output.count("Read-only file system") == 2
    assert output.endswith("own session\n1777\n755\n")
    assert (card.directory / "state" / "f").read_text() == "kept\n"


async def test_dynamic_program_says_ready_and_status_over_the_socket(card: Card) -> None:
    code = """
import _socket, posix
s = _socket.socket(1, 2)
s.connect(posix.environ[b'NOTIFY_SOCKET'])
s.send(b'STATUS=warming up\\nREADY=1')
posix.read(s.fileno() if False else 0, 1)
import time
while True: time.sleep(60)
"""
    argv = ["python3", "-I", "-S", "-c", code]
    spec = process("server", argv, module="usr/bin/python3", readiness="notify")
    (status,) = await card.start(("python", python_files(), [spec]))
    assert len(held_images()) == 2
    assert (status.state, status.detail) == (ProcessState.READY, "warming up")
    maps = Path(f"/proc/{status.pid}/maps").read_text()
    assert "/usr/lib/" in maps and "libc.so.6" in maps
    assert os.readlink(f"/proc/{status.pid}/root") == "/"
    await card.runner.stop()
    assert not Path(f"/proc/{status.pid}").exists()
    assert [change.state.value for change in card.changes if change.detail != "warming up"][-2:] == [
        "stopping",
        "stopped",
    ]


async def test_ready_when_the_port_answers(card: Card) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    spec = shell(
        "web",
        f"sleep 0.5; exec busybox httpd -f -p 127.0.0.1:{port} -h /srv",
        environment={"PATH": "/bin"},
        readiness=f"tcp:{port}",
    )
    files = busybox_files() | {"srv/index.html": b"hello from the set"}
    (status,) = await card.start(("web", files, [spec]))
    assert status.state is ProcessState.READY
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /index.html HTTP/1.0\r\n\r\n")
    assert (await reader.read()).endswith(b"hello from the set")
    writer.close()


async def test_process_that_dies_in_service_is_started_again(card: Card) -> None:
    spec = shell(
        "server", "echo run; while :; do sleep 1; done", environment={"PATH": "/bin"}, restart=Restart.ALWAYS
    )
    files = busybox_files() | {"usr/bin/sleep": Link("busybox")}
    (status,) = await card.start(("p", files, [spec]))
    await card.wait_output("server", "run\n")
    os.kill(status.pid, signal.SIGKILL)
    again = await card.wait_state("server", ProcessState.BACKING_OFF)
    assert again.detail == "killed by signal 9"
    again = await card.wait_state("server", ProcessState.READY)
    assert (again.restarts, again.pid != status.pid) == (1, True)
    await card.wait_output("server", "run\nrun\n")


async def test_stubborn_process_is_killed_after_its_grace_with_all_it_started(card: Card) -> None:
    script = """trap '' TERM
        while :; do sleep 1; done &
        setsid sh -c 'echo $$; while :; do sleep 1; done' &
        wait; wait"""
    files = busybox_files() | {f"usr/bin/{name}": Link("busybox") for name in ("sleep", "setsid")}
    spec = shell("stubborn", script, environment={"PATH": "/bin"}, grace_s=0)
    (status,) = await card.start(("p", files, [spec]))
    escaped = int((await card.wait_output("stubborn", "\n")).split()[0])
    await card.runner.stop()
    assert not Path(f"/proc/{status.pid}").exists()
    assert not Path(f"/proc/{escaped}").exists()


REFUSALS = {
    "program missing": (process("p", ["x"], module="usr/bin/broken"), "cannot be started", "No such file"),
    "unknown user": (shell("p", "true", user=NamedUser("www-data")), "user is not in the root", "www-data"),
    "no such directory": (shell("p", "true", directory="/nowhere"), "cannot be started", "/nowhere"),
    "ends at once": (
        shell("p", "echo no config >&2; exit 3", readiness="tcp:9"),
        "ended with 3",
        "no config",
    ),
    "crash loop": (
        shell("p", "exit 4", readiness="notify", restart=Restart.ALWAYS),
        "ended with 4",
        "READY=1",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_set_that_cannot_come_up_says_why_and_leaves_nothing(card: Card, case: str) -> None:
    spec, *words = REFUSALS[case]
    good = shell("a", "while :; do sleep 1; done", environment={"PATH": "/bin"}, grace_s=0)
    files = busybox_files() | {"usr/bin/sleep": Link("busybox"), "usr/bin/broken": Program(b"#!/not/there\n")}
    with pytest.raises(PeerError) as caught:
        await card.start(("broken", files, [good, spec]))
    text = str(caught.value)
    assert "process p of broken 1" in text
    assert all(word in text for word in words), text
    assert card.runner.statuses() == ()


async def test_user_is_looked_up_in_the_set(card: Card) -> None:
    files: dict[str, Content] = {
        "etc/passwd": b"root:x:0:0::/:/bin/sh\nwww-data:x:33:34::/:\n",
        "etc/group": b"www-data:x:34:\nlog:x:4:root,www-data\n",
    }
    output = await card.run_script("id -u; id -g; id -G", files, user=NamedUser("www-data"))
    assert output == "33\n34\n34 4\n"


async def test_wrong_partition_is_a_device_error(card: Card, tmp_path: Path) -> None:
    runner = SetRunner(
        store_partition=Path("/dev/null"),
        state_directory=tmp_path / "state",
        run_directory=tmp_path / "other",
        on_change=lambda _: None,
    )
    packages: list[InstalledPackage] = [package("p", busybox_files(), [shell("p", "true")])]
    card.store.add(packages, [busybox_files()])
    with pytest.raises(FwmgrError) as caught:
        await runner.start("test", packages, card.store.extent)
    assert isinstance(caught.value, DeviceError)


async def test_everything_dies_with_the_keeper(card: Card) -> None:
    spec = shell("server", "while :; do sleep 1; done", environment={"PATH": "/bin"}, restart=Restart.NEVER)
    files = busybox_files() | {"usr/bin/sleep": Link("busybox")}
    (status,) = await card.start(("p", files, [spec]))
    keeper = int(Path(f"/proc/{status.pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(keeper, signal.SIGKILL)
    await card.wait_state("server", ProcessState.FAILED)
    await wait_gone(status.pid)


async def test_everything_dies_with_the_agent(card: Card) -> None:
    """Another process runs the set, prints its pids and is killed."""
    device = card.runner._partition
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(card.directory), str(device), stdout=subprocess.PIPE
    )
    assert agent.stdout is not None
    pids = [int(word) for word in (await agent.stdout.readline()).split()]
    assert len(pids) == 2 and all(Path(f"/proc/{pid}").exists() for pid in pids)
    agent.kill()
    await agent.wait()
    for pid in pids:
        await wait_gone(pid)


async def test_set_can_be_stopped_and_started_again(card: Card) -> None:
    for runs in (1, 2):
        output = await card.run_script("[ -e /tmp/mine ] || echo new; echo > /tmp/mine")
        assert output == "new\n" * runs


async def be_an_agent(directory: Path, device: Path) -> None:
    """Start a set whose process starts another, print both pids, and stay."""
    card = Card(directory, device, Store(directory / "store.img"))
    files = busybox_files() | {f"usr/bin/{name}": Link("busybox") for name in ("sleep", "setsid")}
    script = "setsid sh -c 'echo $$; while :; do sleep 1; done' & while :; do sleep 1; done"
    (status,) = await card.start(("p", files, [shell("p", script, environment={"PATH": "/bin"})]))
    other = await card.wait_output("p", "\n")
    sys.stdout.write(f"{status.pid} {other}")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(be_an_agent(Path(sys.argv[1]), Path(sys.argv[2])))
