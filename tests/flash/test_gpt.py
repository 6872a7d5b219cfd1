"""The partition table: planned, written, read, repaired; read by sgdisk too; cut anywhere."""

import random
import subprocess
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.flash import gpt
from firmware_mgr.flash.device import FileDevice, MemoryDevice
from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.flash.gpt import MIB, FlashLayout, Partition, plan, read_table, repair_table, write_table
from firmware_mgr.flash.gpt_layout import HEADER_SIZE, Header
from firmware_mgr.model.errors import DeviceError, UsageError
from tests.flash.cuts import copied_from, every_cut

GOLDEN = Path(__file__).parent / "golden"
SIZE = 12 * MIB
LAYOUT = FlashLayout(control=MIB, boot=2 * MIB, store=0, state=MIB)
OTHER_LAYOUT = FlashLayout(control=MIB, boot=3 * MIB, store=2 * MIB, state=MIB)
OTHER_DISK = UUID(int=7)
TABLE = plan(LAYOUT, SIZE)
OTHER = plan(OTHER_LAYOUT, SIZE, disk_guid=OTHER_DISK)


@pytest.fixture
def device() -> MemoryDevice:
    return MemoryDevice(SIZE)


def table_or_none(device: MemoryDevice) -> tuple[Partition, ...] | None:
    try:
        return read_table(device)
    except FlashFormatError:
        return None


def test_plan_puts_five_partitions_in_order_and_the_store_takes_the_rest() -> None:
    assert [p.name for p in TABLE] == ["control", "boot-a", "boot-b", "store", "state"]
    assert [p.offset // MIB for p in TABLE] == [1, 2, 4, 6, 10]
    assert [p.size // MIB for p in TABLE] == [1, 2, 2, 4, 1]
    assert [p.bootable for p in TABLE] == [False, True, True, False, False]


def test_plan_uses_given_sizes_and_types() -> None:
    layout = FlashLayout(MIB, 2 * MIB, MIB, MIB, boot_type=gpt.EFI_SYSTEM)
    table = plan(layout, 100 * MIB)
    assert gpt.find(table, "store").size == MIB
    assert gpt.find(table, "boot-b").type_guid == gpt.EFI_SYSTEM
    assert len({p.guid for p in table}) == 5


def test_plan_refuses_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"expected 9 MiB, found 8\.5 MiB"):
        plan(LAYOUT, 8 * MIB + MIB // 2)
    assert gpt.find(plan(LAYOUT, 9 * MIB), "store").size == MIB


@pytest.mark.parametrize("sizes", [(0, MIB, MIB, MIB), (MIB, MIB + 1, MIB, MIB), (MIB, MIB, -MIB, MIB)])
def test_layouts_with_odd_sizes_are_refused(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match="bad partition size"):
        FlashLayout(*sizes)


@pytest.mark.parametrize("block_size", [512, 4096])
def test_what_is_written_is_read_and_needs_no_repair(block_size: int) -> None:
    device = MemoryDevice(SIZE, block_size=block_size)
    write_table(device, TABLE)
    assert read_table(device) == TABLE
    operations = device.operations
    assert not repair_table(device)
    assert device.operations == operations
    assert gpt.find(read_table(device), "store").window(device).size == 4 * MIB


def test_an_equal_table_is_written_again_since_it_may_have_read_right_once() -> None:
    device = MemoryDevice(SIZE)
    write_table(device, TABLE)
    before = device.operations
    write_table(device, TABLE)
    assert device.operations > before and read_table(device) == TABLE


def test_a_table_without_the_wanted_partition_says_so() -> None:
    with pytest.raises(FlashFormatError, match="no such partition"):
        gpt.find(TABLE[:2], "store")


def test_empty_flash_has_no_table(device: MemoryDevice) -> None:
    with pytest.raises(FlashFormatError, match="no readable partition table"):
        read_table(device)
    with pytest.raises(FlashFormatError):
        repair_table(device)


def test_the_backup_counts_when_the_primary_is_gone_and_repair_restores_it(device: MemoryDevice) -> None:
    write_table(device, TABLE, disk_guid=OTHER_DISK)
    whole = device.contents()
    device.write(0, bytes(34 * 512))
    assert read_table(device) == TABLE
    assert repair_table(device)
    device.sync()
    assert device.contents() == whole


def test_repair_restores_the_backup_and_an_unreadable_primary_is_passed_over(device: MemoryDevice) -> None:
    write_table(device, TABLE)
    whole = device.contents()
    device.write(SIZE - 512, bytes(512))
    assert repair_table(device)
    assert device.contents() == whole
    device.bad_blocks.add(1)
    assert read_table(device) == TABLE


def test_golden_bytes(device: MemoryDevice) -> None:
    write_table(device, TABLE)
    contents = device.contents()
    assert contents[: 6 * 512] == (GOLDEN / "gpt-primary.bin").read_bytes()
    assert contents[-33 * 512 : -29 * 512] + contents[-512:] == (GOLDEN / "gpt-backup.bin").read_bytes()


def test_sgdisk_accepts_the_table_and_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(SIZE)
    with FileDevice(path) as device:
        write_table(device, TABLE)
    verdict = subprocess.run(["sgdisk", "--verify", path], capture_output=True, text=True, check=True)
    assert "No problems found" in verdict.stdout
    assert "Warning" not in verdict.stdout and "Caution" not in verdict.stdout + verdict.stderr
    shown = subprocess.run(["sgdisk", "--info=2", path], capture_output=True, text=True, check=True).stdout
    assert "Partition name: 'boot-a'" in shown
    assert "First sector: 4096" in shown
    assert "Attribute flags: 0000000000000004" in shown
    assert str(TABLE[1].guid).upper() in shown


def test_a_table_made_by_sgdisk_is_read(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(SIZE)
    command = [
        "sgdisk",
        "-n",
        "1:2048:+1M",
        "-c",
        "1:control",
        "-n",
        "2:0:+2M",
        "-c",
        "2:boot-a",
        "-A",
        "2:set:2",
        path,
    ]
    subprocess.run(command, capture_output=True, check=True)
    with FileDevice(path) as device:
        control, boot = read_table(device)
    assert (control.name, control.offset, control.size, control.bootable) == ("control", MIB, MIB, False)
    assert (boot.name, boot.offset, boot.size, boot.bootable) == ("boot-a", 2 * MIB, 2 * MIB, True)


def test_a_cut_on_empty_flash_leaves_nothing_or_the_table() -> None:
    for device, case in every_cut(lambda: MemoryDevice(SIZE), lambda d: _write(d, TABLE), outcomes=3):
        assert table_or_none(device) in (None, TABLE), case
        write_table(device, TABLE)
        assert read_table(device) == TABLE, case


@pytest.mark.parametrize("damage", ["none", "primary", "backup"])
def test_a_cut_while_a_table_is_replaced_leaves_the_old_or_the_new(damage: str) -> None:
    base = MemoryDevice(SIZE)
    write_table(base, OTHER, disk_guid=OTHER_DISK)
    if damage != "none":
        base.flip_bit(520 if damage == "primary" else SIZE - 500, 3)
    for device, case in every_cut(copied_from(base.contents()), lambda d: _write(d, TABLE), outcomes=3):
        assert read_table(device) in (OTHER, TABLE), case
        assert repair_table(device) in (True, False)
        assert read_table(device) in (OTHER, TABLE), case


def _write(device: MemoryDevice, table: tuple[Partition, ...]) -> None:
    write_table(device, table)


def test_every_flipped_bit_of_the_primary_is_seen(device: MemoryDevice) -> None:
    write_table(device, TABLE)
    for offset in [*range(512, 512 + HEADER_SIZE), *range(1024, 1024 + 5 * 128, 7)]:
        device.flip_bit(offset, offset % 8)
        assert read_table(device) == TABLE
        assert repair_table(device), f"flip at {offset}"


def test_overlapping_and_outlying_partitions_are_refused(device: MemoryDevice) -> None:
    first = TABLE[0]
    for second in (
        Partition("x", first.offset, MIB, UUID(int=1)),
        Partition("x", SIZE, MIB, UUID(int=1)),
        Partition("x", 0, MIB, UUID(int=1)),
    ):
        write_table(device, (first, second))
        with pytest.raises(FlashFormatError, match="overlaps or leaves"):
            read_table(device)


def test_tiny_flash_and_too_many_partitions_are_the_callers_fault(device: MemoryDevice) -> None:
    with pytest.raises(UsageError):
        read_table(MemoryDevice(MIB))
    with pytest.raises(UsageError):
        write_table(device, TABLE * 30)


@given(st.binary(max_size=200))
@settings(max_examples=60)
def test_headers_of_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        Header.decode(b"EFI PART" + raw, "test")
    except FlashFormatError:
        pass


def test_random_damage_never_raises_anything_but_the_declared_errors() -> None:
    rng = random.Random(20)
    base = MemoryDevice(SIZE)
    write_table(base, TABLE)
    make = copied_from(base.contents())
    for _ in range(60):
        device = make()
        for start in (0, SIZE - 34 * 512):
            for _ in range(rng.randrange(4)):
                device.flip_bit(start + rng.randrange(34 * 512), rng.randrange(8))
        try:
            assert read_table(device) == TABLE
        except DeviceError as e:
            assert isinstance(e, FlashFormatError)
