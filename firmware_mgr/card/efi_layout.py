"""The bytes of UEFI's boot variables: UEFI specification 2.10, sections named below; docs/SPEC-uefi-boot.md.

Knows load options, the device paths in them, and the form in which Linux shows variables. Refuses to know
which options there shall be and where variables are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from construct import Bytes, Const, ConstructError, GreedyBytes, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import CpuArch

#: §3.3: the vendor of Boot####, BootOrder, BootNext and BootCurrent.
GLOBAL = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
#: systemd-stub(7): the vendor of LoaderDevicePartUUID.
LOADER = UUID("4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
#: §8.2.1: kept without power, for boot services and for the running system.
NON_VOLATILE, BOOT_SERVICE, RUNTIME = 1, 2, 4
KEPT = NON_VOLATILE | BOOT_SERVICE | RUNTIME
#: §3.1.3, LOAD_OPTION_ACTIVE.
ACTIVE = 1

#: §3.5.1.1, table 3.2: the loader on a medium, by CPU.
LOADER_NAMES = {
    CpuArch.X86_64: "BOOTX64.EFI",
    CpuArch.AARCH64: "BOOTAA64.EFI",
    CpuArch.ARMV7: "BOOTARM.EFI",
}

#: What a file of efivarfs begins with (Linux Documentation/filesystems/efivarfs.rst).
VARIABLE = Struct("attributes" / Int32ul, "data" / GreedyBytes)
#: §3.1.3, EFI_LOAD_OPTION without what is of variable length.
OPTION_HEAD = Struct("attributes" / Int32ul, "path_length" / Int16ul)
assert OPTION_HEAD.sizeof() == 6
#: §10.2: the head of every node of a device path; the length is of the whole node.
NODE_HEAD = Struct("type" / Int8ul, "subtype" / Int8ul, "length" / Int16ul)
assert NODE_HEAD.sizeof() == 4
#: §10.3.5.1, hard drive media device path.
HARD_DRIVE = Struct(
    "type" / Const(4, Int8ul),
    "subtype" / Const(1, Int8ul),
    "length" / Const(42, Int16ul),
    "number" / Int32ul,
    "start" / Int64ul,
    "size" / Int64ul,
    "signature" / Bytes(16),
    "format" / Const(2, Int8ul),  # GUID partition table
    "signature_type" / Const(2, Int8ul),  # GUID
)
assert HARD_DRIVE.sizeof() == 42
_FILE = (4, 4)  # §10.3.5.4
_END = bytes((0x7F, 0xFF, 4, 0))  # §10.3.1
_MAC, _IPV4, _URI = (3, 11), (3, 12), (3, 24)  # §10.3.4.11, .12, .23


@dataclass(frozen=True, slots=True)
class LoadOption:
    """A Boot#### variable: its name for people, and a device path, nodes and end and all."""

    description: str
    path: bytes
    attributes: int = ACTIVE
    optional: bytes = b""

    def encode(self) -> bytes:
        head = OPTION_HEAD.build({"attributes": self.attributes, "path_length": len(self.path)})
        return bytes(head) + utf16(self.description) + self.path + self.optional

    @classmethod
    def decode(cls, raw: bytes, where: str) -> Self:
        """Raises DeviceError when it is no load option."""
        try:
            head = OPTION_HEAD.parse(raw)
        except ConstructError as e:
            raise DeviceError("not a load option", where=where, found=str(e)) from e
        start = OPTION_HEAD.sizeof()
        end = start
        while raw[end : end + 2] != b"\0\0":
            end += 2
            if end >= len(raw):
                raise DeviceError("load option's name has no end", where=where, found=raw.hex())
        path = raw[end + 2 : end + 2 + head.path_length]
        if len(path) != head.path_length:
            raise DeviceError(
                "load option's path is cut", where=where, expected=head.path_length, found=len(path)
            )
        name = raw[start:end].decode("utf-16-le", "replace")
        return cls(name, path, head.attributes, raw[end + 2 + head.path_length :])

    @property
    def is_by_network_card(self) -> bool:
        """Whether it comes from the network in any way, HTTP and IPv6 too."""
        return _MAC in node_kinds(self.path)

    @property
    def is_network(self) -> bool:
        """Whether it netboots by DHCP and TFTP over IPv4: a network card, IPv4 and no address of a file."""
        kinds = node_kinds(self.path)
        return _MAC in kinds and _IPV4 in kinds and _URI not in kinds


def partition_path(number: int, start: int, size: int, guid: UUID, file: str) -> bytes:
    """The short form of a path to a file in a partition: `number` counts from 1, `start` and `size` blocks.

    Firmware finds the partition by its GUID on whatever disk it is (§3.1.2).
    """
    node = {"number": number, "start": start, "size": size, "signature": guid.bytes_le}
    name = utf16(file)
    head = NODE_HEAD.build({"type": _FILE[0], "subtype": _FILE[1], "length": NODE_HEAD.sizeof() + len(name)})
    return bytes(HARD_DRIVE.build(node)) + bytes(head) + name + _END


def node_kinds(path: bytes) -> tuple[tuple[int, int], ...]:
    """Type and subtype of each node up to the end; what is broken ends it early."""
    kinds = []
    while len(path) >= NODE_HEAD.sizeof() and not path.startswith(_END[:2]):
        head = NODE_HEAD.parse(path)
        if head.length < NODE_HEAD.sizeof():
            break
        kinds.append((head.type, head.subtype))
        path = path[head.length :]
    return tuple(kinds)


def utf16(text: str) -> bytes:
    """As UEFI writes text (§2.3.1): two bytes a character, closed by a zero."""
    return text.encode("utf-16-le") + b"\0\0"


def encode_numbers(numbers: Sequence[int]) -> bytes:
    """The value of BootOrder or BootNext."""
    return b"".join(Int16ul.build(number) for number in numbers)


def decode_numbers(raw: bytes) -> tuple[int, ...]:
    """Numbers of load options; an odd byte at the end counts for nothing."""
    return tuple(Int16ul.parse(raw[at : at + 2]) for at in range(0, len(raw) - 1, 2))


def option_name(number: int) -> str:
    """§3.3: Boot with the number in four upper-case hexadecimal digits."""
    return f"Boot{number:04X}"
