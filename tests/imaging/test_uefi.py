"""What UEFI firmware gets: one file, netbooted and burned, the same bytes at any hour."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from firmware_mgr.imaging.board import SHIPPED_BOARDS, Board, load_board
from firmware_mgr.imaging.uefi import UefiFiles, build_uefi_files
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch
from tests.imaging.test_pe import program

BUILT = 1_700_000_001
KERNEL, INITRAMFS = b"kernel" * 100_000, b"initramfs" * 100_000


@pytest.fixture(scope="module")
def board() -> Board:
    return load_board("qemu-x86_64")


@pytest.fixture(scope="module")
def files(board: Board) -> UefiFiles:
    return build_uefi_files(board, program(), gzip.compress(KERNEL), INITRAMFS, BUILT)


def test_equal_inputs_are_equal_bytes_in_another_time_zone(
    board: Board, files: UefiFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    assert build_uefi_files(board, program(), gzip.compress(KERNEL), INITRAMFS, BUILT) == files


def test_no_stamp_in_the_partition_is_of_today(files: UefiFiles, tmp_path: Path) -> None:
    image = tmp_path / "partition"
    image.write_bytes(files.partition)
    command = ["mdir", "-/", "-b", "-i", image, "::"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == [
        "::/EFI/",
        "::/EFI/BOOT/",
        "::/EFI/BOOT/BOOTX64.EFI",
    ]
    told = subprocess.run(["mdir", "-/", "-a", "-i", image, "::"], check=True, capture_output=True, text=True)
    stamps = {line.split()[-2] for line in told.stdout.splitlines() if "<DIR>" in line or "BOOTX64" in line}
    assert stamps == {"2023-11-14"}


def test_the_partition_holds_the_file_that_netboot_serves(files: UefiFiles, tmp_path: Path) -> None:
    image = tmp_path / "partition"
    image.write_bytes(files.partition)
    command = ["mtype", "-i", image, "::/EFI/BOOT/BOOTX64.EFI"]
    assert subprocess.run(command, check=True, capture_output=True).stdout == files.unified
    assert len(files.partition) % (1 << 20) == 0
    assert files.unified in files.partition


def test_the_image_holds_arguments_plain_kernel_and_root_file_system(files: UefiFiles) -> None:
    assert b"console=ttyS0,115200 panic=5 oops=panic" in files.unified
    assert KERNEL in files.unified
    assert INITRAMFS in files.unified


def test_a_partition_too_small_for_its_file_system_is_refused(tmp_path: Path) -> None:
    text = (SHIPPED_BOARDS / "qemu-x86_64.toml").read_text().replace('boot = "128MiB"', 'boot = "64MiB"')
    (tmp_path / "qemu-x86_64.toml").write_text(text)
    small = load_board(tmp_path / "qemu-x86_64.toml")
    with pytest.raises(UsageError, match=r"flash\.boot: boot partition is too small.*128 MiB, found 64 MiB"):
        build_uefi_files(small, program(), gzip.compress(KERNEL), INITRAMFS, BUILT)


def test_every_cpu_of_cards_has_a_name_in_the_partition(board: Board) -> None:
    for cpu in CpuArch:
        other = board.model_copy(update={"board": board.board.model_copy(update={"cpu": cpu})})
        assert build_uefi_files(other, program(), gzip.compress(b"k"), b"i", BUILT).partition
