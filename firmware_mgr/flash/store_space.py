"""Finding room: gaps between extents, and the next one that fits. Pure.

Searches go on where the last one ended, so that writes go round the flash and wear it evenly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from firmware_mgr.flash.store_geometry import UNIT, Extent, round_up


@dataclass(frozen=True, slots=True)
class Space:
    """Room for blobs, in bytes: in all, taken, free, the largest free piece, and what lies in bad blocks."""

    total: int
    used: int
    free: int
    largest: int
    bad: int = 0


def gaps(taken: Iterable[Extent], start: int, end: int) -> list[tuple[int, int]]:
    """The free pieces between `start` and `end`, as (from, to). Extents may overlap each other."""
    found: list[tuple[int, int]] = []
    free_from = start
    for extent in sorted(taken, key=lambda extent: extent.offset):
        if extent.offset > free_from:
            found.append((free_from, min(extent.offset, end)))
        free_from = max(free_from, extent.end)
        if free_from >= end:
            return found
    found.append((free_from, end))
    return found


def place(
    length: int, taken: Iterable[Extent], start: int, end: int, cursor: int, *, unit: int = UNIT
) -> Extent | None:
    """The first free place for `length` bytes from `cursor` on, else from `start`; None if there is none."""
    cursor = -(-cursor // unit) * unit
    needed = round_up(length, unit)
    free = gaps(taken, start, end)
    for low, high in free:
        at = max(low, cursor)
        if high - at >= needed:
            return Extent(at, length, unit)
    for low, high in free:
        if high - low >= needed:
            return Extent(low, length, unit)
    return None


def measure(taken: Iterable[Extent], start: int, end: int) -> Space:
    """How much of `start` to `end` is taken and free."""
    pieces = [high - low for low, high in gaps(taken, start, end)]
    free = sum(pieces)
    return Space(end - start, end - start - free, free, max(pieces, default=0))


def always_placed(runs: Sequence[int]) -> int:
    """The largest n, in units, of which a piece always finds room beside two others of up to n units.

    `runs` are the lengths of the pieces of an area between its bad blocks. A run of L units has no gap of n
    left only when it is shorter than n + k(2n - 1), where k of the two others lie in it as badly as they can.
    """
    for n in range(max(runs, default=0), 0, -1):
        others_needed = sum(0 if run < n else 1 + (run - n) // (2 * n - 1) for run in runs)
        if others_needed > 2:
            return n
    return 0
