"""Board files: what is read, and what a person is told when one is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.app.master import board_facts
from firmware_mgr.imaging.board import SHIPPED_BOARDS, load_board, parse_size
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.model.lifecycle import CardState


def altered(tmp_path: Path, old: str, new: str) -> Path:
    text = (SHIPPED_BOARDS / "qemu-aarch64.toml").read_text()
    assert old in text
    path = tmp_path / "qemu-aarch64.toml"
    path.write_text(text.replace(old, new))
    return path


def test_shipped_board_is_found_by_name() -> None:
    board = load_board("qemu-aarch64")
    assert board.cpu is CpuArch.AARCH64
    assert board.flash.control == 1 << 20
    assert board.flash.store is None
    assert 11 in board.netboot.client_architectures


def test_every_shipped_board_is_valid() -> None:
    for path in SHIPPED_BOARDS.glob("*.toml"):
        assert load_board(path).name == path.stem


def test_a_board_may_need_longer_than_the_masters_limits(tmp_path: Path) -> None:
    board = load_board(
        altered(tmp_path, "[control]", "[deadlines]\nbooting = 300\nreset = 90.5\n\n[control]")
    )
    assert (board.deadlines.booting, board.deadlines.reset, board.deadlines.agent_up) == (300, 90.5, None)
    assert board_facts(board).needs == {CardState.BOOTING: 300, CardState.RESET: 90.5}


@pytest.mark.parametrize("wrong", ["booting = 0", "booting = 3601", 'booting = "5 min"', "burning = 60"])
def test_unusable_deadlines_of_a_board_are_refused_by_name(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(UsageError, match=rf"deadlines\.{wrong.split(maxsplit=1)[0]}"):
        load_board(altered(tmp_path, "[control]", f"[deadlines]\n{wrong}\n\n[control]"))


def test_unknown_board_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="qemu-aarch64"):
        load_board("toaster")


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ('cpu = "aarch64"', 'cpu = "z80"', "board.cpu", "'z80'"),
        ("baud = 115200", 'baud = "fast"', "console.baud", "'fast'"),
        ('control = "1MiB"', 'control = "1MB"', "flash.control", "'1MB'"),
        ('control = "1MiB"', 'control = "100KiB"', "flash.control", "multiple of 1MiB"),
        ('device = "/dev/vda"', 'device = "vda"', "flash.device", "'vda'"),
        ("tries = 3", "tries = 0", "control.tries", "0"),
        ("tries = 3", "tries = 3\ntrys = 4", "control.trys", "expected no such key"),
        ('state = "16MiB"', "", "flash.state", "found none"),
        ('boot_file = "boot.scr.uimg"', f'boot_file = "{"x" * 121}"', "netboot.boot_file", "120"),
        ('boot_file = "boot.scr.uimg"', 'boot_file = "a,b"', "netboot.boot_file", "'a,b'"),
    ],
)
def test_a_wrong_key_is_named_with_what_was_found(
    tmp_path: Path, old: str, new: str, key: str, said: str
) -> None:
    path = altered(tmp_path, old, new)
    with pytest.raises(UsageError) as caught:
        load_board(path)
    text = str(caught.value)
    assert str(path) in text
    assert f"{key}: expected" in text
    assert said in text


def test_all_wrong_keys_are_listed_at_once(tmp_path: Path) -> None:
    path = altered(tmp_path, "tries = 3", "tries = 30\nextra = 1")
    with pytest.raises(UsageError, match=r"control\.tries.*control\.extra"):
        load_board(path)


def test_areas_larger_than_the_flash_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"do not fit flash\.size"):
        load_board(altered(tmp_path, 'boot = "128MiB"', 'boot = "300MiB"'))


def test_name_must_be_the_files_name(tmp_path: Path) -> None:
    path = altered(tmp_path, 'name = "qemu-aarch64"', 'name = "other"')
    with pytest.raises(UsageError, match="expected qemu-aarch64, found other"):
        load_board(path)


def test_broken_toml_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "b.toml"
    path.write_text("[board\n")
    with pytest.raises(UsageError, match=r"b\.toml"):
        load_board(path)


def test_sizes_read_as_bytes() -> None:
    assert parse_size("3KiB") == 3072
    assert parse_size("1GiB") == 1 << 30


def test_a_uefi_board_without_its_stub_and_a_u_boot_board_with_one_are_refused(tmp_path: Path) -> None:
    console = '[console]\ndevice = "ttyAMA0"'
    uefi = '[firmware.uefi]\nvariables = "/vars.fd"\nstub_package = "s"\nstub = "s.efi"\n\n' + console
    with pytest.raises(UsageError, match=r"firmware\.uefi is for boards with firmware\.loader uefi"):
        load_board(altered(tmp_path, console, uefi))
    with pytest.raises(UsageError, match=r"firmware\.uefi is for boards with firmware\.loader uefi"):
        load_board(altered(tmp_path, 'loader = "u-boot"', 'loader = "uefi"'))
