"""Every operation of the store on NOR and NAND, cut once and cut again while it is made good.

The operations of `powercut/store_operations.py`, whose media have sectors; here a cut leaves erase blocks
whose cells were half erased or half programmed. FWMGR_CUTS=20 asks for twenty second cuts after each first.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from firmware_mgr.flash.chip_twins import NandTwin, NorTwin
from firmware_mgr.flash.device import Cut, PowerCut
from firmware_mgr.flash.erase_block_device import EraseBlockDevice
from firmware_mgr.flash.store import Store
from firmware_mgr.model.ids import Digest
from tests.flash.cuts import every_cut
from tests.flash.powercut import store_operations as ops
from tests.flash.test_store_erase_blocks import MAKERS

Twin = NorTwin | NandTwin
Act = Callable[[Store], object]
#: What is seen of a store: documents, blobs, and those that are damaged.
View = tuple[dict[str, bytes], frozenset[Digest], frozenset[Digest]]
PAIRS = int(os.environ.get("FWMGR_CUTS", "2"))
READINGS = 2


def opened(chip: Twin) -> Store:
    return Store.open(EraseBlockDevice(chip))


def look(chip: Twin) -> View:
    store = opened(chip)
    return dict(store.documents()), frozenset(store.blobs()), frozenset(store.bad_blobs())


def first_and_second(store: Store) -> None:
    """Two blobs, two sets."""
    ops.put(store, ops.A)
    store.commit({"set/0": b"A", "stored": b"0", "note": b"x"})
    ops.put(store, ops.B)
    store.commit({"set/1": b"A, B", "stored": b"1"})


def round_the_ring(store: Store) -> None:
    first_and_second(store)
    for turn in range(12):
        store.commit({"turn": b"%d" % turn})


def short_of_room(store: Store) -> None:
    """A blob that takes all room but some, one that can go, and less than a third one needs."""
    unit = store._geometry.unit
    ops.put(store, ops.A)
    ops.put(store, ops.content(5, store.space().largest - 4 * unit))
    ops.put(store, ops.content(6, 2 * unit))
    store.commit({"set/1": b"OLD", "stored": b"1"})
    store.commit({"note": b"x"})


def reclaim(store: Store) -> None:
    """Room is short: the store commits by itself until the fallback needs it no more."""
    unit = store._geometry.unit
    store.forget([Digest.of(ops.content(6, 2 * unit))])
    ops.put(store, ops.content(7, 3 * unit - 100))
    store.commit({"set/2": b"BIG", "stored": b"2"})


@dataclass(frozen=True)
class Case:
    name: str
    before: Act
    act: Act
    damaged: bool = False  # a blob, before the operation


CASES = (
    Case("install", first_and_second, ops.install),
    Case("install round the ring", round_the_ring, ops.install),
    Case("activate", first_and_second, ops.activate),
    Case("commit", round_the_ring, ops.commit),
    Case("regress", first_and_second, ops.regress),
    Case("collect", first_and_second, ops.collect),
    Case("checkpoint", first_and_second, ops.checkpoint),
    Case("reclaim", short_of_room, reclaim),
    Case("mend", first_and_second, ops.mend, damaged=True),
)


def start(kind: str, case: Case) -> Twin:
    chip = MAKERS[kind]()
    case.before(Store.format(EraseBlockDevice(chip), store_id=ops.ID))
    if case.damaged:
        extent = opened(chip).extent(Digest.of(ops.A))
        chip.flip_bit(extent.offset + 600, 2)
    return chip


def steps_of(base: Twin, act: Callable[[Twin], object]) -> list[View]:
    """What an uncut run passes through, from the first operation on the chip to the last."""
    found = [look(base.clone())]
    for n in range(1, 10_000):
        chip = base.clone()
        chip.cut_power(n, Cut.AFTER)
        try:
            act(chip)
        except PowerCut:
            chip.crash(random.Random(n))
        else:
            found.append(look(chip))
            return [view for number, view in enumerate(found) if view not in found[:number]]
        found.append(look(chip))
    raise AssertionError("the action never ends")


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_two_cuts_leave_a_step_of_the_uncut_run_and_it_can_be_done_to_its_end(kind: str, case: Case) -> None:
    base = start(kind, case)

    def act(chip: Twin) -> None:
        case.act(opened(chip))

    steps = steps_of(base, act)
    reached = set()
    for chip, where in every_cut(base.clone, act, 1):
        least = 0
        for _ in range(READINGS):
            seen = look(chip)
            assert seen in steps, where
            least = steps.index(seen)
        reached.add(least)
        for pair in range(PAIRS):
            again = chip.clone()
            rng = random.Random(f"{where} {pair}")
            number, cut = rng.randrange(1, 12), rng.choice(list(Cut))
            again.cut_power(number, cut)
            try:
                act(again)
            except PowerCut:
                pass
            again.crash(rng)
            told = f"{where}, then {cut.value} operation {number}, pair {pair}"
            for _ in range(READINGS):
                seen = look(again)
                assert seen in steps, told
            act(again)
            for _ in range(READINGS):
                assert look(again) == steps[-1], told
            act(again)
            assert look(again) == steps[-1], told
    assert reached >= {0, len(steps) - 1}
