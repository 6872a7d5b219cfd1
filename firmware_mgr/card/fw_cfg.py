"""A slot register in QEMU's fw_cfg device, read through its registers in memory.

For kernels without a driver for the device (Debian's armmp). Knows the register layout of QEMU's
docs/specs/fw_cfg ("Selector (Control) Register", "Data Register", "File Directory"). Refuses to know slots.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from pathlib import Path
from typing import Protocol

from firmware_mgr.model.errors import DeviceError

MEMORY = Path("/dev/mem")
#: Keys: the signature, which says QEMU, and the directory of files.
KEY_SIGNATURE = 0x0000
KEY_FILE_DIR = 0x0019
SIGNATURE = b"QEMU"
#: Offsets of the registers from the device's address: data, of any width; the selector, 16 bits, big-endian.
DATA_OFFSET = 0
SELECTOR_OFFSET = 8
_COUNT = struct.Struct(">I")
#: An entry of the directory: length in bytes, key, reserved, name closed by a zero byte.
_ENTRY = struct.Struct(">IHH56s")
assert _ENTRY.size == 64
#: More than any machine has; a directory that says so is not one.
MOST_FILES = 4096
LONGEST_FILE = 4096


class Registers(Protocol):
    """The device's two registers. A seam."""

    def select(self, key: int) -> None:
        """Write the selector; reading begins anew."""
        ...

    def read(self, length: int) -> bytes:
        """The next bytes of what is selected."""
        ...


class MappedRegisters:
    """The registers at a physical address. Raises DeviceError when memory cannot be mapped."""

    def __init__(self, address: int, memory: Path = MEMORY) -> None:
        page = address & ~(mmap.PAGESIZE - 1)
        try:
            descriptor = os.open(memory, os.O_RDWR | os.O_SYNC | os.O_CLOEXEC)
            try:
                self._map = mmap.mmap(descriptor, mmap.PAGESIZE, offset=page)
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as e:
            raise DeviceError(
                "registers cannot be mapped", where=f"{memory} at {address:#x}", found=str(e)
            ) from e
        registers = memoryview(self._map)[address - page :]
        self._data = registers[DATA_OFFSET : DATA_OFFSET + 1]
        # Assignment through a view of this format is one store of 16 bits and reads nothing: the device gives
        # a bus error for any other width, and for reading its selector (which ctypes does before it writes).
        self._selector = registers[SELECTOR_OFFSET : SELECTOR_OFFSET + 2].cast("H")

    def select(self, key: int) -> None:
        self._selector[0] = int.from_bytes(key.to_bytes(2, "big"), sys.byteorder)

    def read(self, length: int) -> bytes:
        return bytes(self._data[0] for _ in range(length))


class NoSuchFile(DeviceError):
    """The device is there, and has no file of that name."""


def read_file(registers: Registers, name: str) -> bytes:
    """The content of the fw_cfg file `name`.

    Raises DeviceError when there is no such device, NoSuchFile when it lacks the file.
    """
    where = f"fw_cfg {name}"
    registers.select(KEY_SIGNATURE)
    signature = registers.read(len(SIGNATURE))
    if signature != SIGNATURE:
        raise DeviceError("no fw_cfg device there", where=where, expected=SIGNATURE, found=signature)
    registers.select(KEY_FILE_DIR)
    (count,) = _COUNT.unpack(registers.read(_COUNT.size))
    if count > MOST_FILES:
        raise DeviceError("fw_cfg directory is unusable", where=where, expected=MOST_FILES, found=count)
    for _ in range(count):
        length, key, _, raw = _ENTRY.unpack(registers.read(_ENTRY.size))
        if raw.split(b"\0", 1)[0] == name.encode():
            if length > LONGEST_FILE:
                raise DeviceError("fw_cfg file is too long", where=where, expected=LONGEST_FILE, found=length)
            registers.select(key)
            return registers.read(length)
    raise NoSuchFile("no such fw_cfg file", where=where, expected=name, found=f"{count} other files")
