"""A UEFI card's QEMU: firmware and variables in flash chips, the lever in the order of starting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.imaging.board import load_board
from firmware_mgr.lab.machine import Lever, QemuBoard, Wiring, command_line
from firmware_mgr.lab.plan import mac_of
from firmware_mgr.lab.qemu import make_variables
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import SlotId

WIRING = Wiring(
    SlotId(3),
    mac_of(SlotId(3)),
    "slot3",
    flash=Path("/c/flash.img"),
    console=Path("/c/console.sock"),
    qmp=Path("/c/qmp.sock"),
    second_flash=Path("/c/vars.fd"),
)


@pytest.fixture
def board() -> QemuBoard:
    return QemuBoard.of(load_board("qemu-x86_64"))


def test_the_firmware_is_read_only_and_its_variables_are_the_cards_own(board: QemuBoard) -> None:
    line = command_line(board, WIRING)
    assert "-bios" not in line
    code, variables = [text for text in line if "if=pflash" in text]
    assert code == "if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"
    assert variables == "if=pflash,unit=1,format=raw,file=/c/vars.fd"


def test_the_lever_puts_the_network_first_and_nothing_else_has_an_index(board: QemuBoard) -> None:
    assert board.lever is Lever.BOOT_INDEX
    assert not [text for text in command_line(board, WIRING) if "bootindex" in text]
    pulled = command_line(board, replace(WIRING, network_first=True))
    (network,) = [text for text in pulled if "bootindex" in text]
    assert network.startswith("virtio-net-pci") and network.endswith(",bootindex=0")


def test_variables_survive_a_power_cut_and_are_new_with_the_lever(tmp_path: Path) -> None:
    new, kept = tmp_path / "template.fd", tmp_path / "vars.fd"
    new.write_bytes(b"new")
    make_variables(kept, new, anew=False)
    assert kept.read_bytes() == b"new"
    kept.write_bytes(b"written by the card")
    make_variables(kept, new, anew=False)
    assert kept.read_bytes() == b"written by the card"
    make_variables(kept, new, anew=True)
    assert kept.read_bytes() == b"new"


def test_a_missing_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"gone\.fd"):
        make_variables(tmp_path / "vars.fd", tmp_path / "gone.fd", anew=False)
