"""What a board file says of its loaders: boot files by client, TFTP options and block counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.app.master import board_facts
from firmware_mgr.imaging.board import SHIPPED_BOARDS, load_board
from firmware_mgr.master.settings import BoardFacts
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.netboot.served import BootFile

TWICE = '{ client = "bios", file = "a" }'
BOOT_FILE = 'boot_file = "boot.scr.uimg"\n'


def facts(folder: Path, more: str) -> BoardFacts:
    """The shipped board with more keys in [netboot]."""
    text = (SHIPPED_BOARDS / "qemu-aarch64.toml").read_text()
    assert BOOT_FILE in text
    path = folder / "qemu-aarch64.toml"
    path.write_text(text.replace(BOOT_FILE, BOOT_FILE + more))
    return board_facts(load_board(path))


def test_a_board_file_without_the_new_keys_is_what_it_was(tmp_path: Path) -> None:
    board = facts(tmp_path, "")
    assert (board.boot_file, board.boot_files) == ("boot.scr.uimg", ())
    assert (board.refused_tftp_options, board.longest_file) == (frozenset(), None)
    assert board.vendor_classes[0] == "U-Boot.armv8"


def test_boot_files_by_client_and_the_loaders_weaknesses_are_read(tmp_path: Path) -> None:
    board = facts(
        tmp_path,
        'boot_files = [{ client = "bios", file = "undionly.kpxe", is_ipxe = true },'
        ' { client = "ipxe", file = "boot.ipxe" }]\n'
        'refused_tftp_options = ["windowsize"]\nmax_tftp_blocks = 65535\ntftp_block_size = 1024\n',
    )
    assert board.boot_files == (BootFile("bios", "undionly.kpxe", True), BootFile("ipxe", "boot.ipxe"))
    assert board.refused_tftp_options == {"windowsize"}
    assert board.longest_file == 65535 * 1024 - 1


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ('boot_files = [{ client = "bios", file = "a", is_ipxe = true }]', "row for client ipxe"),
        (
            'boot_files = [{ client = "ipxe", file = "a", is_ipxe = true }]',
            "row for client ipxe",
        ),
        ('boot_files = [{ client = "dos", file = "a" }]', "expected: one of bios"),
        (
            'boot_files = [{ client = "bios", file = "a" }, { client = "bios", file = "b" }]',
            "each client once",
        ),
        ('refused_tftp_options = ["multicast"]', "refused_tftp_options"),
        ("max_tftp_blocks = 0", "max_tftp_blocks"),
        ("tftp_block_size = 4", "tftp_block_size"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, keys: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        facts(tmp_path, keys + "\n")


def test_an_image_whose_file_the_loader_cannot_count_is_refused_when_it_is_added(tmp_path: Path) -> None:
    board = facts(tmp_path, "max_tftp_blocks = 65535\ntftp_block_size = 1468\n")
    board.check_lengths({"kernel": 65535 * 1468 - 1}, "boot image 1")
    with pytest.raises(PeerError, match="boot image 1: kernel: file is too long for the board's loader"):
        board.check_lengths({"kernel": 65535 * 1468}, "boot image 1")
    facts(tmp_path, "").check_lengths({"kernel": 1 << 40}, "boot image 1")
