"""UEFI's variables in memory, stricter than firmware, and a firmware that starts what they say.

Stricter: a value must be of its variable's form, a number must be of an option that is there, a deletion must
find something. Power can be cut before any write to variables or control.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from uuid import UUID

from firmware_mgr.card.boot_variables import (
    BOOT_CURRENT,
    BOOT_NEXT,
    BOOT_ORDER,
    OUR_NUMBERS,
    STUB_PARTITION,
    BootVariables,
)
from firmware_mgr.card.efi_layout import (
    GLOBAL,
    LOADER,
    LoadOption,
    decode_numbers,
    encode_numbers,
    node_kinds,
    option_name,
)
from firmware_mgr.card.selector import Selected, run_selector
from firmware_mgr.flash.control import read_control
from firmware_mgr.flash.device import MemoryDevice
from firmware_mgr.flash.gpt import CONTROL, EFI_SYSTEM, MIB, FlashLayout, find, plan, read_table, write_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.model.ids import CpuArch

#: As OVMF numbers what it finds itself.
DISK, NETWORK, SHELL = 1, 2, 3
_OPTION = re.compile(r"Boot[0-9A-F]{4}")
#: What OVMF 2022.11 made of a virtio card in a q35 machine: PciRoot/Pci/MAC/IPv4, and its mark behind.
OVMF_NETWORK = bytes.fromhex(
    "0100000056005500450046004900200050005800450076003400200028004d00410043003a00350032003500340030003000"
    "3100320033003400350036002900000002010c00d041030a00000000010106000002030b2500525400123456000000000000"
    "000000000000000000000000000000000000000001030c1b0000000000000000000000000000000000000000000000007fff"
    "04004eac0881119f594d850ee21a522c59b2"
)
_PCI_DISK = bytes.fromhex("02010c00d041030a000000000101060000017fff0400")


class Cut(Exception):
    """Power failed."""


@dataclass
class TwinVariables:
    """See EfiVariables."""

    values: dict[str, bytes] = field(default_factory=dict)
    before_write: Callable[[], None] = lambda: None
    writes: int = 0
    stub_left: bytes | None = None

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.values))

    def read(self, name: str, vendor: UUID = GLOBAL) -> bytes | None:
        if vendor == GLOBAL:
            return self.values.get(name)
        return self.stub_left if (name, vendor) == (STUB_PARTITION, LOADER) else None

    def write(self, name: str, value: bytes) -> None:
        if name in (BOOT_ORDER, BOOT_NEXT):
            assert len(value) % 2 == 0 and (name == BOOT_ORDER or len(value) == 2), f"{name} = {value.hex()}"
            numbers = decode_numbers(value)
            assert len(set(numbers)) == len(numbers), f"{name} names an option twice: {numbers}"
            for number in numbers:
                assert option_name(number) in self.values, f"{name} names {number:04X}, which is not there"
        else:
            assert _OPTION.fullmatch(name), f"{name} is not ours to write"
            option = LoadOption.decode(value, name)
            assert node_kinds(option.path) == ((4, 1), (4, 4)), f"{name} leads to no file in a partition"
        assert self.values.get(name) != value, f"{name} is so already"
        self.before_write()
        self.writes += 1
        self.values[name] = value

    def delete(self, name: str) -> None:
        assert name in self.values, f"{name} is not there"
        self.before_write()
        self.writes += 1
        del self.values[name]


class Image(Enum):
    """What a boot partition holds."""

    GOOD = "comes up"
    SPOILT = "firmware cannot load it"
    RETURNS = "its kernel gives up, and firmware goes on to the next option"
    DEAD = "its kernel dies before the selector"
    PANICS = "dies behind the selector"


LAYOUT = FlashLayout(MIB, MIB, MIB, MIB, EFI_SYSTEM)


@dataclass
class TwinCard:
    """Flash with a table, firmware with its variables, and what the partitions hold."""

    images: Mapping[Letter, Image]
    device: MemoryDevice = field(default_factory=lambda: MemoryDevice(8 * MIB))
    variables: TwinVariables = field(default_factory=TwinVariables)
    starts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        write_table(self.device, plan(LAYOUT, self.device.size))
        self.new_variables()

    def new_variables(self) -> None:
        """As firmware makes them when its store is empty: the disk, the network, its shell."""
        disk = LoadOption("UEFI Misc Device", _PCI_DISK).encode()
        self.variables.values = {
            option_name(DISK): disk,
            option_name(NETWORK): OVMF_NETWORK,
            option_name(SHELL): LoadOption("EFI Internal Shell", bytes.fromhex("7fff0400")).encode(),
            BOOT_ORDER: encode_numbers([DISK, NETWORK, SHELL]),
        }

    @property
    def boot(self) -> BootVariables:
        return BootVariables(self.variables, CpuArch.X86_64)

    def follow(self) -> None:
        """What the agent does with the control that is there."""
        table = read_table(self.device)
        record = read_control(find(table, CONTROL).window(self.device)).effective
        self.boot.follow(record, table, self.device.block_size)

    def start(self, limit: int = 40) -> str:
        """Power on and follow every reset: `a`, `b` or `n` when that came up, `stuck` when nothing does."""
        for _ in range(limit):
            ended = self._one_start()
            if ended is not None:
                return ended
        return "stuck"

    def _one_start(self) -> str | None:
        self.variables.stub_left = None
        for number in self._to_start():
            if number == NETWORK:
                self.variables.values[BOOT_CURRENT] = encode_numbers([number])
                self.starts.append("n")
                self._select()
                return "n"
            letter = Letter.A if number == DISK else self._letter(number)
            if letter is None or self.images[letter] is Image.SPOILT:
                continue
            self.variables.values[BOOT_CURRENT] = encode_numbers([number])
            self.starts.append(letter.value)
            self._stub_leaves(letter)
            if self.images[letter] is Image.RETURNS:
                continue
            if self.images[letter] is Image.DEAD:
                return None
            if self._select().reset or self.images[letter] is Image.PANICS:
                return None
            return letter.value
        return "stuck"

    def _to_start(self) -> list[int]:
        """UEFI 2.10 §3.1.2: BootNext is deleted before it is started; then the order."""
        first = self.variables.values.pop(BOOT_NEXT, None)
        return [*decode_numbers(first or b""), *decode_numbers(self.variables.values[BOOT_ORDER])]

    def _letter(self, number: int) -> Letter | None:
        option = OUR_NUMBERS.get(number)
        return None if option is None else option.letter

    def _stub_leaves(self, letter: Letter) -> None:
        """systemd's stub: only when nothing is there yet."""
        if self.variables.stub_left is None:
            guid = find(read_table(self.device), letter.partition).guid
            self.variables.stub_left = f"{str(guid).upper()}\0".encode("utf-16-le")

    def _select(self) -> Selected:
        table = read_table(self.device)
        return run_selector(self.device, table, self.boot.started_from(table), self.boot)
