"""Room is foreseen: what `check_room` lets pass can be put; what it refuses is refused before any write."""

from __future__ import annotations

import random
import time

import pytest

from firmware_mgr.flash.device import MemoryDevice
from firmware_mgr.flash.errors import NoSpace
from firmware_mgr.flash.store import Store
from firmware_mgr.flash.store_geometry import UNIT, Extent, round_up
from firmware_mgr.flash.store_layout import Snapshot, snapshot_length
from firmware_mgr.flash.store_room import place_all
from firmware_mgr.flash.store_space import place
from firmware_mgr.model.ids import Digest
from tests.flash.kinds import KINDS, MIB

ID = bytes(16)


def put(store: Store, length: int, rng: random.Random) -> Digest:
    data = rng.randbytes(length)
    digest = Digest.of(data)
    store.put(digest, length, [data])
    return digest


def fragmented(store: Store, size: int) -> None:
    """Full, then every second blob of `size` is given up, by all that count."""
    rng, kept = random.Random(1), []
    while store.space().largest >= round_up(size, store._geometry.unit):
        kept.append(put(store, size, rng))
    for n in range(3):
        store.commit({"n": b"%d" % n}, keep=kept[::2])


def test_places_for_many_are_those_that_one_after_the_other_would_get() -> None:
    for seed in range(300):
        rng = random.Random(seed)
        taken = {
            Extent(rng.randrange(64) * UNIT, rng.randrange(1, 4 * UNIT)) for _ in range(rng.randrange(9))
        }
        cursor, end = rng.randrange(64 * UNIT), 70 * UNIT
        lengths = [rng.randrange(8 * UNIT) for _ in range(20)]
        found = place_all(lengths, taken, 0, end, cursor, unit=UNIT)
        for n, length in enumerate(lengths):
            expected = place(length, taken, 0, end, cursor)
            assert found[n : n + 1] == ([] if expected is None else [expected]), f"seed {seed}, blob {n}"
            if expected is None:
                break
            taken.add(expected)
            cursor = expected.end


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_check_lets_pass_can_be_put_with_checkpoints_anywhere(kind: str) -> None:
    passed = refused = 0
    for seed in range(12):
        rng = random.Random(seed)
        store = Store.format(KINDS[kind](), store_id=ID)
        held: list[Digest] = []
        while store.space().free > store.space().total // 3:
            held.append(put(store, rng.randrange(min(300_000, store.space().largest)), rng))
        kept = rng.sample(held, len(held) // 2)
        store.commit({"n": b"1"}, keep=kept)
        room = store.space().free * rng.uniform(0.5, 1.1)
        lengths: list[int] = []
        while sum(lengths) < room:
            lengths.append(rng.randrange(400_000))
        before = store.sequence
        try:
            store.check_room(lengths, {"n": b"2"})
        except NoSpace:
            refused += 1
            assert store.sequence == before
            continue
        for length in lengths:
            put(store, length, rng)
            if rng.random() < 0.2:
                store.checkpoint()
        store.commit({"n": b"2"})
        passed += 1
    assert passed and refused


@pytest.mark.parametrize("kind", KINDS)
def test_free_room_in_pieces_that_are_too_short_is_no_room(kind: str) -> None:
    store = Store.format(KINDS[kind](), store_id=ID)
    unit = store._geometry.unit
    fragmented(store, 2 * unit)
    free = store.space().free
    assert free >= 3 * unit * 2
    store.check_room([2 * unit, 2 * unit])
    with pytest.raises(NoSpace, match="blobs do not fit"):
        store.check_room([2 * unit, 3 * unit])


@pytest.mark.parametrize("kind", KINDS)
def test_each_blob_takes_whole_units_of_the_device(kind: str) -> None:
    store = Store.format(KINDS[kind](), store_id=ID)
    unit = store._geometry.unit
    space = store.space()
    store.check_room([1] * (space.free // unit))
    with pytest.raises(NoSpace, match="blobs do not fit"):
        store.check_room([1] * (space.free // unit + 1))


def test_an_index_that_would_be_too_long_is_foreseen_to_the_byte() -> None:
    store = Store.format(MemoryDevice(8 * MIB), store_id=ID)
    limit = store._geometry.max_snapshot
    blobs = (limit - snapshot_length(0, {"n": bytes(100)})) // 48
    spare = limit - snapshot_length(blobs, {"n": bytes(100)})
    fits = {"n": bytes(100 + spare)}
    store.check_room([1] * blobs, fits)
    for lengths, commits in (
        ([1] * (blobs + 1), [fits]),
        ([1] * blobs, [{"n": bytes(101 + spare)}]),
        ([1] * blobs, [fits, {"m": b""}]),
    ):
        with pytest.raises(NoSpace, match="index of"):
            store.check_room(lengths, *commits)
    store.check_room([1] * blobs, fits, {"n": None, "m": b""})
    for n in range(blobs):
        put(store, 3, random.Random(n))
    store.commit(fits)
    assert len(Snapshot(1, store.blobs(), store.documents()).encode()) == limit


def test_ten_thousand_modules_among_thousands_of_gaps_are_checked_in_a_moment() -> None:
    taken = [Extent(2 * n * UNIT, UNIT) for n in range(5000)]
    began = time.process_time()
    placed = place_all([UNIT, 2 * UNIT] * 5000, taken, 0, 30_000 * UNIT, 1234 * UNIT, unit=UNIT)
    assert len(placed) == 10_000
    assert time.process_time() - began < 3, "a search from the start for each takes minutes"
