"""The systemd units, and the master under what they allow: capabilities, readiness, signs of life, end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_mgr.master.service_manager import ServiceManager

TOP = Path(__file__).resolve().parents[2]
UNITS = sorted((TOP / "systemd").glob("*.service"))
INSTALLED = "/opt/fwmgr/.venv/bin/fwmgr"
DEADLINE = 40.0


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room for the names of sockets."""
    with tempfile.TemporaryDirectory(prefix="fwu-") as folder:
        yield Path(folder)


@pytest.fixture
def manager(short_path: Path) -> Iterator[socket.socket]:
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(short_path / "notify"))
        listening.settimeout(DEADLINE)
        yield listening


def heard(manager: socket.socket, word: str) -> int:
    """How many datagrams came until one had the word, with it."""
    for count in range(1, 1000):
        if word in manager.recv(4096).decode().split("\n"):
            return count
    raise AssertionError(f"a thousand datagrams without {word}")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_takes_the_unit_as_it_is(unit: Path, tmp_path: Path) -> None:
    assert shutil.which("systemd-analyze"), "systemd is missing: tools/prepare installs it"
    for other in UNITS:
        text = other.read_text().replace(INSTALLED, "/bin/true")
        (tmp_path / other.name).write_text(text.replace("/opt/fwmgr", str(TOP)))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, unit.name in done.stderr) == (0, False), done.stderr


def test_master_serves_with_the_one_capability_that_its_unit_gives(
    manager: socket.socket, short_path: Path
) -> None:
    unit = (TOP / "systemd/fwmgr-master.service").read_text()
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in unit
    assert "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n" in unit
    (start,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    words = start.removeprefix("ExecStart=").split()
    options = short_path / "master.toml"
    options.write_text('address = "10.99.0.1/24"\ninterface = "rack0"\nno_master_policy = "run"\n')
    arguments = [
        {"/etc/fwmgr/master.toml": str(options), "/var/lib/fwmgr/master": str(short_path / "m")}.get(
            word, word
        )
        for word in words[1:]
    ]
    alone = "-all,+net_bind_service"
    drop = ["setpriv", "--no-new-privs", "--inh-caps", alone, "--bounding-set", alone]
    network = "ip link set lo up && ip link add rack0 type bridge && ip addr add 10.99.0.1/24 dev rack0"
    script = f'{network} && ip link set rack0 up && exec "$@"'
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    environment = os.environ | {"NOTIFY_SOCKET": str(short_path / "notify"), "WATCHDOG_USEC": "400000"}
    environment |= {"PYTHONPATH": str(TOP)}
    command = [*unshare, "sh", "-c", script, "sh", *drop, sys.executable, "-m", "firmware_mgr.app.fwmgr"]
    log = short_path / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen([*command, *arguments], env=environment, stderr=out) as process,
    ):
        try:
            heard(manager, "READY=1")
            heard(manager, "WATCHDOG=1")
            heard(manager, "WATCHDOG=1")
            status = Path(f"/proc/{process.pid}/status").read_text()
            process.send_signal(signal.SIGTERM)
            heard(manager, "STOPPING=1")
            assert process.wait(DEADLINE) == 0
        except BaseException:
            process.kill()
            sys.stderr.write(log.read_text())
            raise
    (effective,) = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff")]
    assert int(effective, 16) == 1 << 10, "CAP_NET_BIND_SERVICE is number 10 (capabilities(7))"
    assert "master is up on 10.99.0.1" in log.read_text()


async def test_without_a_service_manager_nothing_is_said() -> None:
    nobody = ServiceManager({})
    await nobody.start()
    await nobody.stop()
    assert nobody.interval is None


async def test_a_service_manager_that_has_gone_does_not_stop_the_master(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    await gone.start()
    await gone.stop()
    assert "service manager cannot be told" in caplog.text


@pytest.mark.parametrize(
    ("usec", "pid", "interval"), [("2000000", "7", 1.0), ("2000000", "8", None), ("x", "", None)]
)
def test_signs_of_life_are_for_the_process_they_are_asked_of(
    usec: str, pid: str, interval: float | None
) -> None:
    environment = {"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    assert ServiceManager(environment, pid=7).interval == interval
