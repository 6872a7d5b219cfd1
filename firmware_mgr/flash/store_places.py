"""What of a store's areas cannot be used: bad blocks, and in the zones what the roots that count refer to.

Knows areas and units. Refuses to know which blobs count (`store`), and how a gap is chosen (`store_space`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from firmware_mgr.flash.device import bad_offsets
from firmware_mgr.flash.store_geometry import Extent, Geometry
from firmware_mgr.flash.store_space import Space, always_placed, gaps, measure

if TYPE_CHECKING:
    from firmware_mgr.flash.device import FlashDevice
    from firmware_mgr.flash.store_roots import Committed


def bad_blocks(device: FlashDevice, geometry: Geometry) -> list[Extent]:
    """The device's bad blocks, which are units, as they are known now."""
    return [Extent(offset, geometry.unit, geometry.unit) for offset in bad_offsets(device) or ()]


def blob_space(device: FlashDevice, geometry: Geometry, taken: Iterable[Extent]) -> Space:
    """Room in the blob area when these extents are taken."""
    start, end = geometry.blobs_start, geometry.blobs_end
    bad = bad_blocks(device, geometry)
    space = measure([*taken, *bad], start, end)
    lost = measure(bad, start, end).used
    return replace(space, used=space.used - lost, bad=lost)


def taken_in_zones(geometry: Geometry, history: Iterable[Committed]) -> list[Extent]:
    """The snapshots of the roots that count, relative to their zone: a new one lies at one place in both."""
    return [
        Extent(offset - zone, committed.root.snapshot_length, geometry.unit)
        for committed in history
        for zone, offset in zip(geometry.zones, committed.root.snapshot_offsets, strict=True)
    ]


def bad_in_zones(device: FlashDevice, geometry: Geometry) -> list[Extent]:
    """The bad blocks of either zone, relative to its start."""
    return [
        Extent(bad.offset - zone, geometry.unit, geometry.unit)
        for bad in bad_blocks(device, geometry)
        for zone in geometry.zones
        if zone <= bad.offset < zone + geometry.zone_size
    ]


def max_snapshot(device: FlashDevice, geometry: Geometry) -> int:
    """The longest snapshot in bytes that always finds room beside two others, with the bad blocks of now."""
    bad = bad_in_zones(device, geometry)
    if not bad:
        return geometry.max_snapshot
    runs = [(high - low) // geometry.unit for low, high in gaps(bad, 0, geometry.zone_size)]
    return min(geometry.max_snapshot, always_placed(runs) * geometry.unit)
