"""Chips with erase blocks in memory, stricter than hardware: NOR and NAND that fail, wear, and lose power.

Knows cells: an erase sets them, programming clears them, and one that was cut in either reads differently
twice. Refuses to know who writes what. See erase_block_device.Chip; cuts are those of `memory_device`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Self

from firmware_mgr.flash.bounds import check_range
from firmware_mgr.flash.erase_block_device import ERASED, ChipGeometry
from firmware_mgr.flash.memory_device import Cut, PowerCut
from firmware_mgr.model.errors import DeviceError, UsageError

#: Records begin here: cells that waver do so where it matters, half of the time.
_HEAD = 164


class ChipTwin:
    """What NOR and NAND share.

    `operations` counts erases, programs and marks; `cut_power` plans which of them is cut, `refuse` which of
    them fails, after which its block goes on failing. `wear` counts erases by block.
    """

    kind = "chip"

    def __init__(self, geometry: ChipGeometry, *, seed: int = 0) -> None:
        self.geometry = geometry
        self.operations = 0
        self.wear: Counter[int] = Counter()
        self._cells = bytearray(ERASED * geometry.size)
        self._wavering: dict[int, int] = {}  # by block: the cells that read as they like, as a number
        self._refusing: set[int] = set()
        self._marked: set[int] = set()
        self._noise = random.Random(seed)
        self._torn: Callable[[random.Random], None] | None = None
        self._off = False
        self._cut_after: int | None = None
        self._cut = Cut.BEFORE
        self._refuse_after: int | None = None

    # What a chip is asked

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.geometry.size, self.kind)
        self._need_power()
        data = bytes(self._cells[offset : offset + length])
        if not self._wavering:
            return data
        erase_size = self.geometry.erase_size
        for block in range(offset // erase_size, -(-(offset + length) // erase_size)):
            if block in self._wavering:
                data = self._unsteady(block, offset, data)
        return data

    def erase(self, block: int) -> None:
        cut = self._begin(block)
        if cut is Cut.TORN:
            self._torn = lambda rng: self._tear_erase(block, rng)
        elif cut is not Cut.BEFORE:
            self._set_block(block, ERASED * self.geometry.erase_size)
            self._forget_block(block)
        if cut is not Cut.BEFORE:
            self.wear[block] += 1
        self._end(cut)

    def program(self, offset: int, data: bytes) -> None:
        g = self.geometry
        check_range(offset, len(data), g.size, self.kind)
        block = offset // g.erase_size
        if offset % g.page_size or len(data) % g.page_size or not data:
            raise UsageError("not in whole pages", where=self.kind, expected=g.page_size, found=len(data))
        if (offset + len(data) - 1) // g.erase_size != block or block in self._wavering:
            raise UsageError("program needs one erased block", where=self.kind, found=f"block {block}")
        self._check_order(offset, data)
        cut = self._begin(block)
        if cut is Cut.TORN:
            self._torn = lambda rng: self._tear_program(offset, data, rng)
        elif cut is not Cut.BEFORE:
            self._clear_bits(offset, data)
        self._end(cut)

    def is_bad(self, block: int) -> bool:
        self._need_power()
        return block in self._marked

    def mark_bad(self, block: int) -> bool:
        """NOR keeps no marks."""
        return False

    # What a test does to it

    def cut_power(self, after: int, cut: Cut = Cut.BEFORE) -> None:
        """Let the `after`-th operation from now on (from 1) be cut."""
        self._cut_after = self.operations + after
        self._cut = cut

    def refuse(self, after: int) -> None:
        """Let the `after`-th operation from now on (from 1) fail, and its block for ever after."""
        self._refuse_after = self.operations + after

    def crash(self, rng: random.Random) -> None:
        """Lose power and come back. An operation that was torn leaves cells that waver."""
        if self._torn is not None:
            self._torn(rng)
        self._torn = None
        self._off = False
        self._cut_after = None

    def clone(self) -> Self:
        """Another chip in the same state, with power."""
        twin = type(self)(self.geometry)
        twin._take(self)
        return twin

    @property
    def wavers(self) -> bool:
        """Whether some cells read differently twice."""
        return bool(self._wavering)

    def flip_bit(self, offset: int, bit: int) -> None:
        """Damage a cell behind everybody's back."""
        self._cells[offset] ^= 1 << bit

    # Cells

    def _take(self, other: ChipTwin) -> None:
        self._cells[:] = other._cells
        self._wavering = dict(other._wavering)
        self._refusing, self._marked = set(other._refusing), set(other._marked)
        self.wear = Counter(other.wear)

    def _check_order(self, offset: int, data: bytes) -> None:
        """Raise UsageError when the cells cannot take it."""
        held = self._number(offset, len(data))
        if int.from_bytes(data, "little") & ~held:
            raise UsageError("programming sets no bits: erase first", where=self.kind, found=f"at {offset}")

    def _clear_bits(self, offset: int, data: bytes) -> None:
        value = self._number(offset, len(data)) & int.from_bytes(data, "little")
        self._cells[offset : offset + len(data)] = value.to_bytes(len(data), "little")

    def _forget_block(self, block: int) -> None:
        self._wavering.pop(block, None)

    def _unsteady(self, block: int, offset: int, data: bytes) -> bytes:
        """What a read of such a block gives this time."""
        size = self.geometry.erase_size
        mask = self._wavering[block]
        noise = int.from_bytes(self._noise.randbytes(size), "little") & mask
        ahead = 8 * (block * size - offset)
        flips = (noise << ahead if ahead >= 0 else noise >> -ahead) & (1 << 8 * len(data)) - 1
        return (int.from_bytes(data, "little") ^ flips).to_bytes(len(data), "little")

    def _tear_erase(self, block: int, rng: random.Random) -> None:
        size = self.geometry.erase_size
        old = self._number(block * size, size)
        full = (1 << 8 * size) - 1
        some = int.from_bytes(rng.randbytes(size), "little")
        fate = rng.choice(("begun", "half", "nearly"))
        now = {"begun": old, "half": old | some, "nearly": full}[fate]
        waver = some if fate == "half" else self._few(size, rng)
        self._set_block(block, now.to_bytes(size, "little"))
        self._wavering[block] = waver & ~old & full or self._few(size, rng)

    def _tear_program(self, offset: int, data: bytes, rng: random.Random) -> None:
        page, size = self.geometry.page_size, self.geometry.erase_size
        whole = rng.choice((0, rng.randrange(len(data) // page), len(data) // page - 1)) * page
        if whole:
            self._clear_bits(offset, data[:whole])
        at, torn = offset + whole, data[whole : whole + page]
        fate = rng.choice(("begun", "half", "nearly"))
        if fate == "half":
            some = rng.randbytes(page)
            self._clear_bits(at, bytes(a | b for a, b in zip(torn, some, strict=True)))
        elif fate == "nearly":
            self._clear_bits(at, torn)
        block = offset // size
        weak = self._few(page, rng) if fate != "half" else int.from_bytes(rng.randbytes(page), "little")
        cleared = ~int.from_bytes(torn, "little") & weak or self._few(page, rng)
        self._wavering[block] = cleared << 8 * (at - block * size)

    def _few(self, size: int, rng: random.Random) -> int:
        """One to three cells of `size` bytes."""
        reach = rng.choice((_HEAD, size))
        return sum(1 << bit for bit in {rng.randrange(8 * reach) for _ in range(rng.choice((1, 1, 3)))})

    def _number(self, offset: int, length: int) -> int:
        return int.from_bytes(self._cells[offset : offset + length], "little")

    def _set_block(self, block: int, data: bytes) -> None:
        size = self.geometry.erase_size
        self._cells[block * size : (block + 1) * size] = data

    # Operations

    def _begin(self, block: int) -> Cut | None:
        self._need_power()
        self.operations += 1
        if self.operations == self._refuse_after:
            self._refusing.add(block)
        if block in self._refusing:
            raise DeviceError("block refuses", where=self.kind, found=f"block {block}")
        return self._cut if self.operations == self._cut_after else None

    def _end(self, cut: Cut | None) -> None:
        if cut is not None:
            self._off = True
            raise PowerCut(f"power failed {cut.value} operation {self.operations}")

    def _need_power(self) -> None:
        if self._off:
            raise PowerCut(f"power failed at operation {self.operations}")


class NorTwin(ChipTwin):
    """NOR: bits may be cleared anywhere and at any time, and the chip knows of no bad blocks."""

    kind = "NOR twin"


class NandTwin(ChipTwin):
    """NAND: a page is programmed once and after those before it; blocks are marked bad; reads may fail."""

    kind = "NAND twin"

    def __init__(self, geometry: ChipGeometry, *, factory_bad: Iterable[int] = (), seed: int = 0) -> None:
        super().__init__(geometry, seed=seed)
        self._marked = set(factory_bad)
        self._refusing = set(self._marked)
        self._next_page: dict[int, int] = {}  # by block: the first page that may still be programmed
        self.unreadable: set[int] = set()  # pages, by number on the chip

    def read(self, offset: int, length: int) -> bytes:
        data = super().read(offset, length)
        page = self.geometry.page_size
        lost = self.unreadable and self.unreadable & set(range(offset // page, -(-(offset + length) // page)))
        if lost:
            raise DeviceError("uncorrectable page", where=self.kind, found=f"page {min(lost)}")
        return data

    def mark_bad(self, block: int) -> bool:
        self._need_power()
        self.operations += 1
        cut = self._cut if self.operations == self._cut_after else None
        if cut is not Cut.BEFORE:
            self._marked.add(block)
        self._end(cut)
        return True

    def _take(self, other: ChipTwin) -> None:
        super()._take(other)
        if isinstance(other, NandTwin):
            self._next_page = dict(other._next_page)
            self.unreadable = set(other.unreadable)

    def _check_order(self, offset: int, data: bytes) -> None:
        g = self.geometry
        block, first = offset // g.erase_size, offset % g.erase_size // g.page_size
        free = self._next_page.get(block, 0)
        if first < free:
            raise UsageError(
                "page is programmed already, or one behind it: erase first",
                where=self.kind,
                expected=f"page {free} or later",
                found=f"page {first} of block {block}",
            )
        self._next_page[block] = first + len(data) // g.page_size

    def _forget_block(self, block: int) -> None:
        super()._forget_block(block)
        pages = self.geometry.erase_size // self.geometry.page_size
        self._next_page.pop(block, None)
        if self.unreadable:
            self.unreadable -= set(range(block * pages, (block + 1) * pages))

    def _unsteady(self, block: int, offset: int, data: bytes) -> bytes:
        """The ECC may make it good, give it up, or not notice."""
        fate = self._noise.choice(("right", "given up", "wrong"))
        if fate == "given up":
            raise DeviceError("uncorrectable page", where=self.kind, found=f"block {block}")
        return data if fate == "right" else super()._unsteady(block, offset, data)
