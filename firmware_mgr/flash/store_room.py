"""Whether a whole list of blobs would find places, tried on a copy of the gaps. Pure; quick for ten thousand.

Knows how `store_space.place` chooses. Refuses to know which extents count (`store`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from firmware_mgr.flash.store_geometry import Extent, round_up
from firmware_mgr.flash.store_space import gaps


class _Largest:
    """Numbers in a row, and the first from a place on that is large enough: a tree of maxima."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._leaves = 1 << max(len(numbers) - 1, 0).bit_length()
        self._tree = [0] * self._leaves + [*numbers] + [0] * (self._leaves - len(numbers))
        for node in range(self._leaves - 1, 0, -1):
            self._tree[node] = max(self._tree[2 * node], self._tree[2 * node + 1])

    def first(self, least: int, start: int) -> int | None:
        if start >= self._leaves:
            return None
        node = start + self._leaves
        while self._tree[node] < least:
            while node & 1:  # a right child: what follows hangs higher up
                node >>= 1
            if not node:
                return None
            node += 1
        while node < self._leaves:
            node = 2 * node if self._tree[2 * node] >= least else 2 * node + 1
        return node - self._leaves

    def lower(self, index: int, number: int) -> None:
        node = index + self._leaves
        self._tree[node] = number
        while node := node >> 1:
            self._tree[node] = max(self._tree[2 * node], self._tree[2 * node + 1])


def place_all(
    lengths: Sequence[int], taken: Iterable[Extent], start: int, end: int, cursor: int, *, unit: int
) -> list[Extent]:
    """Where these would go, one after the other as by `place`; ends before the first that finds no place."""
    if not lengths:
        return []
    cursor = -(-cursor // unit) * unit
    free = _split(gaps(taken, start, end), cursor, round_up(lengths[0], unit))
    lows, highs = [low for low, _ in free], [high for _, high in free]
    largest = _Largest([high - low for low, high in free])
    placed: list[Extent] = []
    for length in lengths:
        needed = round_up(length, unit)
        at = largest.first(needed, bisect_left(lows, cursor))
        if at is None:
            at = largest.first(needed, 0)
        if at is None:
            return placed
        placed.append(Extent(lows[at], length, unit))
        cursor = lows[at] = placed[-1].end
        largest.lower(at, highs[at] - cursor)
    return placed


def _split(free: list[tuple[int, int]], cursor: int, needed: int) -> list[tuple[int, int]]:
    """The gap that the cursor lies in becomes two, if the first blob goes between them.

    After that blob the cursor is always where a gap begins.
    """
    for index, (low, high) in enumerate(free):
        if low < cursor and high - cursor >= needed:
            return [*free[:index], (low, cursor), (cursor, high), *free[index + 1 :]]
        if high > cursor:
            break
    return free
