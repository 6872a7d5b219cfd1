"""A card's settings, what its processes keep, its logs and core dumps, from the first burn to an erase.

Issue 3: settings and secrets delivered to cards, a state area that updates leave alone, logs and core dumps
readable from the master.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware_mgr.flash.device import FileDevice
from firmware_mgr.flash.gpt import find, read_table
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.rig import Rig
from tests.scenarios.software import TOP, Site, ask, fwmgr
from tests.scenarios.waiting import wait_until
from tests.scenarios.words import IN_SERVICE

pytestmark = pytest.mark.qemu

SLOT = SlotId(1)
PROBE = Path(__file__).parent / "probe"
SECRET = b"a secret that must not be found\n"
MIB = 1 << 20


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path / "site")
    site.make_trust()
    site.build_image(site.image)
    fwmgr("package", "build", PROBE, "--key", site.key, "--out", site.directory / "probe.fwp")
    return site


@pytest.fixture
def rig(site: Site, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """One pristine card and a master with image and probe."""
    rig = Rig(1, capture=False)
    try:
        shutil.copytree(site.master.directory, rig.master.directory)
        rig.up()
        rig.start_master()
        fwmgr("image", "add", site.image, "--dir", rig.master.directory)
        fwmgr("package", "add", site.directory / "probe.fwp", "--dir", rig.master.directory)
        yield rig
        rig.keep_evidence(TOP / "var" / "scenarios" / "settings-and-state")
    finally:
        rig.down()


class Probe:
    """What the probe said in its newest run on this start of the card."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    def lines(self) -> list[str]:
        said = ask("card", "logs", str(SLOT), "probe", "--lines", "200", "--dir", self._rig.master.directory)
        return said.out.splitlines() if said.code == 0 else []

    def run(self, number: int, within: float = IN_SERVICE) -> list[str]:
        """The lines of its start of that number, once it waits."""

        def look() -> list[str] | None:
            lines = self.lines()
            begin = f"start {number} of probe"
            rest = lines[lines.index(begin) :] if begin in lines else []
            return rest if "probe waits" in rest else None

        what = f"start {number} of the probe"
        found = wait_until(what, look, within, describe=lambda: "\n".join(self.lines()))
        assert found is not None
        return found


def settings(rig: Rig, *arguments: str | Path) -> str:
    return fwmgr("settings", *arguments, "--dir", rig.master.directory)


def state(rig: Rig) -> dict[str, Any]:
    card: dict[str, Any] = rig.card(SLOT)["record"]["actual"]["data"]
    return card


def kept(rig: Rig) -> None:
    wait_until("the card has its settings", lambda: rig.card(SLOT)["settings"]["state"] == "kept", IN_SERVICE)


def restart(rig: Rig) -> None:
    rig.take_out(SLOT)
    rig.power(SLOT, PowerAction.ON)


def test_settings_state_logs_and_cores_of_one_card(rig: Rig, tmp_path: Path) -> None:
    probe = Probe(rig)
    key = tmp_path / "tls.key"
    key.write_bytes(SECRET)
    file = ("--file", "web/tls.key", "--from", key, "--mode", "0440", "--owner", "0:1000", "--secret")
    settings(rig, "set", str(SLOT), *file)
    settings(rig, "set", str(SLOT), "--hostname", "probe-1", "--env", "LEVEL=debug", "--env", "CRASH=once")
    settings(rig, "set", str(SLOT), "--address", "10.99.0.7/24")

    # From the first burn on: settings are there, the state area is in flash, and one crash left its dump.
    rig.wait_burned(rig.burn_all())
    lines = probe.run(2)
    first = probe.lines()
    assert "now it dies" in first
    assert {"level is debug", "host is probe-1", "state is ext4"} <= set(lines)
    digest = hashlib.sha256(SECRET).hexdigest()[:16]
    assert f"file /run/settings/web/tls.key 440 0:1000 {digest}" in lines
    assert "settings can be written to" not in lines
    assert "address 10.99.0.7/24" in lines
    assert state(rig)["state"] == "good" and state(rig)["size"] > 32 * MIB
    kept(rig)
    _check_core(rig, tmp_path / "core.gz")

    # A change is at the card at once, and with its processes from the next start on; state goes on.
    settings(rig, "set", str(SLOT), "--env", "LEVEL=quiet")
    settings(rig, "unset", str(SLOT), "--file", "web/tls.key")
    kept(rig)
    restart(rig)
    lines = probe.run(3)
    assert "level is quiet" in lines and "/run/settings" not in " ".join(lines)

    # Without a master the card starts with what it kept.
    settings(rig, "set", str(SLOT), "--hostname", "alone-1")
    kept(rig)
    _check_no_secret(rig)

    # A damaged file system is repaired or made anew, and the card comes up.
    rig.power(SLOT, PowerAction.OFF)
    wait_until("the card is off", lambda: rig.card(SLOT)["state"] == "absent", 20.0)
    device = FileDevice(rig.paths(SLOT).flash)
    place = find(read_table(device), "data")
    for offset in range(place.offset, place.offset + place.size, MIB):
        device.write(offset, b"\x5a" * MIB)  # the copies of its superblock too: nothing is left to repair
    device.sync()
    rig.power(SLOT, PowerAction.ON)
    wait_until("the card says what happened", lambda: "anew" in state(rig)["detail"], IN_SERVICE)
    assert "host is alone-1" in probe.run(2)  # counted from nothing: it died once more before

    # burn-all with --erase: it is gone, the table is the same. Without, it stays (tests/card/test_data.py).
    rig.wait_burned(rig.burn_all(erase=True))
    wait_until("counted from nothing", lambda: "start 1 of probe" in probe.lines(), IN_SERVICE)
    log = fwmgr("card", "logs", str(SLOT), "agent:", "--dir", rig.master.directory)
    assert "slot 1" in log or "process probe" in log


def _check_core(rig: Rig, out: Path) -> None:
    directory = rig.master.directory
    (core,) = json.loads(fwmgr("card", "cores", str(SLOT), "--json", "--dir", directory))
    assert (core["process"], core["signal"], core["cut"]) == ("probe", 11, False)
    fwmgr("card", "core", str(SLOT), core["id"], "--out", out, "--dir", directory)
    content = gzip.decompress(out.read_bytes())
    assert content.startswith(b"\x7fELF") and b"probe" in content


def _check_no_secret(rig: Rig) -> None:
    """Neither the master's disk nor its log has it, and nobody is shown it."""
    for path in rig.master.directory.rglob("*"):
        if path.is_file():
            assert SECRET.strip() not in path.read_bytes(), path
    shown = settings(rig, "show", str(SLOT), "--json")
    assert SECRET.decode().strip() not in shown + rig.log_tail(100000)
