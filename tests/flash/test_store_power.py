"""The store without power: each operation cut at every write and sync, in every way; and bits that flip.

After each cut: exactly the old or the new documents, all blobs that they go with intact, and work goes on.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from firmware_mgr.flash import store_roots
from firmware_mgr.flash.device import Cut, MemoryDevice, PowerCut
from firmware_mgr.flash.errors import BlobDamaged, StoreDamaged, StoreMissing
from firmware_mgr.flash.store import Store
from firmware_mgr.flash.store_geometry import RING_SIZE, UNIT, Geometry
from firmware_mgr.flash.store_layout import SLOT_SIZE, SLOTS
from firmware_mgr.model.ids import Digest
from tests.flash.cuts import copied_from, every_cut

SIZE = 2 << 20
ID, OTHER_ID = bytes(range(16)), bytes(16)
OUTCOMES = 4

#: What a user can see of a store: its documents, its blobs.
View = tuple[dict[str, bytes], frozenset[Digest]]


def content(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


A, B, C = content(1, 300_000), content(2, 5_000), content(3, 700_000)
BIG = content(4, 1_300_000)  # fits only where A and B were


def digest(data: bytes) -> Digest:
    return Digest.of(data)


def put(store: Store, data: bytes) -> None:
    store.put(digest(data), len(data), (data[at : at + 65536] for at in range(0, len(data), 65536)))


def view(store: Store) -> View:
    return dict(store.documents()), frozenset(store.blobs())


@pytest.fixture(scope="module")
def burned() -> bytes:
    """A store with two blobs and two documents, several transactions old."""
    device = MemoryDevice(SIZE)
    store = Store.format(device, store_id=ID)
    put(store, A)
    store.checkpoint()
    put(store, B)
    store.commit({"set/committed": b"first"})
    store.commit({"set/committed": b"second", "identity": b"key"})
    return device.contents()


def put_and_checkpoint(store: Store) -> None:
    put(store, C)
    store.checkpoint()


def install(store: Store) -> None:
    put(store, C)
    store.commit({"set/committed": b"third", "identity": None})


def collect(store: Store) -> None:
    store.commit({"set/committed": b"third"}, keep=[digest(B)])


def settle_then_update(store: Store) -> None:
    """Needs the room of what was dropped: the store commits by itself first."""
    store.forget([digest(A), digest(B)])
    put(store, BIG)
    store.commit({"set/committed": b"third"}, keep=[digest(BIG)])


def forget(store: Store) -> None:
    store.forget([digest(A)])
    store.checkpoint()


OPERATIONS = [put_and_checkpoint, install, collect, settle_then_update, forget]


def assert_fallback_is_whole(device: MemoryDevice, case: str) -> None:
    """Were both twins of the current root lost now, the state before would be there with all its blobs."""
    lost = copied_from(device.contents())()
    readings = [r for r in store_roots.read_ring(lost) if r.root is not None]
    newest = max(r.root.sequence for r in readings if r.root is not None)
    for reading in readings:
        if reading.root is not None and reading.root.sequence == newest:
            lost.write((reading.slot + SLOTS * reading.twin) * SLOT_SIZE, bytes(SLOT_SIZE))
    assert Store.open(lost).bad_blobs() == [], f"fallback after {case}"


def views_of(base: bytes, act: Callable[[Store], None]) -> list[View]:
    """The states that an uncut run passes through, by opening the flash after each sync."""
    device = copied_from(base)()
    views = [view(Store.open(device))]
    act(Store.open(device))
    total = device.operations
    for n in range(1, total + 1):
        device = copied_from(base)()
        device.cut_power(n, Cut.AFTER)
        try:
            act(Store.open(device))
        except PowerCut:
            pass
        device.load(device.contents())
        now = view(Store.open(device))
        if now != views[-1]:
            views.append(now)
    return views


@pytest.mark.parametrize("act", OPERATIONS)
def test_a_cut_operation_leaves_a_state_of_the_uncut_run_and_can_be_done_again(
    burned: bytes, act: Callable[[Store], None]
) -> None:
    views = views_of(burned, act)
    final = views[-1]
    assert len(views) == (3 if act is settle_then_update else 2)
    seen: set[int] = set()
    for device, case in every_cut(copied_from(burned), lambda d: act(Store.open(d)), OUTCOMES):
        store = Store.open(device)
        now = view(store)
        assert now in views, case
        seen.add(views.index(now))
        assert store.bad_blobs() == [], case
        assert_fallback_is_whole(device, case)
        act(store)
        again = Store.open(device)
        assert view(again) == final, case
        assert again.bad_blobs() == [], case
        assert_fallback_is_whole(device, case)
    assert seen == set(range(len(views)))


def test_a_cut_format_of_empty_flash_leaves_nothing_or_an_empty_store() -> None:
    for device, case in every_cut(lambda: MemoryDevice(SIZE), make_store, OUTCOMES):
        try:
            assert view(Store.open(device)) == ({}, frozenset()), case
        except (StoreMissing, StoreDamaged):
            pass
        make_store(device)
        assert Store.open(device).store_id == OTHER_ID, case


def test_a_root_whose_cursors_point_at_what_counts_leads_no_write_there(burned: bytes) -> None:
    device = copied_from(burned)()
    current = store_roots.find_history(device)[0][0]
    extent = Store.open(device).extent(digest(A))
    zone = current.root.geometry.zones[0]
    misled = replace(
        current.root,
        zone_cursor=current.root.snapshot_offsets[0] - zone,
        blob_cursor=extent.offset,
    )
    store_roots.write_root(device, current.slot, misled)
    old = view(Store.open(device))
    for cut, case in every_cut(copied_from(device.contents()), lambda d: install(Store.open(d)), OUTCOMES):
        store = Store.open(cut)
        assert view(store)[0] in (old[0], {"set/committed": b"third"}), case
        assert store.bad_blobs() == [], case


def test_a_new_root_never_takes_the_slot_of_one_that_counts(burned: bytes) -> None:
    device = copied_from(burned)()
    current, fallback = store_roots.find_history(device)[0]
    for newest, other, wanted in ((2, 1, 3), (2, 3, 4), (SLOTS - 1, 0, 1), (SLOTS - 1, 3, 0)):
        history = [replace(current, slot=newest), replace(fallback, slot=other)]
        assert store_roots.next_slots(device, history)[0] == wanted
    assert store_roots.next_slots(device, [])[0] == 0


def test_after_a_cut_format_the_old_store_does_not_stand_in_for_a_damaged_new_one(burned: bytes) -> None:
    device = copied_from(burned)()
    device.cut_power(6, Cut.AFTER)  # two snapshots, sync, root, twin, sync: the new root counts
    with pytest.raises(PowerCut):
        make_store(device)
    device.load(device.contents())
    store = Store.open(device)
    assert store.store_id == OTHER_ID
    newest = store_roots.find_history(device)[0][0]
    for offset in newest.root.snapshot_offsets:
        device.flip_bit(offset, 0)
    with pytest.raises(StoreDamaged):
        Store.open(device)


def make_store(device: MemoryDevice) -> None:
    Store.format(device, store_id=OTHER_ID)


def test_a_cut_format_over_a_store_leaves_the_old_store_or_the_new(burned: bytes) -> None:
    old = view(Store.open(copied_from(burned)()))
    ids = set()
    for device, case in every_cut(copied_from(burned), make_store, OUTCOMES):
        store = Store.open(device)
        ids.add(store.store_id)
        assert view(store) == (old if store.store_id == ID else ({}, frozenset())), case
        assert store.bad_blobs() == [], case
    assert ids == {ID, OTHER_ID}


def test_a_second_cut_while_the_first_is_made_good_harms_nothing_either(burned: bytes) -> None:
    views = views_of(burned, install)
    rng = random.Random(77)
    for _ in range(150):
        device = copied_from(burned)()
        for _ in range(3):
            device.cut_power(rng.randrange(1, 9), rng.choice(list(Cut)))
            try:
                install(Store.open(device))
            except PowerCut:
                pass
            device.crash(rng)
            store = Store.open(device)
            assert view(store) in views
            assert store.bad_blobs() == []


def test_the_only_good_copy_of_a_root_outlives_a_cut_before_the_next_is_written(burned: bytes) -> None:
    views = views_of(burned, install)
    slot = store_roots.find_history(copied_from(burned)())[0][0].slot

    def with_a_bad_block() -> MemoryDevice:
        device = copied_from(burned)()
        device.bad_blocks.add(slot * SLOT_SIZE // device.block_size)
        return device

    for device, case in every_cut(with_a_bad_block, lambda d: install(Store.open(d)), OUTCOMES):
        store = Store.open(device)
        assert view(store) in views and store.bad_blobs() == [], case


def test_a_long_life_of_random_operations_and_cuts_never_loses_a_committed_state() -> None:
    rng = random.Random(4711)
    device = MemoryDevice(SIZE)
    store = Store.format(device, store_id=ID)
    expected = [view(store)]
    for step in range(250):
        data = content(rng.randrange(30), rng.randrange(1, 200_000))
        keep = [d for d in sorted(store.blobs()) if rng.random() < 0.7]
        if rng.random() < 0.5:
            device.cut_power(rng.randrange(1, 9), rng.choice(list(Cut)))
        new: View = ({"step": b"%d" % step}, frozenset([*keep, digest(data)]))
        try:
            store.commit({}, keep=keep)
            expected = [view(store)]
            put(store, data)
            store.commit({"step": b"%d" % step}, keep=new[1])
            expected = [view(store)]
        except PowerCut:
            kept: View = (expected[0][0], frozenset(keep))
            expected = [*expected, kept, new, (kept[0], new[1])]
            device.crash(rng)
        store = Store.open(device)
        assert view(store) in expected, f"step {step}"
        assert store.bad_blobs() == [], f"step {step}"
        expected = [view(store)]
        device.load(device.contents())
    assert store.sequence > 200


def flipped(base: bytes, seed: int) -> tuple[MemoryDevice, list[int]]:
    rng = random.Random(f"flip {seed}")
    device = copied_from(base)()
    areas = ((0, SIZE), (0, RING_SIZE), (RING_SIZE, RING_SIZE + 6 * UNIT))
    places = [rng.randrange(*rng.choice(areas)) for _ in range(rng.choice((1, 1, 3, 30)))]
    for place in places:
        device.flip_bit(place, rng.randrange(8))
    return device, places


def history(base: bytes) -> Iterator[View]:
    """All states that older roots may still lead to."""
    yield view(Store.open(copied_from(base)()))
    yield {"set/committed": b"first"}, frozenset([digest(A), digest(B)])
    yield {}, frozenset([digest(A)])
    yield {}, frozenset()


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_flipped_bits_never_give_wrong_bytes_and_damage_is_found(burned: bytes, start: int) -> None:
    current, *older = history(burned)
    for seed in range(start, start + 50):
        device, places = flipped(burned, seed)
        try:
            store = Store.open(device)
        except StoreDamaged:
            assert len(places) > 3, f"seed {seed}"
            continue
        assert view(store) == current or (len(places) > 1 and view(store) in older), f"seed {seed}"
        bad = store.bad_blobs()
        for data in (A, B):
            if not store.has(digest(data)):
                continue
            extent = store.extent(digest(data))
            hit = any(extent.offset <= place < extent.offset + extent.length for place in places)
            intact = device.read(extent.offset, extent.length) == data
            assert hit or intact
            assert (digest(data) in bad) is not intact, f"seed {seed}"
            try:
                assert store.read(digest(data)) == data
            except BlobDamaged:
                assert digest(data) in bad
            put(store, data)
        store.commit({"repaired": b"yes"})
        again = Store.open(device)
        assert again.document("repaired") == b"yes"
        assert again.bad_blobs() == [], f"seed {seed}"


def test_wiped_areas_are_missing_damaged_or_the_same(burned: bytes) -> None:
    whole = view(Store.open(copied_from(burned)()))
    zone = Geometry.of(SIZE).zone_size
    for start, length, outcome in (
        (0, RING_SIZE, StoreMissing),
        (RING_SIZE, zone, None),
        (SIZE - zone, zone, None),
    ):
        device = copied_from(burned)()
        device.write(start, bytes(length))
        if outcome is None:
            assert view(Store.open(device)) == whole
        else:
            with pytest.raises(outcome):
                Store.open(device)
    device = copied_from(burned)()
    device.write(RING_SIZE, bytes(zone))
    device.write(SIZE - zone, bytes(zone))
    with pytest.raises(StoreDamaged):
        Store.open(device)
