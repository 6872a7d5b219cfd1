"""The device seam: what the twin and the real device promise, and how much stricter the twin is."""

import random
from pathlib import Path

import pytest

from firmware_mgr.flash.device import Cut, FileDevice, FlashDevice, MemoryDevice, PowerCut, Window
from firmware_mgr.model.errors import DeviceError, UsageError

KIB = 1024


@pytest.fixture(params=["memory", "file", "window"])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> FlashDevice:
    if request.param == "memory":
        return MemoryDevice(64 * KIB)
    if request.param == "window":
        return Window(MemoryDevice(256 * KIB), 128 * KIB, 64 * KIB)
    path = tmp_path / "flash.img"
    path.write_bytes(bytes(64 * KIB))
    return FileDevice(path)


def test_what_is_written_is_read_before_and_after_sync(device: FlashDevice) -> None:
    device.write(1024, b"x" * 512)
    assert device.read(1023, 514) == b"\0" + b"x" * 512 + b"\0"
    device.sync()
    assert device.read(1024, 512) == b"x" * 512
    assert (device.size, device.block_size) == (64 * KIB, 512)


@pytest.mark.parametrize(
    ("offset", "length"), [(1, 512), (512, 511), (64 * KIB, 512), (-512, 512), (0, 65 * KIB)]
)
def test_misaligned_and_outside_writes_are_the_callers_fault(
    device: FlashDevice, offset: int, length: int
) -> None:
    with pytest.raises(UsageError):
        device.write(offset, bytes(length))


@pytest.mark.parametrize(("offset", "length"), [(64 * KIB, 1), (-1, 1), (0, 64 * KIB + 1), (0, -1)])
def test_reads_outside_are_the_callers_fault(device: FlashDevice, offset: int, length: int) -> None:
    with pytest.raises(UsageError):
        device.read(offset, length)


def test_a_window_shows_only_its_part() -> None:
    whole = MemoryDevice(64 * KIB)
    window = Window(whole, 4096, 4096, "boot-a")
    window.write(512, b"w" * 512)
    assert whole.read(4096 + 512, 512) == b"w" * 512
    with pytest.raises(UsageError, match="boot-a"):
        window.read(4095, 2)
    with pytest.raises(UsageError):
        Window(whole, 60 * KIB, 8 * KIB)
    with pytest.raises(UsageError):
        Window(whole, 100, 512)


def test_a_device_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no-such-disk"):
        FileDevice(tmp_path / "no-such-disk")


def test_a_closed_file_device_reports_device_errors(tmp_path: Path) -> None:
    path = tmp_path / "flash.img"
    path.write_bytes(bytes(4096))
    with FileDevice(path) as device:
        pass
    for use in (lambda: device.read(0, 1), lambda: device.write(0, bytes(512)), device.sync):
        with pytest.raises(DeviceError, match=r"flash\.img"):
            use()


def test_a_shrunken_file_ends_early(tmp_path: Path) -> None:
    path = tmp_path / "flash.img"
    path.write_bytes(bytes(4096))
    with FileDevice(path) as device:
        path.write_bytes(bytes(1024))
        with pytest.raises(DeviceError, match="ended early"):
            device.read(0, 4096)


def test_unsynced_writes_can_be_lost_and_synced_ones_cannot() -> None:
    kept = lost = torn = 0
    for seed in range(60):
        device = MemoryDevice(16 * KIB)
        device.write(0, b"s" * 4096)
        device.sync()
        device.write(8192, b"u" * 4096)
        device.crash(random.Random(seed))
        assert device.read(0, 4096) == b"s" * 4096
        survivor = device.read(8192, 4096)
        kept += survivor == b"u" * 4096
        lost += survivor == bytes(4096)
        torn += 0 < survivor.count(b"u") < 4096
    assert kept and lost and torn


def test_overlapping_unsynced_writes_can_survive_in_any_order() -> None:
    seen = set()
    for seed in range(60):
        device = MemoryDevice(4096)
        device.write(0, b"1" * 512)
        device.write(0, b"2" * 512)
        device.crash(random.Random(seed))
        seen.add(device.read(0, 1))
    assert seen == {b"\0", b"1", b"2"}


@pytest.mark.parametrize(("cut", "waiting"), [(Cut.BEFORE, False), (Cut.AFTER, True)])
def test_a_cut_write_happened_or_not_and_then_nothing_answers(cut: Cut, waiting: bool) -> None:
    device = MemoryDevice(4096, cut_after=2, cut=cut)
    device.write(0, b"1" * 512)
    with pytest.raises(PowerCut):
        device.write(512, b"2" * 512)
    for use in (lambda: device.read(0, 1), lambda: device.write(0, bytes(512)), device.sync):
        with pytest.raises(PowerCut):
            use()
    assert (device.wear[1] == 1) is waiting
    device.crash(random.Random(0))
    device.write(0, b"3" * 512)
    assert device.read(0, 1) == b"3"


def test_a_torn_write_leaves_old_and_new_blocks_side_by_side() -> None:
    left = set()
    for seed in range(40):
        device = MemoryDevice(4096, cut_after=1, cut=Cut.TORN)
        with pytest.raises(PowerCut):
            device.write(0, b"t" * 4096)
        device.crash(random.Random(seed))
        left.add(device.read(0, 4096).count(b"t"))
    assert 4096 not in left
    assert any(count % 512 for count in left), "a block half written"
    assert len(left) > 5


def test_a_cut_sync_made_all_durable_after_and_nothing_certain_before() -> None:
    device = MemoryDevice(4096, cut_after=2, cut=Cut.AFTER)
    device.write(0, b"1" * 512)
    with pytest.raises(PowerCut):
        device.sync()
    device.crash(random.Random(1))
    assert device.read(0, 512) == b"1" * 512


def test_wear_is_counted_per_block() -> None:
    device = MemoryDevice(4096)
    device.write(0, bytes(1024))
    device.write(512, bytes(512))
    assert (device.wear[0], device.wear[1], device.wear[2]) == (1, 2, 0)


def test_bad_blocks_refuse_reading_and_writing() -> None:
    device = MemoryDevice(4096)
    device.bad_blocks.add(3)
    device.write(0, bytes(3 * 512))
    with pytest.raises(DeviceError, match="bad block"):
        device.write(1024, bytes(1024))
    with pytest.raises(DeviceError, match="block 3"):
        device.read(2047, 1)
    assert device.read(2048, 10) == bytes(10)
