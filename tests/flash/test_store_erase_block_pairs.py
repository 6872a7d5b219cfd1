"""Every operation of the store on NOR and NAND, cut once and cut again while it is made good.

The operations of `powercut/store_operations.py`, whose media have sectors; here a cut leaves erase blocks
whose cells were half erased or half programmed. FWMGR_CUTS=20 asks for twenty second cuts after each first.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
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
PAIRS = int(os.environ.get("FWMGR_CUTS", "1"))
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


def _old(store: Store) -> bytes:
    return ops.content(6, 3 * store._geometry.unit)


def short_of_room(store: Store) -> None:
    """Of all gaps only that which one blob can leave is long enough for another one."""
    ops.put(store, ops.A)
    ops.put(store, _old(store))
    number = 10
    while (room := store.space().largest) >= 3 * store._geometry.unit:
        ops.put(store, ops.content(number, room))
        number += 1
    store.commit({"set/1": b"OLD", "stored": b"1"})
    store.commit({"note": b"x"})


def reclaim(store: Store) -> None:
    """Room is short: the store commits by itself until the fallback needs it no more."""
    store.forget([Digest.of(_old(store))])
    ops.put(store, ops.content(7, 3 * store._geometry.unit - 100))
    store.commit({"set/2": b"BIG", "stored": b"2"})


@dataclass(frozen=True)
class Case:
    """`steps`: how many different states an uncut run shows, the one before it among them."""

    name: str
    before: Act
    act: Act
    steps: int = 2
    damaged: bool = False  # a blob, before the operation


CASES = (
    Case("install", first_and_second, ops.install),
    Case("install round the ring", round_the_ring, ops.install),
    Case("activate", first_and_second, ops.activate),
    Case("commit", round_the_ring, ops.commit),
    Case("regress", first_and_second, ops.regress),
    Case("collect", first_and_second, ops.collect, steps=3),
    Case("checkpoint", first_and_second, ops.checkpoint, steps=3),
    Case("reclaim", short_of_room, reclaim, steps=3),
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
    assert len(steps) == case.steps
    reached, second = set(), 0
    for chip, where in every_cut(base.clone, act, 1):
        seen = [look(chip) for _ in range(READINGS)]
        assert all(one in steps for one in seen), where
        least = min(map(steps.index, seen))
        reached.add(least)
        calm = not chip.wavers
        whole = chip.clone()
        act(whole)
        for pair in range(PAIRS if whole.operations else 0):
            again = chip.clone()
            rng = random.Random(f"{where} {pair}")
            number, cut = rng.randint(1, whole.operations), rng.choice(list(Cut))
            again.cut_power(number, cut)
            with suppress(PowerCut):
                act(again)
                pytest.fail(f"{where}: no second cut")
            second += 1
            again.crash(rng)
            told = f"{where}, then {cut.value} operation {number}, pair {pair}"
            for _ in range(READINGS):
                seen_again = look(again)
                assert seen_again in steps, told
                assert not calm or steps.index(seen_again) >= least, f"{told}: falls back"
            for _ in range(2):
                act(again)
                assert look(again) == look(again) == steps[-1], told
    assert reached >= {0, len(steps) - 1} and second > 10
