"""The slot register in fw_cfg's registers, over a twin that refuses what the device would not take."""

from __future__ import annotations

import struct

import pytest

from firmware_mgr.card.fw_cfg import KEY_FILE_DIR, KEY_SIGNATURE, Registers, read_file
from firmware_mgr.model.errors import DeviceError


class TwinRegisters(Registers):
    """Content by key. Reading past the end gives zeros, as in QEMU."""

    def __init__(self, files: dict[str, bytes], signature: bytes = b"QEMU") -> None:
        self.items = {KEY_SIGNATURE: signature}
        entries = b""
        for key, (name, data) in enumerate(files.items(), start=0x20):
            self.items[key] = data
            entries += struct.pack(">IHH56s", len(data), key, 0, name.encode())
        self.items[KEY_FILE_DIR] = struct.pack(">I", len(files)) + entries
        self._key: int | None = None
        self._at = 0

    def select(self, key: int) -> None:
        assert key in self.items, f"key {key:#x} is in no directory"
        self._key, self._at = key, 0

    def read(self, length: int) -> bytes:
        assert self._key is not None, "read before anything was selected"
        piece = self.items[self._key][self._at : self._at + length]
        self._at += length
        return piece.ljust(length, b"\0")


def test_the_file_is_found_among_others() -> None:
    registers = TwinRegisters({"etc/boot": b"no", "opt/fwmgr/slot": b"2/7", "opt/fwmgr/slotx": b"x"})
    assert read_file(registers, "opt/fwmgr/slot") == b"2/7"


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceError, match=r"no such fw_cfg file.*opt/fwmgr/slot.*1 other"):
        read_file(TwinRegisters({"etc/boot": b"no"}), "opt/fwmgr/slot")


def test_another_device_at_the_address_is_refused() -> None:
    with pytest.raises(DeviceError, match="no fw_cfg device there"):
        read_file(TwinRegisters({"opt/fwmgr/slot": b"1"}, signature=b"\0\0\0\0"), "opt/fwmgr/slot")


def test_a_directory_without_end_is_refused() -> None:
    registers = TwinRegisters({})
    registers.items[KEY_FILE_DIR] = b"\xff\xff\xff\xff"
    with pytest.raises(DeviceError, match="directory is unusable"):
        read_file(registers, "opt/fwmgr/slot")


def test_a_file_longer_than_any_slot_register_is_refused() -> None:
    with pytest.raises(DeviceError, match="too long"):
        read_file(TwinRegisters({"opt/fwmgr/slot": bytes(5000)}), "opt/fwmgr/slot")
