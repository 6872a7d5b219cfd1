"""The partition table of a card's flash: planned, written power-safely, read from whichever copy counts.

Knows the order of partitions and of writes (docs/SPEC-flash-layout.md). The bytes are in `gpt_layout`; what
the partitions hold is other files' business.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from firmware_mgr.flash import gpt_layout
from firmware_mgr.flash.device import FlashDevice, Window
from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.flash.gpt_layout import ATTRIBUTE_LEGACY_BOOT, ENTRY_COUNT, ENTRY_SIZE, Entry, Header
from firmware_mgr.model.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 1 << 20
LOGICAL_BLOCKS = (512, 4096)
CONTROL, BOOT_A, BOOT_B, STORE, STATE = PARTITION_NAMES = ("control", "boot-a", "boot-b", "store", "state")
#: The sixth, where the layout has it.
DATA = "data"
LINUX_DATA = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
LINUX_RESERVED = UUID("8da63339-0007-60c0-c436-083ac8230908")
EFI_SYSTEM = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
#: The disk GUID when the caller gives none; the same on every card, so that images are reproducible.
DEFAULT_DISK_GUID = UUID("7d1f6b0e-52a1-5d58-9a53-66776d677231")


@dataclass(frozen=True, slots=True)
class FlashLayout:
    """Sizes of the partitions in bytes, multiples of 1 MiB; `boot` is the size of each of the two.

    A `store` of 0 takes what the others leave; with a `data` of 0 there is none. `boot_type` is the type that
    the board's firmware looks for.
    """

    control: int
    boot: int
    store: int
    state: int
    boot_type: UUID = LINUX_DATA
    data: int = 0

    def __post_init__(self) -> None:
        for name in ("control", "boot", "store", "state", "data"):
            size: int = getattr(self, name)
            if size < 0 or size % MIB or (size == 0 and name not in ("store", "data")):
                raise UsageError("bad partition size", where=name, expected="whole MiB, over 0", found=size)


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition: `offset` and `size` in bytes."""

    name: str
    offset: int
    size: int
    guid: UUID
    type_guid: UUID = LINUX_DATA
    bootable: bool = False

    def window(self, device: FlashDevice) -> Window:
        """The partition as a device of its own."""
        return Window(device, self.offset, self.size, self.name)


def plan(
    layout: FlashLayout, device_size: int, *, disk_guid: UUID = DEFAULT_DISK_GUID
) -> tuple[Partition, ...]:
    """The partitions of a device of `device_size` bytes. Raises UsageError when they do not fit."""
    usable = (device_size // MIB - 2) * MIB
    fixed = layout.control + 2 * layout.boot + layout.state + layout.data
    needed = fixed + (layout.store or MIB)
    if needed > usable:
        raise UsageError(
            "partitions do not fit on the flash",
            expected=f"{needed // MIB + 2} MiB",
            found=f"{device_size / MIB:g} MiB",
            hint="smaller sizes in the board's flash layout, or a larger flash",
        )
    rows = (
        (CONTROL, layout.control, LINUX_RESERVED),
        (BOOT_A, layout.boot, layout.boot_type),
        (BOOT_B, layout.boot, layout.boot_type),
        (STORE, layout.store or usable - fixed, LINUX_RESERVED),
        (STATE, layout.state, LINUX_DATA),
        *(((DATA, layout.data, LINUX_DATA),) if layout.data else ()),
    )
    partitions: list[Partition] = []
    offset = MIB
    for name, size, type_guid in rows:
        guid = uuid5(disk_guid, name)
        partitions.append(Partition(name, offset, size, guid, type_guid, name in (BOOT_A, BOOT_B)))
        offset += size
    return tuple(partitions)


def find(partitions: Sequence[Partition], name: str) -> Partition:
    """The partition of that name. Raises FlashFormatError when the table has none, or several."""
    found = [partition for partition in partitions if partition.name == name]
    if len(found) != 1:
        names = ", ".join(partition.name for partition in partitions)
        raise FlashFormatError("no such partition", where="partition table", expected=name, found=names)
    return found[0]


@dataclass(frozen=True, slots=True)
class _Copy:
    """The places of one copy of the table on a device, in logical blocks."""

    where: str
    header_lba: int
    entries_lba: int
    alternate_lba: int


def _copies(device: FlashDevice) -> tuple[_Copy, _Copy]:
    if device.block_size not in LOGICAL_BLOCKS:
        raise UsageError(
            "a partition table is for block devices",
            where="flash",
            expected="blocks of 512 or 4096 bytes",
            found=device.block_size,
            hint="areas of MTD flash come from the board or the kernel",
        )
    if device.size < 4 * MIB:
        raise UsageError("flash is too small for a table", expected="4 MiB or more", found=device.size)
    last = device.size // device.block_size - 1
    entry_blocks = ENTRY_COUNT * ENTRY_SIZE // device.block_size
    return (
        _Copy("primary partition table", 1, 2, last),
        _Copy("backup partition table", last, last - entry_blocks, 1),
    )


def _encode(
    device: FlashDevice, copy: _Copy, partitions: Sequence[Partition], disk_guid: UUID
) -> dict[int, bytes]:
    """Offset to bytes of what one copy consists of."""
    block = device.block_size
    entry_blocks = ENTRY_COUNT * ENTRY_SIZE // block
    entries = gpt_layout.encode_entries(
        [
            Entry(
                p.type_guid,
                p.guid,
                p.offset // block,
                (p.offset + p.size) // block - 1,
                ATTRIBUTE_LEGACY_BOOT if p.bootable else 0,
                p.name,
            )
            for p in partitions
        ]
    )
    header = Header(
        copy.header_lba,
        copy.alternate_lba,
        2 + entry_blocks,
        device.size // block - 1 - entry_blocks - 1,
        disk_guid,
        copy.entries_lba,
        ENTRY_COUNT,
        zlib.crc32(entries),
    )
    return {copy.entries_lba * block: entries, copy.header_lba * block: header.encode().ljust(block, b"\0")}


def _read_copy(device: FlashDevice, copy: _Copy) -> tuple[UUID, tuple[Partition, ...]]:
    block = device.block_size
    header = Header.decode(device.read(copy.header_lba * block, block), copy.where)
    length = header.entry_count * ENTRY_SIZE
    start = header.entries_lba * block
    if header.my_lba != copy.header_lba or start + length > device.size:
        raise FlashFormatError(
            "header is for another place", where=copy.where, expected=copy.header_lba, found=header.my_lba
        )
    entries = gpt_layout.decode_entries(device.read(start, length), header, copy.where)
    end = 0
    for entry in sorted(entries, key=lambda e: e.first_lba):
        if not end < entry.first_lba <= entry.last_lba < device.size // block:
            raise FlashFormatError(
                "partition overlaps or leaves the device",
                where=f"{copy.where}, {entry.name}",
                found=entry.first_lba,
            )
        end = entry.last_lba
    return header.disk_guid, tuple(
        Partition(
            e.name,
            e.first_lba * block,
            (e.last_lba - e.first_lba + 1) * block,
            e.guid,
            e.type_guid,
            bool(e.attributes & ATTRIBUTE_LEGACY_BOOT),
        )
        for e in entries
    )


def _read_counting(device: FlashDevice) -> tuple[_Copy, UUID, tuple[Partition, ...]]:
    problems: list[DeviceError] = []
    for copy in _copies(device):
        try:
            return copy, *_read_copy(device, copy)
        except DeviceError as e:
            problems.append(e)
    primary, backup = problems
    raise FlashFormatError(
        "no readable partition table", where="flash", found=f"{primary}; {backup}"
    ) from backup


def read_table(device: FlashDevice) -> tuple[Partition, ...]:
    """The partitions by the copy that counts. Raises FlashFormatError when neither does."""
    return _read_counting(device)[2]


def _differs(device: FlashDevice, places: dict[int, bytes]) -> bool:
    for offset, wanted in places.items():
        try:
            found = device.read(offset, len(wanted))
        except DeviceError:
            return True
        if found != wanted:
            return True
    return False


def write_table(
    device: FlashDevice, partitions: Sequence[Partition], *, disk_guid: UUID = DEFAULT_DISK_GUID
) -> None:
    """Make this the table of the device, safely against power loss.

    Order: MBR and backup, sync, primary, sync; the other way round when only the backup is good. All of it is
    written, also where it reads right: what a cut left may read right once, and as the table before it later.
    """
    for places in _steps(device, partitions, disk_guid):
        for offset, data in places.items():
            device.write(offset, data)
        device.sync()


def _steps(device: FlashDevice, partitions: Sequence[Partition], disk_guid: UUID) -> list[dict[int, bytes]]:
    """What to write by offset, with a sync after each step."""
    if len(partitions) > ENTRY_COUNT:
        raise UsageError("too many partitions", expected=ENTRY_COUNT, found=len(partitions))
    primary, backup = _copies(device)
    steps = [_encode(device, copy, partitions, disk_guid) for copy in (backup, primary)]
    try:
        if _read_counting(device)[0] == backup:
            steps.reverse()
    except FlashFormatError:
        pass  # nothing there that could be lost
    mbr = gpt_layout.encode_protective_mbr(device.size // device.block_size)
    steps[0] = {0: mbr.ljust(device.block_size, b"\0")} | steps[0]
    return steps


def repair_table(device: FlashDevice) -> bool:
    """Bring both copies and the MBR in line with the copy that counts; False when they were.

    Raises FlashFormatError when neither copy counts.
    """
    _, disk_guid, partitions = _read_counting(device)
    if not any(_differs(device, places) for places in _steps(device, partitions, disk_guid)):
        return False
    write_table(device, partitions, disk_guid=disk_guid)
    return True
