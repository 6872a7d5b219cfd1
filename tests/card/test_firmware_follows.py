"""Boards whose firmware goes by variables of its own: told after control, and before anything follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from firmware_mgr.card.areas import Areas
from firmware_mgr.card.commit import commit_boot, restore_tries_of_running
from firmware_mgr.flash.control import read_control
from firmware_mgr.flash.control_layout import ControlRecord, Target
from firmware_mgr.flash.device import MemoryDevice
from firmware_mgr.flash.gpt import CONTROL, Partition, find
from firmware_mgr.flash.letter import Letter
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import CpuArch
from tests.card.burning import FROM_A, Master, burner, flash, opened
from tests.package.samples import KEYRING


@dataclass
class Follower:
    """See Firmware. Stricter: what it is told must stand in control already, and both boot partitions tell
    how far they were written."""

    device: MemoryDevice
    told: list[ControlRecord] = field(default_factory=list)
    heads: list[tuple[bytes, bytes]] = field(default_factory=list)
    full: bool = False

    def follow(self, record: ControlRecord, partitions: Sequence[Partition], block_size: int) -> None:
        stored = read_control(find(partitions, CONTROL).window(self.device)).record
        assert stored == record, "told of what is not in control"
        assert block_size == self.device.block_size
        if self.full:
            raise DeviceError("UEFI variable cannot be written", where="BootNext", found="no space")
        self.told.append(record)
        a, b = (find(partitions, letter.partition).window(self.device).read(0, 512) for letter in Letter)
        self.heads.append((a, b))


def told_by_a_burn(device: MemoryDevice, master: Master) -> Follower:
    burn = burner(device, master)
    burn.areas.firmware = follower = Follower(device)
    burn.burn(master.order())
    return follower


def test_before_the_first_piece_the_partition_is_out_and_after_the_last_it_is_on_trial() -> None:
    device = flash()
    follower = told_by_a_burn(device, Master())
    first, last = follower.told[0], follower.told[-1]
    assert (first.left_a, first.trial) == (0, None)
    assert not any(follower.heads[0][0]), "a piece was written before the firmware was told"
    assert last.trial is Target.A and last.left_a > 0
    assert any(follower.heads[-1][0])


def running_from_a(device: MemoryDevice) -> tuple[Areas, Follower]:
    areas = opened(device, FROM_A)
    areas.firmware = follower = Follower(device)
    return areas, follower


def test_a_commit_and_restored_tries_are_told() -> None:
    device, master = flash(), Master()
    told_by_a_burn(device, master)
    areas, follower = running_from_a(device)
    commit_boot(areas, master.order().wanted.digest, KEYRING, CpuArch.AARCH64)
    assert follower.told[-1].boot is Target.A and follower.told[-1].trial is None
    count = len(follower.told)
    commit_boot(areas, master.order().wanted.digest, KEYRING, CpuArch.AARCH64)
    assert len(follower.told) == count, "what is committed already is not written again"
    restore_tries_of_running(areas)
    assert len(follower.told) == count, "no start was used up"


def test_firmware_that_takes_no_variables_ends_the_burn_before_a_piece_is_written() -> None:
    device, master = flash(), Master()
    burn = burner(device, master)
    burn.areas.firmware = Follower(device, full=True)
    with pytest.raises(DeviceError, match="BootNext"):
        burn.burn(master.order())
    assert not any(opened(device).window(Letter.A.partition).read(0, 4096))
