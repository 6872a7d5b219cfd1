"""Which links a backplane has, and what making them asks of the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_mgr.lab.network import UNSHARE, plan_network
from firmware_mgr.lab.plan import ChassisPlan


@pytest.mark.parametrize(("sim", "taps"), [(False, ("slot1", "slot2")), (True, ())])
def test_cards_that_are_machines_have_a_tap_each(sim: bool, taps: tuple[str, ...]) -> None:
    assert plan_network(ChassisPlan(Path("/c"), 2, ("b",), sim=sim)).taps == taps


#: In namespaces of its own, where the host has no such device.
MAKE = """
import json, sys
from pathlib import Path
from firmware_mgr.lab.network import make_network, plan_network
from firmware_mgr.lab.plan import ChassisPlan
assert not Path("/dev/net/tun").exists()
make_network(plan_network(ChassisPlan(Path("/c"), 2, ("b",), sim=json.loads(sys.argv[1]), rootless=True)))
print(sorted(line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line))
"""


def make_without_tun(*, sim: bool) -> subprocess.CompletedProcess[str]:
    hide = "[ ! -d /dev/net ] || mount -t tmpfs none /dev/net"
    command = [*UNSHARE[:-1], "--mount", "--", "sh", "-c", f'{hide} && exec "$@"', "sh"]
    command += [sys.executable, "-c", MAKE, "true" if sim else "false"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_a_chassis_of_in_process_cards_needs_no_tun_device() -> None:
    made = make_without_tun(sim=True)
    assert made.stdout.strip() == "['br0', 'lo']", made.stderr


def test_a_chassis_of_machines_names_the_device_that_it_misses() -> None:
    made = make_without_tun(sim=False)
    assert made.returncode and "/dev/net/tun: cannot make a tap" in made.stderr
