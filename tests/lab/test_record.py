"""The record of a chassis, and what is ended by it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.lab.leftovers import end_leftovers
from firmware_mgr.lab.network import remove_network
from firmware_mgr.lab.plan import ChassisPaths
from firmware_mgr.lab.process import ProcessIdentity
from firmware_mgr.lab.record import ChassisRecord, NetworkRecord, SlotRecord, load_record, save_record
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import SlotId

NOBODY = ProcessIdentity(2**22 + 1, 5, "an earlier boot")  # Above the largest pid there can be.
RECORD = ChassisRecord(
    NOBODY,
    NetworkRecord(None, "br0", ("slot1", "slot2"), "10.77.0.1/24"),
    (SlotRecord(SlotId(1), NOBODY, 3), SlotRecord(SlotId(2))),
)


def test_record_survives_the_file(tmp_path: Path) -> None:
    save_record(tmp_path / "chassis.json", RECORD)
    assert load_record(tmp_path / "chassis.json") == RECORD
    assert [path.name for path in tmp_path.iterdir()] == ["chassis.json"]


def test_no_file_means_no_record(tmp_path: Path) -> None:
    assert load_record(tmp_path / "chassis.json") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', '"x"'])
def test_file_that_is_no_record_says_which_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "chassis.json").write_text(text)
    with pytest.raises(PeerError, match=r"chassis\.json: not a chassis record"):
        load_record(tmp_path / "chassis.json")


def test_record_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chassis.json").write_text(json.dumps({**RECORD.document(), "format": 2}))
    with pytest.raises(PeerError, match=r"another version: expected 1, found 2"):
        load_record(tmp_path / "chassis.json")


def test_leftover_machine_is_ended_and_its_files_go(tmp_path: Path) -> None:
    paths = ChassisPaths(tmp_path)
    with subprocess.Popen(["sleep", "600"]) as machine:
        paths.slot(SlotId(1)).directory.mkdir()
        paths.slot(SlotId(1)).qmp_socket.touch()
        paths.slot(SlotId(1)).flash.touch()
        slots = (SlotRecord(SlotId(1), ProcessIdentity.of(machine.pid), 1),)
        save_record(paths.record, replace(RECORD, slots=slots))
        assert end_leftovers(paths)
        assert machine.wait(10) == -9
    assert not paths.record.exists()
    assert not paths.slot(SlotId(1)).qmp_socket.exists()
    assert paths.slot(SlotId(1)).flash.exists()


def test_process_that_took_over_a_recorded_pid_is_left_alone(tmp_path: Path) -> None:
    paths = ChassisPaths(tmp_path)
    with subprocess.Popen(["sleep", "600"]) as stranger:
        stale = replace(ProcessIdentity.of(stranger.pid), start_ticks=1)
        save_record(paths.record, replace(RECORD, slots=(SlotRecord(SlotId(1), stale, 1),)))
        assert end_leftovers(paths)
        assert stranger.poll() is None
        stranger.kill()
    assert not paths.record.exists()


def test_ending_leftovers_twice_finds_nothing_the_second_time(tmp_path: Path) -> None:
    save_record(tmp_path / "chassis.json", RECORD)
    assert end_leftovers(ChassisPaths(tmp_path))
    assert not end_leftovers(ChassisPaths(tmp_path))


def test_network_that_is_not_named_as_ours_is_never_removed() -> None:
    with pytest.raises(UsageError, match="not a network of ours"):
        remove_network(replace(RECORD.network, name="production"))


def test_network_that_is_gone_already_is_no_fault() -> None:
    remove_network(replace(RECORD.network, name="fwmgr-00000000"))
