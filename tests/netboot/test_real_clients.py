"""Clients that we did not write, over a real wire: udhcpc and tftp of busybox, and curl.

Needs network namespaces: as root, or where users may make them (`unshare -Urn`). Fails where that is not so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("clients")
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    done = subprocess.run(
        [*unshare, sys.executable, "-m", "netboot.clients_in_namespace", str(folder)],
        cwd=TESTS,
        env=os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def decisions(said: dict[str, Any], mac: str) -> list[tuple[str, str]]:
    return [
        (event["message"], event["decision"])
        for event in said["events"]
        if event["event"] == "DhcpDecided" and event["mac"] == mac
    ]


def test_udhcpc_is_bound_and_told_everything(said: dict[str, Any]) -> None:
    bound = said["bound"]
    expected = {
        "ip": "10.77.0.13",
        "mask": "24",
        "serverid": "10.77.0.1",
        "siaddr": "10.77.0.1",
        "lease": "3600",
        "hostname": "slot3",
        "tftp": "10.77.0.1",
        "bootfile": "boot.scr.uimg",
        "boot_file": "boot.scr.uimg",
    }
    assert {key: bound.get(key) for key in expected} == expected
    assert said["leases"] == ["10.77.0.13"]


def test_udhcpc_goes_through_discover_request_renewal_and_release(said: dict[str, Any]) -> None:
    assert decisions(said, "52:54:00:12:34:56") == [
        ("discover", "offer"),
        ("request", "ack"),
        ("request", "ack"),
        ("release", "recorded"),
    ]
    assert said["lease state"] == "released"


def test_each_client_fetches_the_file_whole(said: dict[str, Any]) -> None:
    fetches = {key: value for key, value in said.items() if key.startswith(("busybox", "curl"))}
    assert len(fetches) == 4
    assert all(fetches.values()), fetches
    ended = [event for event in said["events"] if event["event"] == "TransferEnded"]
    assert [event["outcome"] for event in ended] == ["done"] * 5


def test_the_block_size_is_lowered_to_what_the_wire_takes(said: dict[str, Any]) -> None:
    assert "blksize parsed from OACK (1468) requested (9000)" in said["negotiation"]


def test_a_stranger_gets_no_address(said: dict[str, Any]) -> None:
    assert said["stranger's exit code"] != 0
    assert set(decisions(said, "02:00:00:00:00:01")) == {("discover", "ignored")}
