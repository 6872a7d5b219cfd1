"""What processes keep: when its file system is made, checked, wiped, and that it never stops a card."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.card.areas import Areas, earlier_table, open_areas
from firmware_mgr.card.burn import Burner
from firmware_mgr.card.data_keeper import MADE, NO_PLACE, DataKeeper
from firmware_mgr.card.data_volume import MADE_ANEW, REPAIRED, Ext4Volume, Opened
from firmware_mgr.card.partitions import partition_node
from firmware_mgr.flash.device import Cut, MemoryDevice, PowerCut
from firmware_mgr.flash.gpt import DATA, find, plan, read_table
from firmware_mgr.link import messages as m
from firmware_mgr.link.messages import AreaState
from firmware_mgr.model.errors import DeviceError, UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.packaging.build import build_package
from tests.card.burning import BOARD, LAYOUT, MIB, NETBOOTED, Master, image
from tests.package.samples import HEAD, KEY, KEYRING, SOURCES

WITH_DATA = replace(LAYOUT, data=2 * MIB)
SIZE = 24 * MIB


class TwinVolume:
    """Remembers what was asked; stricter than the real one: nothing twice."""

    def __init__(self, fails: str = "", detail: str = "") -> None:
        self.fails, self.detail = fails, detail
        self.asked: list[bool] = []
        self.mounted = False
        self.busy = False

    async def open(self, made: bool) -> Opened:
        assert not self.mounted, "mounted twice"
        self.asked.append(made)
        if self.fails:
            raise DeviceError(self.fails, where="/dev/vda6")
        self.mounted = True
        return Opened(self.detail)

    async def close(self) -> None:
        assert self.mounted, "not mounted"
        if self.busy:
            raise DeviceError("file system of the processes is in use")
        self.mounted = False

    def space(self) -> tuple[int, int]:
        assert self.mounted
        return 100, 40


def burn(device: MemoryDevice, layout: object = WITH_DATA, *, erase: bool = False) -> Areas:
    master = Master()
    return burned(device, layout, master, replace(master.order(), erase=erase))


def burned(device: MemoryDevice, layout: object, master: Master, order: m.Burn) -> Areas:
    areas = open_areas(device, layout, NETBOOTED)  # type: ignore[arg-type]
    documents: dict[str, bytes | None] = {"identity/key": b"key"}
    Burner(
        areas, master, KEYRING, CpuArch.AARCH64, BOARD, lambda: documents, lambda *_: None, lambda: 0.0
    ).burn(order)
    return areas


async def test_it_is_made_once_and_checked_from_then_on() -> None:
    device = MemoryDevice(SIZE)
    areas = burn(device)
    volume = TwinVolume()
    keeper = DataKeeper(volume, lambda: areas)
    await keeper.open()
    await keeper.open()
    assert volume.asked == [False]
    report = keeper.report()
    assert report is not None and (report.state, report.size, report.free) == (AreaState.GOOD, 100, 40)
    again = open_areas(device, WITH_DATA, NETBOOTED)
    later = TwinVolume()
    await DataKeeper(later, lambda: again).open()
    assert later.asked == [True]


async def test_flash_without_a_table_has_nothing_to_say_yet() -> None:
    areas = open_areas(MemoryDevice(SIZE), WITH_DATA, NETBOOTED)
    volume = TwinVolume()
    keeper = DataKeeper(volume, lambda: areas)
    await keeper.open()
    assert keeper.report() is None and volume.asked == []


async def test_an_earlier_layout_is_burned_as_it_is_and_the_report_says_the_next_step() -> None:
    device = MemoryDevice(SIZE)
    burn(device, LAYOUT)
    before = read_table(device)
    areas = burn(device)
    assert read_table(device) == before == earlier_table(device, WITH_DATA)
    keeper = DataKeeper(TwinVolume(), lambda: areas)
    await keeper.open()
    report = keeper.report()
    assert report is not None and report.state is AreaState.EMPTY
    assert report.detail == NO_PLACE and "burn-all --erase" in NO_PLACE


def test_erase_lays_an_earlier_layout_out_anew_and_keeps_the_cards_key() -> None:
    device = MemoryDevice(SIZE)
    burn(device, LAYOUT)
    areas = burn(device, erase=True)
    assert read_table(device) == plan(WITH_DATA, SIZE) and areas.has(DATA)
    assert areas.state is not None and areas.state.document("identity/key") == b"key"


def test_a_burn_leaves_what_processes_keep_alone_and_erase_wipes_it() -> None:
    device = MemoryDevice(SIZE)
    areas = burn(device)
    place = find(read_table(device), DATA)
    device.write(place.offset, b"kept" * 1024)
    device.sync()
    assert areas.state is not None
    areas.state.commit({MADE: b"1"})
    again = burn(device)
    assert device.read(place.offset, 4096) == b"kept" * 1024
    assert again.state is not None and again.state.document(MADE) == b"1"
    erased = burn(device, erase=True)
    assert device.read(place.offset, 4096) == bytes(4096)
    assert erased.state is not None and erased.state.document(MADE) is None


def test_an_erase_that_is_refused_wipes_nothing() -> None:
    """Image or packages do not fit: what processes kept, table and store are as they were."""
    device = MemoryDevice(SIZE)
    burn(device)
    place = find(read_table(device), DATA)
    device.write(place.offset, b"kept" * 1024)
    device.sync()
    before = device.contents()
    large = [*SOURCES, replace(SOURCES[0], path="usr/share/large", data=random.Random(1).randbytes(5 * MIB))]
    master = Master()
    too_much = (master.order(raw=image(1, 4 * MIB)), master.order(package=build_package(HEAD, large, [KEY])))
    for order in too_much:
        with pytest.raises((DeviceError, UsageError), match="does not fit"):
            burned(device, WITH_DATA, master, replace(order, erase=True))
        assert device.contents() == before


@pytest.mark.parametrize("cut", [None, *Cut])
def test_erase_with_a_larger_store_makes_it_anew(cut: Cut | None) -> None:
    """The old one, made for a smaller place, would open there and refuse the set for ever."""
    larger = replace(LAYOUT, store=10 * MIB)
    large = [*SOURCES, replace(SOURCES[0], path="usr/share/large", data=random.Random(1).randbytes(5 * MIB))]
    contents = MemoryDevice(SIZE)
    burn(contents, LAYOUT)
    for number in range(1, 2 if cut is None else 40, 3):
        device, master = MemoryDevice(SIZE), Master()
        device.load(contents.contents())
        order = replace(master.order(package=build_package(HEAD, large, [KEY])), erase=True)
        if cut is not None:
            device.cut_power(number, cut)
            with suppress(PowerCut):
                burned(device, larger, master, order)
            device.crash(random.Random(number))
        areas = burned(device, larger, master, order)
        assert areas.store is not None and areas.store.fills_its_device
        assert areas.store.space().total > 9 * MIB
        assert areas.state is not None and areas.state.document("identity/key") == b"key"


async def test_what_fails_is_reported_and_stops_nothing() -> None:
    areas = burn(MemoryDevice(SIZE))
    keeper = DataKeeper(TwinVolume(fails="kernel has no ext4"), lambda: areas)
    await keeper.open()
    report = keeper.report()
    assert report is not None and report.state is AreaState.BAD
    assert "kernel has no ext4" in report.detail and "RAM" in report.detail
    assert areas.state is not None and areas.state.document(MADE) is None


async def test_what_is_in_use_is_not_taken_away() -> None:
    areas = burn(MemoryDevice(SIZE))
    volume = TwinVolume(detail=REPAIRED)
    keeper = DataKeeper(volume, lambda: areas)
    await keeper.open()
    volume.busy = True
    with pytest.raises(DeviceError, match="in use"):
        await keeper.close()
    report = keeper.report()
    assert report is not None and report.state is AreaState.GOOD and report.detail == REPAIRED


def test_a_layout_with_data_must_fit() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        plan(replace(LAYOUT, data=64 * MIB), SIZE)


# Nodes by name, whatever the disk is called.


@pytest.mark.parametrize(
    ("disk", "node"), [("vda", "vda{}"), ("mmcblk0", "mmcblk0p{}"), ("nvme0n1", "nvme0n1p{}")]
)
def test_a_partition_is_found_by_its_name(tmp_path: Path, disk: str, node: str) -> None:
    for number, name in enumerate(("control", "boot-a", "boot-b", "store", "state", "data"), start=1):
        folder = tmp_path / disk / node.format(number)
        folder.mkdir(parents=True)
        (folder / "partition").write_text(f"{number}\n")
        label = node.format(number)
        words = f"MAJOR=1\nDEVNAME={label}\nPARTN={number}\nPARTNAME={name}\n"
        (folder / "uevent").write_text(words)
    found = partition_node(Path("/dev") / disk, "store", sysfs=tmp_path, reread=lambda _: None)
    assert found == Path("/dev") / node.format(4)
    with pytest.raises(DeviceError, match="expected swap, found boot-a, boot-b, control"):
        partition_node(Path("/dev") / disk, "swap", sysfs=tmp_path, reread=lambda _: None)


def test_a_table_that_the_kernel_has_not_seen_is_read_again(tmp_path: Path) -> None:
    def reread(_: Path) -> None:
        folder = tmp_path / "vda" / "vda6"
        folder.mkdir(parents=True)
        (folder / "partition").write_text("6\n")
        (folder / "uevent").write_text("DEVNAME=vda6\nPARTNAME=data\n")

    assert partition_node(Path("/dev/vda"), "data", sysfs=tmp_path, reread=reread) == Path("/dev/vda6")


# The real tools, over a file in place of a partition; mounting is left to the card.


class FileVolume(Ext4Volume):
    """Without the kernel: what would be mounted is looked at with debugfs."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, DATA, file.parent / "mounted")
        self.file = file
        self.mounts = 0

    def _node(self) -> Path:
        return self.file

    def _mount(self, node: Path) -> None:
        self.mounts += 1


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[FileVolume]:
    file = tmp_path / "data.img"
    with file.open("wb") as stream:
        stream.truncate(64 * MIB)
    yield FileVolume(file)


def debugfs(volume: FileVolume, request: str) -> str:
    command = [shutil.which("debugfs") or "/sbin/debugfs", "-w", "-R", request, str(volume.file)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


async def test_a_new_file_system_keeps_what_is_written_to_it(volume: FileVolume) -> None:
    assert (await volume.open(False)).detail == ""
    debugfs(volume, "mkdir kept")
    assert (await volume.open(True)).detail == ""
    assert "kept" in debugfs(volume, "ls")


async def test_one_that_is_there_is_never_made_over_even_when_nothing_says_so(volume: FileVolume) -> None:
    await volume.open(False)
    debugfs(volume, "mkdir kept")
    assert (await volume.open(False)).detail == ""
    assert "kept" in debugfs(volume, "ls")


async def test_a_lost_superblock_is_repaired_from_its_copy(volume: FileVolume) -> None:
    await volume.open(False)
    debugfs(volume, "mkdir kept")
    with volume.file.open("r+b") as file:
        file.seek(1024)
        file.write(bytes(1024))
    assert (await volume.open(True)).detail == REPAIRED
    assert "kept" in debugfs(volume, "ls")


async def test_one_beyond_repair_is_made_anew_and_said(volume: FileVolume) -> None:
    await volume.open(False)
    with volume.file.open("r+b") as file:
        file.write(os.urandom(1) * (64 * MIB))
    assert (await volume.open(True)).detail == MADE_ANEW
    assert (await volume.open(True)).detail == ""


@pytest.mark.parametrize("tool", ["e2fsck", "mke2fs"])
async def test_a_tool_that_is_killed_has_not_said_that_all_is_well(
    volume: FileVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    """For want of memory, say: what is on the partition stays as it is."""
    made = tool == "e2fsck"
    if made:
        await volume.open(False)
    before = volume.file.read_bytes()
    mounts = volume.mounts
    twin = tmp_path / "bin" / tool
    twin.parent.mkdir()
    twin.write_text("#!/bin/sh\nkill -9 $$\n")
    twin.chmod(0o755)
    monkeypatch.setenv("PATH", str(twin.parent), prepend=":")
    with pytest.raises(DeviceError, match="tool was killed"):
        await volume.open(made)
    assert volume.file.read_bytes() == before and volume.mounts == mounts


@pytest.mark.parametrize(
    ("fault", "anew"), [(errno.EUCLEAN, True), (errno.ENOMEM, False), (errno.EIO, False)]
)
async def test_only_damage_is_a_reason_to_make_it_anew(tmp_path: Path, fault: int, anew: bool) -> None:
    class Refusing(FileVolume):
        def _mount(self, node: Path) -> None:
            super()._mount(node)
            if self.mounts == 2:
                raise OSError(fault, os.strerror(fault))

    file = tmp_path / "data.img"
    with file.open("wb") as stream:
        stream.truncate(64 * MIB)
    volume = Refusing(file)
    await volume.open(False)
    debugfs(volume, "mkdir kept")
    if anew:
        assert (await volume.open(True)).detail == MADE_ANEW
    else:
        with pytest.raises(DeviceError, match="cannot be mounted"):
            await volume.open(True)
    assert ("kept" in debugfs(volume, "ls")) is not anew
