"""In-process cards over real sockets in a chassis, and a real master beside them: its own process."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firmware_mgr.lab.launch import TakenDown, bring_up, take_down
from firmware_mgr.lab.network import NAMESPACES
from firmware_mgr.lab.plan import ChassisPlan
from firmware_mgr.lab.record import load_record
from firmware_mgr.lab.sim.card import PAGE
from firmware_mgr.lab.sim.image import build_sim_image
from firmware_mgr.lab.sim.software import sim_boards, web_package
from firmware_mgr.master.client import MasterClient
from firmware_mgr.master.site import MasterPaths, write_trust
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.packaging.keys import SigningKey
from firmware_mgr.rack.hands import PowerAction

BOARDS = ("sim-aarch64", "sim-armv7", "sim-x86-64")
CARDS = int(os.environ.get("FWMGR_SIM_CARDS", "4"))
#: Four cards take some ten seconds where nothing else runs.
PATIENCE = 90.0
ONE = SlotId(1)


class Site:
    """A chassis directory, a master's directory beside it, and the master's process."""

    def __init__(self, directory: Path) -> None:
        self.plan = ChassisPlan(directory / "c", CARDS, BOARDS[:2], sim=True, rootless=os.geteuid() != 0)
        self.paths = MasterPaths(directory / "m")
        self.client = MasterClient(self.paths.api)
        self._log = directory / "master.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start_master(self) -> None:
        command = [sys.executable, "-m", "firmware_mgr.app.fwmgr", "master", "run"]
        command += ["--dir", str(self.paths.directory), "--chassis", str(self.plan.directory)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.wait("the master sees all cards", lambda: self.client.get("/v1/status")["cards"] == CARDS)

    def kill_master(self) -> None:
        """The master itself dies with the command that was started."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def wait(self, what: str, condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if found := condition():
                    return found
            except FwmgrError as e:
                found = e
            assert time.monotonic() < end, f"not within {PATIENCE:g} s: {what}: {found}; {self.said()}"
            time.sleep(0.2)

    def said(self) -> str:
        consoles = [path.read_text()[-1500:] for path in self.plan.directory.rglob("console.log")]
        consoles.append((self.plan.directory / "daemon.log").read_text())
        return "\n".join([self._log.read_text()[-3000:], *consoles])

    def cards(self) -> Any:
        return self.client.get("/v1/cards")

    def wait_in_service(self) -> None:
        self.wait("all in service", lambda: all(card["in_service"] for card in self.cards()))


@pytest.fixture
def site(short_path: Path) -> Iterator[Site]:
    site = Site(short_path)
    yield site
    site.kill_master()
    take_down(site.plan.directory)


def furnish(site: Site, directory: Path) -> None:
    """A package key, and a boot image for each board and a package added to the master that runs."""
    key = SigningKey(Ed25519PrivateKey.generate())
    public = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    site.paths.make()
    (site.paths.keys / "sim.pem").write_bytes(public)
    write_trust(site.paths)
    site.start_master()
    for board in site.plan.boards:
        image = build_sim_image(
            sim_boards()[board], trust=site.paths.trust, out=directory / board, version="1.0"
        )
        site.client.post("/v1/images", {"path": str(image.folder)})
    package = directory / "web.fwp"
    package.write_bytes(web_package(key))
    site.client.post("/v1/packages", {"path": str(package)})


def test_cards_are_burned_and_outlive_the_master_and_nothing_is_left(site: Site, tmp_path: Path) -> None:
    hands = bring_up(site.plan)
    status = asyncio.run(hands.status())
    furnish(site, tmp_path)
    began = time.monotonic()
    identifier = site.client.post("/v1/burn-all", {})["id"]
    operation = site.wait(
        "burn-all is over",
        lambda: seen if (seen := site.client.get(f"/v1/operations/{identifier}"))["finished"] else None,
    )
    print(f"burn-all of {CARDS}: {time.monotonic() - began:.1f} s")  # noqa: T201
    assert operation["state"] == "done", site.said()
    assert all(card["in_service"] for card in site.cards())
    page = subprocess.run(
        [*status.enter, sys.executable, "-c", FETCH, site.cards()[0]["address"]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert PAGE in page.stdout, page.stderr

    site.kill_master()
    counts = [slot.power_on_count for slot in asyncio.run(hands.slots())]
    site.start_master()
    site.wait_in_service()
    assert [slot.power_on_count for slot in asyncio.run(hands.slots())] == counts, "no card was reset"

    record = load_record(site.plan.paths.record)
    assert record is not None
    console = site.plan.paths.slot(ONE).console_log
    written, open_files = len(console.read_text()), count_open_files(record.daemon.pid)
    asyncio.run(hands.power(ONE, PowerAction.CYCLE))
    site.wait("the pulled card is missed", lambda: not site.cards()[0]["in_service"])
    site.wait_in_service()
    since = console.read_text()[written:]
    assert "kernel of 1.0: good, from a" in since and "from netboot" not in since, (
        "the last start is from flash"
    )
    site.wait("the ended boot is closed", lambda: count_open_files(record.daemon.pid) <= open_files)

    links = subprocess.run(
        [*status.enter, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True
    ).stdout
    assert sorted(re.findall(r"(\w+):", links)) == ["br0", "lo"], "in-process cards need no taps"
    site.kill_master()
    assert take_down(site.plan.directory) is TakenDown.ENDED
    assert not record.daemon.alive()
    assert record.network.name is None or not (NAMESPACES / record.network.name).exists()
    assert not list(site.plan.directory.rglob("*.sock"))


def count_open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


#: Run on the backplane: the page of the card at that address.
FETCH = """
import sys, urllib.request
print(urllib.request.urlopen(f"http://{sys.argv[1]}:8080/", timeout=9).read().decode())
"""


def test_board_that_is_not_simulated_is_refused(short_path: Path) -> None:
    plan = ChassisPlan(short_path, 1, ("qemu-aarch64",), sim=True, rootless=os.geteuid() != 0)
    with pytest.raises(UsageError, match="not a simulated board"):
        bring_up(plan)


def test_capture_of_in_process_cards_is_refused(short_path: Path) -> None:
    with pytest.raises(UsageError, match="no taps"):
        ChassisPlan(short_path, 1, BOARDS, sim=True, capture=True)
