"""Where things lie in a store: units, extents, areas (docs/SPEC-store.md, "Areas"). Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from firmware_mgr.model.errors import UsageError

UNIT = 4096
RING_SIZE = 64 * 1024
MIN_STORE_SIZE = 2 << 20
MIN_ZONE_SIZE = 256 * 1024
MAX_ZONE_SIZE = 16 << 20


def round_up(length: int) -> int:
    """Bytes that an extent of `length` bytes takes: whole units, at least one."""
    return max(UNIT, -(-length // UNIT) * UNIT)


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """Where bytes lie: `offset` from the start of the partition, a multiple of UNIT; `length` in bytes."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """The end of the units that the extent takes."""
        return self.offset + round_up(self.length)


@dataclass(frozen=True, slots=True)
class Geometry:
    """The areas of a store, in bytes."""

    size: int
    zone_size: int

    def __post_init__(self) -> None:
        if (
            self.size % UNIT
            or self.zone_size % UNIT
            or self.size < MIN_STORE_SIZE
            or not MIN_ZONE_SIZE <= self.zone_size <= min(MAX_ZONE_SIZE, self.size // 4)
        ):
            raise UsageError("not a store's geometry", found=f"size {self.size}, zone {self.zone_size}")

    @classmethod
    def of(cls, device_size: int) -> Self:
        """The geometry that a new store on such a partition gets. Raises UsageError when it is too small."""
        size = device_size // UNIT * UNIT
        if size < MIN_STORE_SIZE:
            raise UsageError(
                "partition is too small for a store", expected=f"{MIN_STORE_SIZE} bytes", found=size
            )
        zone = min(MAX_ZONE_SIZE, max(MIN_ZONE_SIZE, size // 32 // UNIT * UNIT))
        return cls(size, zone)

    @property
    def zones(self) -> tuple[int, int]:
        """Offsets of the two metadata zones."""
        return RING_SIZE, self.size - self.zone_size

    @property
    def blobs_start(self) -> int:
        return RING_SIZE + self.zone_size

    @property
    def blobs_end(self) -> int:
        return self.size - self.zone_size

    @property
    def max_snapshot(self) -> int:
        """The longest snapshot for which a gap is always free beside two others."""
        return self.zone_size // UNIT // 5 * UNIT
