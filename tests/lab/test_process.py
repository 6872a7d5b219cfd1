"""A recorded pid means the process that had it then, and no other."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.lab.process import PidFile, ProcessIdentity
from firmware_mgr.model.errors import DeviceError, UsageError


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def test_running_process_is_alive_and_can_be_ended(child: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity.of(child.pid)
    assert identity.alive()
    assert not identity.wait_ended(0)
    assert identity.end()
    assert not identity.alive()
    assert identity.wait_ended(0)
    assert not identity.end()


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot_id": "another boot"}])
def test_process_with_the_recorded_pid_but_another_start_is_left_alone(
    child: subprocess.Popen[bytes], change: dict[str, int | str]
) -> None:
    stale = replace(ProcessIdentity.of(child.pid), **change)  # type: ignore[arg-type]
    assert not stale.alive()
    assert not stale.end()
    assert child.poll() is None


def test_process_that_ended_but_was_not_waited_for_counts_as_ended(child: subprocess.Popen[bytes]) -> None:
    identity = ProcessIdentity.of(child.pid)
    child.kill()
    assert identity.wait_ended(10)
    assert not identity.alive()
    with pytest.raises(DeviceError, match="already ended"):
        ProcessIdentity.of(child.pid)


def test_identity_survives_its_document() -> None:
    identity = ProcessIdentity(12, 345, "boot")
    assert ProcessIdentity.from_document(identity.document()) == identity


def test_pid_file_has_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = PidFile(tmp_path / "pid"), PidFile(tmp_path / "pid")
    first.acquire()
    with pytest.raises(UsageError, match=r"already.*pid \d+.*chassis down"):
        second.acquire()
    first.release()
    assert not (tmp_path / "pid").exists()
    second.acquire()
    second.release()


def test_pid_file_left_by_a_dead_holder_can_be_taken(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("99999\n")
    file = PidFile(tmp_path / "pid")
    file.acquire()
    assert (tmp_path / "pid").read_text() != "99999\n"
    file.release()
