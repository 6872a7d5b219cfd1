"""Where things lie in a store: units, extents, areas (docs/SPEC-store.md, "Areas"). Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from firmware_mgr.model.errors import UsageError

#: The smallest unit: of every device whose block is no larger.
UNIT = 4096
MAX_UNIT = 1 << 20
RING_UNITS = 16
#: The ring of a store with the smallest unit.
RING_SIZE = RING_UNITS * UNIT
MIN_STORE_SIZE = 2 << 20
MIN_ZONE_SIZE = 256 * 1024
MAX_ZONE_SIZE = 16 << 20
#: The same in units, for larger ones. Eight are room for three snapshots of a unit, and for some bad blocks.
MIN_STORE_UNITS = 40
MIN_ZONE_UNITS = 8


def round_up(length: int, unit: int = UNIT) -> int:
    """Bytes that an extent of `length` bytes takes: whole units, at least one."""
    return max(unit, -(-length // unit) * unit)


def unit_for(block_size: int) -> int:
    """The unit of a store on a device with such blocks."""
    return max(UNIT, block_size)


def padded(data: bytes, unit: int) -> bytes:
    """`data` filled up to whole units; with larger ones by FF, whose pages an erase has made already."""
    return data.ljust(round_up(len(data), unit), b"\0" if unit == UNIT else b"\xff")


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """Where bytes lie: `offset` from the start of the partition, a multiple of `unit`; `length` in bytes."""

    offset: int
    length: int
    unit: int = UNIT

    @property
    def end(self) -> int:
        """The end of the units that the extent takes."""
        return self.offset + round_up(self.length, self.unit)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The areas of a store, in bytes."""

    size: int
    zone_size: int
    unit: int = UNIT

    def __post_init__(self) -> None:
        if (
            not UNIT <= self.unit <= MAX_UNIT
            or self.unit & (self.unit - 1)
            or self.size % self.unit
            or self.zone_size % self.unit
            or self.size < self.smallest(self.unit)
            or not _smallest_zone(self.unit) <= self.zone_size <= min(MAX_ZONE_SIZE, self.size // 4)
        ):
            raise UsageError(
                "not a store's geometry",
                found=f"size {self.size}, zone {self.zone_size}, unit {self.unit}",
            )

    @classmethod
    def of(cls, device_size: int, block_size: int = UNIT) -> Self:
        """The geometry that a new store on such a partition gets. Raises UsageError when it is too small."""
        unit = unit_for(block_size)
        size = device_size // unit * unit
        if size < cls.smallest(unit):
            raise UsageError(
                "partition is too small for a store", expected=f"{cls.smallest(unit)} bytes", found=size
            )
        zone = min(MAX_ZONE_SIZE, max(_smallest_zone(unit), size // 32 // unit * unit))
        return cls(size, zone, unit)

    @staticmethod
    def smallest(unit: int) -> int:
        """The size in bytes of the smallest store with that unit."""
        return max(MIN_STORE_SIZE, MIN_STORE_UNITS * unit)

    @property
    def ring_size(self) -> int:
        return RING_UNITS * self.unit

    @property
    def zones(self) -> tuple[int, int]:
        """Offsets of the two metadata zones."""
        return self.ring_size, self.size - self.zone_size

    @property
    def blobs_start(self) -> int:
        return self.ring_size + self.zone_size

    @property
    def blobs_end(self) -> int:
        return self.size - self.zone_size

    @property
    def max_snapshot(self) -> int:
        """The longest snapshot for which a gap is always free beside two others, if no block is bad."""
        return self.zone_size // self.unit // 5 * self.unit


def _smallest_zone(unit: int) -> int:
    return max(MIN_ZONE_SIZE, MIN_ZONE_UNITS * unit)
