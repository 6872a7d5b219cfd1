"""Where things lie in a card's flash, and seeded damage to them.

Knows the bytes of a burned flash by its own table, records and index. Only for flash without power.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from firmware_mgr.card.records import read_records
from firmware_mgr.flash.control import read_control
from firmware_mgr.flash.control_layout import Target
from firmware_mgr.flash.device import FileDevice, FlashDevice
from firmware_mgr.flash.gpt import find, read_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.flash.store import Store
from firmware_mgr.flash.store_geometry import RING_SIZE, Geometry

#: SPEC-control, "Copies".
CONTROL_COPY = 512
SECOND_COPY = 524288
#: How much of the beginning of each metadata zone is aimed at: a few snapshots are there, the rest is empty.
ZONE_HEAD = 64 * 1024
PARTITIONS = ("control", "boot-a", "boot-b", "store", "state")


class Part(Enum):
    """What a byte of flash belongs to."""

    IMAGE = "boot image in use"
    BOOT_REST = "boot partition behind the image"
    MODULES = "content of the store"
    INDEX = "index of the store"
    STORE_REST = "empty room of the store"
    COPY_0 = "control, copy 0"
    COPY_1 = "control, copy 1"
    CONTROL_REST = "control, unused"


class Area(Enum):
    """What a campaign damages, and how its shots are spread: parts aimed at, None for the whole partition."""

    BOOT = "boot"
    STORE = "store"
    CONTROL = "control"


#: One shot in this row is as likely as any other.
_AIMS: dict[Area, tuple[Part | None, ...]] = {
    Area.BOOT: (Part.IMAGE, Part.IMAGE, None),
    Area.STORE: (Part.MODULES, Part.MODULES, Part.INDEX, None),
    Area.CONTROL: (Part.COPY_0, Part.COPY_1, None),
}


@dataclass(frozen=True, slots=True)
class Flip:
    """One byte, `offset` bytes into the flash, is changed by exclusive or with `mask`."""

    offset: int
    mask: int
    part: Part

    def __str__(self) -> str:
        return f"{self.offset:#x}^{self.mask:#04x} ({self.part.value})"


@dataclass(frozen=True, slots=True)
class FlashMap:
    """A burned flash: `spans` are (start, end, part), the first that holds a byte counts."""

    in_use: Letter
    partitions: dict[str, tuple[int, int]]
    spans: tuple[tuple[int, int, Part], ...]

    def part_of(self, offset: int) -> Part:
        return next(part for start, end, part in self.spans if start <= offset < end)

    def aim(self, area: Area, rng: random.Random) -> Flip:
        """One shot at an area."""
        part = rng.choice(_AIMS[area])
        if part is None:
            start, end = self.partitions[self._partition(area)]
            return self._flip(rng.randrange(start, end), rng)
        return self.hit(part, rng)

    def hit(self, part: Part, rng: random.Random) -> Flip:
        """One shot at a part: each of its bytes is as likely as any other."""
        spans = [(start, end) for start, end, of in self.spans if of is part]
        start, end = rng.choices(spans, [end - start for start, end in spans])[0]
        return self._flip(rng.randrange(start, end), rng)

    def _flip(self, offset: int, rng: random.Random) -> Flip:
        return Flip(offset, rng.randrange(1, 256), self.part_of(offset))

    def _partition(self, area: Area) -> str:
        return self.in_use.partition if area is Area.BOOT else area.value


def read_map(device: FlashDevice) -> FlashMap:
    """Of a flash that is whole."""
    table = read_table(device)
    windows = {name: find(table, name).window(device) for name in PARTITIONS}
    boot = read_control(windows["control"]).effective.boot
    in_use = next(letter for letter in Letter if Target.of(letter) is boot)
    store = Store.open(windows["store"])
    image = read_records(store.documents()).boot[in_use]
    extents = [(extent.offset, extent.offset + extent.length) for extent in store.blobs().values()]
    partitions = {name: (window.offset, window.offset + window.size) for name, window in windows.items()}
    control, _ = partitions["control"]
    boot_start, boot_end = partitions[in_use.partition]
    start, end = partitions["store"]
    zones = [start + zone for zone in Geometry.of(end - start).zones]
    spans = [
        (control, control + CONTROL_COPY, Part.COPY_0),
        (control + SECOND_COPY, control + SECOND_COPY + CONTROL_COPY, Part.COPY_1),
        (*partitions["control"], Part.CONTROL_REST),
        (boot_start, boot_start + image.ref.length, Part.IMAGE),
        (boot_start, boot_end, Part.BOOT_REST),
        *((start + first, start + last, Part.MODULES) for first, last in extents),
        (start, start + RING_SIZE, Part.INDEX),
        *((zone, zone + ZONE_HEAD, Part.INDEX) for zone in zones),
        (start, end, Part.STORE_REST),
    ]
    return FlashMap(in_use, partitions, tuple(spans))


def flip(device: FlashDevice, flips: Sequence[Flip]) -> None:
    """Do the damage. The card must have no power."""
    for shot in flips:
        start = shot.offset - shot.offset % device.block_size
        block = bytearray(device.read(start, device.block_size))
        block[shot.offset - start] ^= shot.mask
        device.write(start, bytes(block))
        device.sync()


def digests(path: Path) -> dict[str, str]:
    """SHA-256 of each partition, to see whether one was written."""
    with FileDevice(path) as device:
        return digests_of(device)


def digests_of(device: FlashDevice) -> dict[str, str]:
    """The same of an opened flash."""
    windows = [find(read_table(device), name).window(device) for name in PARTITIONS]
    return {window.name: hashlib.sha256(window.read(0, window.size)).hexdigest() for window in windows}


def state_of(device: FlashDevice) -> dict[str, bytes]:
    """The documents of the state area."""
    return dict(Store.open(find(read_table(device), "state").window(device)).documents())
