"""The command line of a card's QEMU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.imaging.board import load_board
from firmware_mgr.lab.machine import QemuBoard, Wiring, command_line
from firmware_mgr.lab.plan import mac_of
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId

BOARD = QemuBoard(name="qemu-aarch64", flash_bytes=512 << 20)
WIRING = Wiring(
    SlotId(3),
    mac_of(SlotId(3)),
    "slot3",
    flash=Path("/c/flash.img"),
    console=Path("/c/console.sock"),
    qmp=Path("/c/qmp.sock"),
    second_flash=Path("/c/env.img"),
)

GOLDEN = """\
qemu-system-aarch64
-name slot-3
-nodefaults
-no-user-config
-display none
-S
-machine virt
-accel tcg,tb-size=256
-cpu cortex-a57
-smp 1
-m 512
-rtc base=1970-01-01T00:00:00
-bios /usr/lib/u-boot/qemu_arm64/u-boot.bin
-drive if=pflash,unit=1,format=raw,file=/c/env.img,readonly=on
-chardev socket,id=console,path=/c/console.sock,server=off
-serial chardev:console
-chardev socket,id=qmp,path=/c/qmp.sock,server=off
-mon chardev=qmp,mode=control
-drive if=none,id=flash,format=raw,cache=writeback,file=/c/flash.img
-device virtio-blk-pci,disable-legacy=on,drive=flash
-netdev tap,id=backplane,ifname=slot3,script=no,downscript=no
-device virtio-net-pci,disable-legacy=on,netdev=backplane,mac=52:54:00:f7:01:03,romfile=
-device virtio-rng-pci,disable-legacy=on
-fw_cfg name=opt/fwmgr/slot,string=3"""


def test_command_line_of_an_ordinary_power_on() -> None:
    assert command_line(BOARD, WIRING) == GOLDEN.split()


def test_capture_writes_what_passes_the_cards_own_port() -> None:
    wiring = replace(WIRING, capture=Path("/c/net-1.pcap"))
    wanted = ["-object", "filter-dump,id=capture,netdev=backplane,file=/c/net-1.pcap"]
    line = command_line(BOARD, wiring)
    assert line[-2:] == wanted
    assert "tap,id=backplane,ifname=slot3,script=no,downscript=no,vnet_hdr=off" in line


def test_recorded_flash_stands_behind_the_filter_that_logs_its_writes() -> None:
    line = command_line(BOARD, replace(WIRING, writes=Path("/c/a,b.log")))
    assert (
        "if=none,id=flash,driver=blklogwrites,cache=writeback,file.driver=file,file.filename=/c/flash.img,"
        "log.driver=file,log.filename=/c/a,,b.log,log.cache.no-flush=on,log-sector-size=512"
    ) in line
    assert "virtio-blk-pci,disable-legacy=on,drive=flash" in line


def test_comma_in_a_path_is_written_twice() -> None:
    line = command_line(BOARD, replace(WIRING, flash=Path("/a,b/flash.img")))
    assert "if=none,id=flash,format=raw,cache=writeback,file=/a,,b/flash.img" in line


def test_card_on_another_shelf_reads_shelf_and_slot() -> None:
    line = command_line(BOARD, replace(WIRING, slot=SlotId(3, shelf=2)))
    assert "name=opt/fwmgr/slot,string=2/3" in line


def test_without_a_backplane_no_card_can_read_its_slot() -> None:
    assert "-fw_cfg" not in command_line(BOARD, replace(WIRING, backplane=False))


def test_a_clock_that_is_wrong_at_power_on() -> None:
    assert "base=2100-01-01T00:00:00" in command_line(BOARD, replace(WIRING, clock=4_102_444_800))


def test_a_card_keeps_its_mac_address_in_any_slot() -> None:
    line = command_line(BOARD, replace(WIRING, slot=SlotId(9), mac=mac_of(SlotId(4))))
    assert any("mac=52:54:00:f7:01:04" in word for word in line)


def test_shipped_board_file_gives_the_known_machine() -> None:
    board = QemuBoard.of(load_board("qemu-aarch64"))
    assert command_line(board, WIRING) == GOLDEN.split()
    assert board.flash_bytes == 512 << 20


def test_memory_can_be_asked_for() -> None:
    assert QemuBoard.of(load_board("qemu-aarch64"), memory_mib=1024).memory_mib == 1024


def test_board_without_a_backplane_register_is_refused() -> None:
    board = load_board("qemu-aarch64")
    without = board.model_copy(update={"slot": board.slot.model_copy(update={"fw_cfg": None})})
    with pytest.raises(UsageError, match=r"slot\.fw_cfg"):
        QemuBoard.of(without)
