"""A batch happens whole or not at all, wherever the master dies, and whatever a transaction takes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from firmware_mgr.master.batch import BATCHES, COMMITS, PART_ITEMS, Batches, HalfDone, split
from firmware_mgr.master.catalogue import Catalogue, Condition, Delete, Put
from firmware_mgr.master.catalogue_memory import MemoryCatalogue
from firmware_mgr.model.errors import DeviceError
from tests.master.clocks import HandClock


class Dies(Exception):
    """The master's death, which no code can handle."""


class Mortal:
    """A catalogue whose master dies, or whose disk fails, at the transaction of that number."""

    def __init__(self, inner: Catalogue, fatal: int, error: Exception, *, done: bool) -> None:
        self._inner = inner
        self._left = fatal
        self._error = error
        self._done = done

    async def transact(self, conditions: Sequence[Condition], changes: Sequence[Put | Delete]) -> int:
        self._left -= 1
        if self._left == 0:
            if self._done:
                await self._inner.transact(conditions, changes)
            raise self._error
        return await self._inner.transact(conditions, changes)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def changes() -> list[Put | Delete]:
    puts = [Put(f"things/{number}", {"number": number, "bulk": "x" * 5000}) for number in range(400)]
    return [*puts, Delete("things/old")]


async def things(catalogue: Catalogue) -> dict[str, int]:
    return {document.key: document.value["number"] for document in await catalogue.list("things/")}


async def before() -> MemoryCatalogue:
    catalogue = MemoryCatalogue(HandClock())
    await catalogue.transact([], [Put("things/old", {"number": -1}), Put("things/7", {"number": -7})])
    return catalogue


OLD = {"things/old": -1, "things/7": -7}
NEW = {f"things/{number}": number for number in range(400)}
PARTS = len(split(changes()))


def test_parts_hold_what_a_transaction_takes_and_lose_nothing() -> None:
    parts = split(changes())
    assert len(parts) > 3 and all(len(part.items) <= PART_ITEMS for part in parts)
    assert [item.key for part in parts for item in part.items] == [change.key for change in changes()]
    assert len(split(changes()[:100])) == 1 and split([]) == []


async def test_a_batch_is_applied_and_leaves_nothing_behind() -> None:
    catalogue = await before()
    await Batches(catalogue).apply(changes())
    assert await things(catalogue) == NEW
    assert not await catalogue.list(BATCHES) and not await catalogue.list(COMMITS)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("fatal", range(1, 2 * PARTS + 3))
async def test_whoever_dies_at_any_transaction_leaves_all_or_nothing(fatal: int, done: bool) -> None:
    catalogue = await before()
    with pytest.raises(Dies):
        await Batches(Mortal(catalogue, fatal, Dies(), done=done)).apply(changes())
    happened = fatal > PARTS + 1 or (fatal == PARTS + 1 and done)
    assert await Batches(catalogue).take_up() == (0 if done and fatal == 2 * PARTS + 2 else int(happened))
    assert await things(catalogue) == (NEW if happened else OLD)
    assert not await catalogue.list(BATCHES) and not await catalogue.list(COMMITS)


@pytest.mark.parametrize("second", range(1, PARTS + 2))
async def test_who_takes_up_may_die_as_well(second: int) -> None:
    catalogue = await before()
    with pytest.raises(Dies):
        await Batches(Mortal(catalogue, PARTS + 2, Dies(), done=False)).apply(changes())
    with pytest.raises(Dies):
        await Batches(Mortal(catalogue, second, Dies(), done=False)).take_up()
    assert await Batches(catalogue).take_up() == 1
    assert await things(catalogue) == NEW


async def test_a_disk_that_fails_says_whether_it_has_happened() -> None:
    full = DeviceError("no space left", where="disk")
    catalogue = await before()
    with pytest.raises(DeviceError, match="no space left"):
        await Batches(Mortal(catalogue, PARTS, full, done=False)).apply(changes())
    assert await things(catalogue) == OLD
    catalogue = await before()
    with pytest.raises(HalfDone, match="no space left"):
        await Batches(Mortal(catalogue, PARTS + 3, full, done=False)).apply(changes())
