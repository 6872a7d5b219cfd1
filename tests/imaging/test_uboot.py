"""What U-Boot gets: scripts, FIT image and partition, the same bytes at any hour; what the scripts say."""

from __future__ import annotations

import subprocess
import zlib
from pathlib import Path

import pytest

from firmware_mgr.imaging.board import SHIPPED_BOARDS, Board, load_board
from firmware_mgr.imaging.recipe import SHIPPED_BOOTIMAGES
from firmware_mgr.imaging.uboot import UBootFiles, build_uboot_files, fill
from firmware_mgr.model.errors import UsageError

TEXTS = SHIPPED_BOOTIMAGES / "u-boot"
BUILT = 1_700_000_001
KERNEL, INITRAMFS = b"\x1f\x8b kernel" * 100, b"initramfs" * 1000


@pytest.fixture(scope="module")
def board() -> Board:
    return load_board("qemu-aarch64")


@pytest.fixture(scope="module")
def files(board: Board) -> UBootFiles:
    return build_uboot_files(board, TEXTS, KERNEL, INITRAMFS, BUILT)


def in_partition(files: UBootFiles, name: str, tmp_path: Path) -> bytes:
    image = tmp_path / "partition"
    image.write_bytes(files.partition)
    return subprocess.run(["mtype", "-i", image, f"::/{name}"], check=True, capture_output=True).stdout


def test_equal_inputs_are_equal_bytes_in_another_time_zone(
    board: Board, files: UBootFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    assert build_uboot_files(board, TEXTS, KERNEL, INITRAMFS, BUILT) == files


def test_the_partition_holds_selector_start_script_and_fit(files: UBootFiles, tmp_path: Path) -> None:
    assert in_partition(files, "boot.itb", tmp_path) == files.fit
    assert b"fwmgr selector" in in_partition(files, "boot.scr", tmp_path)
    assert files.partition[54:62] == b"FAT16   "
    assert len(files.partition) % (1 << 20) == 0


def test_the_start_script_knows_length_and_checksum_of_its_fit(files: UBootFiles, tmp_path: Path) -> None:
    script = in_partition(files, "start.scr", tmp_path).decode("latin-1")
    swapped = zlib.crc32(files.fit).to_bytes(4, "big")[::-1].hex()
    assert f'"${{filesize}}" = {len(files.fit):x};' in script
    assert f"== 0x{swapped};" in script


def test_flash_and_netboot_start_with_the_boards_arguments(files: UBootFiles, tmp_path: Path) -> None:
    start = in_partition(files, "start.scr", tmp_path)
    for script, part in ((start, b"fw.part=${fw_slot}"), (files.netboot_script, b"fw.part=n")):
        assert b"console=ttyAMA0,115200 panic=5" in script
        assert part in script


def test_the_selector_gives_the_boards_number_of_tries(files: UBootFiles, tmp_path: Path) -> None:
    assert b"\nsetenv fw_max 3\n" in in_partition(files, "boot.scr", tmp_path)


def test_the_selector_is_the_same_in_images_of_different_content(
    board: Board, files: UBootFiles, tmp_path: Path
) -> None:
    other = build_uboot_files(board, TEXTS, KERNEL, b"another", BUILT)
    assert in_partition(other, "boot.scr", tmp_path) == in_partition(files, "boot.scr", tmp_path)


def test_a_partition_in_which_u_boot_could_stick_is_refused(tmp_path: Path) -> None:
    text = (SHIPPED_BOARDS / "qemu-aarch64.toml").read_text().replace('boot = "128MiB"', 'boot = "64MiB"')
    (tmp_path / "qemu-aarch64.toml").write_text(text)
    small = load_board(tmp_path / "qemu-aarch64.toml")
    with pytest.raises(UsageError, match=r"flash\.boot: boot partition is too small.*128 MiB, found 64 MiB"):
        build_uboot_files(small, TEXTS, KERNEL, INITRAMFS, BUILT)


def test_an_unknown_placeholder_is_named() -> None:
    with pytest.raises(UsageError, match="found @COLOUR@"):
        fill("a @COLOUR@ text", {"SIZE": "1"})


def test_missing_tools_are_listed_with_the_command_that_installs_them(
    board: Board, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"dtc.*apt-get install .*device-tree-compiler"):
        build_uboot_files(board, TEXTS, KERNEL, INITRAMFS, BUILT)


def test_zeros_at_the_end_of_the_last_file_are_burned_too(board: Board) -> None:
    whole = build_uboot_files(board, TEXTS, KERNEL, bytes(3 << 20), BUILT)
    assert whole.fit.count(bytes(3 << 20)) == 1
    assert whole.partition.count(bytes(3 << 20)) >= 1 and len(whole.partition) % (1 << 20) == 0
    assert whole.fit in whole.partition
