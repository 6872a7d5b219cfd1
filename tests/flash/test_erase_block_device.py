"""Chips with erase blocks: what twins refuse, what a device makes of a chip, areas that hide bad blocks."""

import random
from contextlib import suppress
from pathlib import Path

import pytest

from firmware_mgr.flash.boot_partition import BootImageLayout, missing_pieces, verify, write_piece
from firmware_mgr.flash.chip_twins import NandTwin, NorTwin
from firmware_mgr.flash.control import first_burn, read_control, write_control
from firmware_mgr.flash.device import Cut, MemoryDevice, PowerCut, Window, bad_offsets
from firmware_mgr.flash.erase_block_device import ChipGeometry, EraseBlockDevice, programmed_runs
from firmware_mgr.flash.errors import BadBlock
from firmware_mgr.flash.gpt import read_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.flash.mtd import MtdChip
from firmware_mgr.flash.mtd_areas import find_area, parse_areas
from firmware_mgr.flash.skip_bad import ControlBlocks, SkipBad
from firmware_mgr.model.errors import DeviceError, UsageError
from tests.flash.cuts import every_cut

KIB, MIB = 1 << 10, 1 << 20
SMALL = ChipGeometry(64 * 16 * KIB, 16 * KIB, 512)
PAGE, BLOCK = 512, 16 * KIB
FF = b"\xff"


def data(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


# The twins


def test_nand_pages_are_programmed_once_and_in_order() -> None:
    chip = NandTwin(SMALL)
    chip.program(PAGE, data(1, PAGE))
    for offset in (0, PAGE):
        with pytest.raises(UsageError, match="erase first"):
            chip.program(offset, data(2, PAGE))
    chip.program(5 * PAGE, data(3, 2 * PAGE))
    chip.erase(0)
    assert chip.read(0, BLOCK) == FF * BLOCK
    chip.program(0, data(2, PAGE))
    assert chip.wear == {0: 1}


def test_nor_programs_any_page_but_sets_no_bits() -> None:
    chip = NorTwin(SMALL)
    chip.program(PAGE, b"\xf0" * PAGE)
    chip.program(PAGE, b"\x30" * PAGE)
    with pytest.raises(UsageError, match="sets no bits"):
        chip.program(PAGE, b"\xf0" * PAGE)
    assert chip.read(PAGE, PAGE) == b"\x30" * PAGE


@pytest.mark.parametrize("make", [NorTwin, NandTwin])
def test_a_torn_operation_leaves_cells_that_read_differently_twice_until_they_are_erased(
    make: type[NorTwin] | type[NandTwin],
) -> None:
    wavered = 0
    for seed in range(30):
        chip = make(SMALL)
        chip.program(0, data(1, BLOCK))
        chip.program(BLOCK, data(2, BLOCK))
        chip.cut_power(1, Cut.TORN)
        with pytest.raises(PowerCut):
            chip.erase(0)
        with pytest.raises(PowerCut):
            chip.read(BLOCK, 1)
        chip.crash(random.Random(seed))
        readings = {_reading(chip) for _ in range(6)}
        wavered += len(readings) > 1
        assert chip.read(BLOCK, BLOCK) == data(2, BLOCK)
        with pytest.raises(UsageError):
            chip.program(0, bytes(PAGE))
        chip.erase(0)
        assert chip.read(0, BLOCK) == FF * BLOCK
    assert wavered > 20


def _reading(chip: NorTwin | NandTwin) -> bytes:
    try:
        return chip.read(0, BLOCK)
    except DeviceError:
        return b""


# The device


def test_a_write_is_erase_and_program_and_pages_of_ff_are_left_erased() -> None:
    chip = NandTwin(SMALL)
    device = EraseBlockDevice(chip)
    content = data(1, 700).ljust(BLOCK, FF) + data(2, BLOCK)
    for _ in range(2):
        device.write(2 * BLOCK, content)
        assert device.read(2 * BLOCK, 2 * BLOCK) == content
    assert chip.wear == {2: 2, 3: 2}
    assert programmed_runs(content[:BLOCK], PAGE) == [(0, content[: 2 * PAGE])]
    gap = FF * PAGE + b"a" * PAGE + FF * PAGE + b"b" * PAGE
    assert programmed_runs(gap, PAGE) == [(PAGE, b"a" * PAGE), (3 * PAGE, b"b" * PAGE)]
    assert programmed_runs(FF * BLOCK, PAGE) == []


def test_bad_blocks_are_neither_read_nor_written() -> None:
    chip = NandTwin(SMALL, factory_bad=[3])
    device = EraseBlockDevice(chip)
    assert device.bad_offsets() == {3 * BLOCK}
    for use in (lambda: device.read(2 * BLOCK, BLOCK + 1), lambda: device.write(3 * BLOCK, bytes(BLOCK))):
        with pytest.raises(BadBlock, match="block 3"):
            use()
    assert device.read(4 * BLOCK, 1) == FF
    assert chip.operations == 0


@pytest.mark.parametrize("operation", [1, 2])
def test_a_block_that_refuses_is_marked_where_the_chip_can_and_avoided_where_it_cannot(
    operation: int,
) -> None:
    for chip, after in ((NandTwin(SMALL), {5 * BLOCK}), (NorTwin(SMALL), set())):
        device = EraseBlockDevice(chip)
        chip.refuse(operation)
        with pytest.raises(BadBlock, match="block 5: erase block refuses"):
            device.write(5 * BLOCK, data(1, BLOCK))
        assert device.bad_offsets() == {5 * BLOCK}
        assert EraseBlockDevice(chip).bad_offsets() == after


def test_four_refusals_in_a_row_are_marked_and_one_success_begins_the_count_anew() -> None:
    class Refusing(NandTwin):
        def erase(self, block: int) -> None:
            if block != 20:
                raise DeviceError("refused")
            super().erase(block)

    device = EraseBlockDevice(Refusing(SMALL))
    for block in (0, 1, 2, 3):
        with pytest.raises(BadBlock):
            device.write(block * BLOCK, bytes(BLOCK))
    device.write(20 * BLOCK, bytes(BLOCK))
    for block in (4, 5, 6, 7):
        with pytest.raises(BadBlock):
            device.write(block * BLOCK, bytes(BLOCK))
    with pytest.raises(DeviceError, match="write-protected"):
        device.write(8 * BLOCK, bytes(BLOCK))
    assert len(device.bad_offsets()) == 8


def test_chips_of_odd_geometry_are_refused() -> None:
    for size, erase_size, page in (
        (MIB, 2048, 512),
        (MIB, 3 * 4096, 512),
        (MIB + 1, 4096, 512),
        (MIB, 4096, 0),
    ):
        with pytest.raises(UsageError):
            ChipGeometry(size, erase_size, page)
    with pytest.raises(UsageError, match="not in whole pages"):
        ChipGeometry(MIB, 8192, 3000)


def test_what_is_no_mtd_device_is_said(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(DeviceError, match="cannot be opened"):
        MtdChip(path)
    path.write_bytes(bytes(4096))
    with pytest.raises(UsageError, match="not an MTD device"):
        MtdChip(path)


def test_only_devices_with_erase_blocks_know_bad_ones_and_they_get_no_partition_table() -> None:
    plain = MemoryDevice(4 * MIB)
    assert bad_offsets(plain) is None and bad_offsets(Window(plain, 0, MIB)) is None
    large = EraseBlockDevice(NandTwin(ChipGeometry(8 * MIB, 128 * KIB, 2 * KIB)))
    assert bad_offsets(large) == frozenset()
    with pytest.raises(UsageError, match="areas of MTD flash"):
        read_table(large)


# Areas


def test_areas_are_read_as_linux_reads_them() -> None:
    text = "mtdparts=nor0:64k(x);nand0:1m(control),0x200000(boot-a),512k@4m(boot-b)ro,-(store)"
    areas = parse_areas(text, "nand0", 16 * MIB)
    assert [(a.name, a.offset, a.size) for a in areas] == [
        ("control", 0, MIB),
        ("boot-a", MIB, 2 * MIB),
        ("boot-b", 4 * MIB, 512 * KIB),
        ("store", 4 * MIB + 512 * KIB, 11 * MIB + 512 * KIB),
    ]
    assert find_area(areas, "store") == areas[3]
    window = areas[1].window(MemoryDevice(16 * MIB, block_size=128 * KIB))
    assert (window.offset, window.size, window.name) == (MIB, 2 * MIB, "boot-a")
    with pytest.raises(DeviceError, match="no such area: expected data"):
        find_area(areas, "data")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mtdparts=other:1m(a)", "no areas for this device"),
        ("mtdparts=nand0:1m", "not an area"),
        ("mtdparts=nand0:1q(a)", "not an area"),
        ("mtdparts=nand0:-(a),1m(b)", "leaves the device"),
        ("mtdparts=nand0:2m(a),1m@1m(b)", "overlaps"),
        ("mtdparts=nand0:0(a)", "leaves the device"),
        ("mtdparts=nand0:1m(a),1m(a)", "one name"),
        ("", "no areas"),
    ],
)
def test_areas_that_cannot_be_are_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_areas(text, "nand0", 16 * MIB)


def burn(window: SkipBad, layout: BootImageLayout, image: bytes) -> int:
    """Burn until nothing is missing, as a repeated order does; how often that was interrupted."""
    interrupted = 0
    while missing := missing_pieces(window, layout):
        try:
            for index in missing:
                offset, length = layout.span(index)
                write_piece(window, layout, index, image[offset : offset + length])
        except BadBlock:
            interrupted += 1
    return interrupted


def test_a_boot_image_passes_over_bad_blocks_as_a_loader_does() -> None:
    geometry = ChipGeometry(4 * MIB, 128 * KIB, 2 * KIB)
    chip = NandTwin(geometry, factory_bad=[0, 5, 6])
    window = SkipBad(EraseBlockDevice(chip))
    assert window.size == 29 * 128 * KIB
    image = data(1, 2 * MIB + 777)
    layout = BootImageLayout.of(image)
    assert burn(window, layout, image) == 0
    good = [block for block in range(geometry.blocks) if block not in (0, 5, 6)]
    read = b"".join(chip.read(block * 128 * KIB, 128 * KIB) for block in good)  # U-Boot's nand read
    assert read[: len(image)] == image
    changed = data(2, 2 * MIB + 777)
    chip.refuse(9)
    assert burn(window, BootImageLayout.of(changed), changed) == 1
    assert (
        verify(SkipBad(EraseBlockDevice(chip)), BootImageLayout.of(changed))
        == BootImageLayout.of(changed).digest
    )


def test_a_boot_image_that_was_cut_anywhere_is_written_to_its_end() -> None:
    """Also where a block refuses besides, which moves all behind it. Pieces are noted before their writes."""
    geometry = ChipGeometry(144 * 16 * KIB, 16 * KIB, 512)
    base = NandTwin(geometry, factory_bad=[0, 5, 70])
    old, new = data(1, MIB + 777), data(2, MIB + 99)
    layout = BootImageLayout.of(new)
    assert burn(SkipBad(EraseBlockDevice(base)), BootImageLayout.of(old), old) == 0
    total = 2 * (MIB // (16 * KIB) + 1)
    for number in range(1, total, 7):
        for cut in Cut:
            for refused in (0, number - 3, number + 5):
                chip, rng = base.clone(), random.Random(f"{number} {cut} {refused}")
                noted: set[int] = set()
                chip.cut_power(number, cut)
                if refused > 0:
                    chip.refuse(refused)
                with suppress(PowerCut):
                    burn_noted(SkipBad(EraseBlockDevice(chip)), layout, new, noted)
                    pytest.fail(f"no cut at {number}")
                chip.crash(rng)
                window = SkipBad(EraseBlockDevice(chip))
                burn_noted(window, layout, new, noted)
                for _ in range(3):
                    assert verify(window, layout) == layout.digest, f"{number} {cut} {refused}"


def burn_noted(window: SkipBad, layout: BootImageLayout, image: bytes, noted: set[int]) -> None:
    """As an agent does: what it is about to write stays `noted` until all of it is synced (burn_image)."""
    while missing := sorted({*missing_pieces(window, layout), *noted}):
        try:
            for index in missing:
                noted.add(index)
                offset, length = layout.span(index)
                write_piece(window, layout, index, image[offset : offset + length])
            window.sync()
            noted.clear()
        except BadBlock:
            continue


def test_control_goes_on_in_spare_blocks_until_a_half_has_none() -> None:
    geometry = ChipGeometry(MIB, 128 * KIB, 2 * KIB)
    chip = NandTwin(geometry, factory_bad=[0, 4])
    record = first_burn(Letter.A)
    for n in range(1, 9):
        window = ControlBlocks(EraseBlockDevice(chip))
        if n in (3, 4, 5):
            chip.refuse(1)
        assert write_control(window, record).seq == n
        found = read_control(ControlBlocks(EraseBlockDevice(chip)))
        assert found.record is not None and found.record.seq == n
    chip.refuse(1)
    window = ControlBlocks(EraseBlockDevice(chip))
    with pytest.raises(DeviceError, match="no good block is left for a copy of control"):
        write_control(window, record)
    found = read_control(ControlBlocks(EraseBlockDevice(chip)))
    assert found.record is not None and found.record.seq == 8


def test_a_cut_write_of_control_leaves_the_old_record_or_the_new() -> None:
    base = NandTwin(ChipGeometry(MIB, 128 * KIB, 2 * KIB), factory_bad=[0])
    record = first_burn(Letter.A)
    for _ in range(2):
        write_control(ControlBlocks(EraseBlockDevice(base)), record)

    def act(chip: NandTwin) -> None:
        write_control(ControlBlocks(EraseBlockDevice(chip)), record)

    seen = set()
    for chip, case in every_cut(base.clone, act, outcomes=20):
        found = read_control(ControlBlocks(EraseBlockDevice(chip))).record
        assert found is not None, case
        seen.add(found.seq)
    assert seen == {2, 3}
