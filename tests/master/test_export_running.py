"""Export and import beside real master processes, each in a network of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from firmware_mgr.master.client import MasterClient
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.model.errors import PeerError
from tests.master.small_site import PASSPHRASE, small_site
from tests.scenarios.waiting import wait_until

DEADLINE = 60.0
FWMGR = [sys.executable, "-m", "firmware_mgr.app.fwmgr"]
NETWORK = (
    "ip link set lo up && ip link add r0 type bridge && ip addr add 10.99.0.1/24 dev r0 && ip link set r0 up"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fwx-") as name:
        (Path(name) / "word").write_text(PASSPHRASE)
        yield Path(name)


def fwmgr(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FWMGR, *words], cwd=folder, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def status(directory: Path) -> dict[str, Any] | None:
    try:
        answer: dict[str, Any] = MasterClient(MasterPaths(directory).api).get("/v1/status")
        return answer
    except PeerError:
        return None


@contextmanager
def running(directory: Path) -> Iterator[dict[str, Any]]:
    """A master on this directory; its status."""
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    options = ["--address", "10.99.0.1/24", "--interface", "r0", "--dir", str(directory)]
    command = [
        *unshare,
        "sh",
        "-c",
        f'{NETWORK} && ip link set r0 up && exec "$@"',
        "sh",
        *FWMGR,
        "master",
        "run",
        *options,
    ]
    with (directory.parent / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield wait_until("the master answers", partial(status, directory), DEADLINE)
        finally:
            process.terminate()
            process.wait(DEADLINE)


def test_a_running_master_is_exported_and_another_runs_on_the_import(folder: Path) -> None:
    small_site(folder / "m")
    word = ("--passphrase-file", "word")
    with running(folder / "m") as before:
        made = fwmgr(folder, "master", "export", "a.fwx", "--dir", "m", *word, "--json")
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["revision"] >= 3
        refused = fwmgr(folder, "master", "import", "a.fwx", "--dir", "m", "--replace", *word)
        assert refused.returncode == 2 and "in use by another process" in refused.stderr
        assert list((folder / "m").glob(".snapshot*")) == []
    brought = fwmgr(folder, "master", "import", "a.fwx", "--dir", "new", *word)
    assert brought.returncode == 0, brought.stderr
    with running(folder / "new") as after:
        counted = ("images", "packages", "cards")
        assert [after[name] for name in counted] == [before[name] for name in counted] == [1, 1, 1]
        image = MasterClient(MasterPaths(folder / "new").api).get("/v1/images")[0]
    assert image["version"] == "1"
