"""The store as its users see it: blobs, documents, transactions, room, and what it refuses.

Most of it on every kind of flash (`device`); what looks at single blocks on the plain one.
"""

import random
from pathlib import Path

import pytest

from firmware_mgr.flash.device import FileDevice, MemoryDevice
from firmware_mgr.flash.errors import BlobDamaged, NoSpace, StoreDamaged, StoreMissing
from firmware_mgr.flash.store import Store
from firmware_mgr.flash.store_geometry import RING_SIZE, UNIT, Geometry
from firmware_mgr.flash.store_layout import ROOT_MAGIC, SLOT_SIZE, SLOTS
from firmware_mgr.flash.store_roots import read_ring
from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import Digest
from tests.flash.kinds import KINDS, Device

MIB = 1 << 20
SIZE = 4 * MIB
ID = bytes(range(16))


def content(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def put(store: Store, data: bytes) -> Digest:
    digest = Digest.of(data)
    store.put(digest, len(data), [data])
    return digest


@pytest.fixture(params=KINDS)
def device(request: pytest.FixtureRequest) -> Device:
    return KINDS[request.param]()


@pytest.fixture
def store(device: Device) -> Store:
    return Store.format(device, store_id=ID)


#: For what looks at single blocks.
plain = pytest.mark.parametrize("device", ["512"], indirect=True)


def test_a_new_store_is_empty_and_opens_again(device: Device, store: Store) -> None:
    opened = Store.open(device)
    assert (opened.store_id, opened.sequence) == (ID, 1)
    assert not opened.documents() and not opened.blobs()
    space = opened.space()
    g = Geometry.of(device.size, device.block_size)
    assert space.used == 0
    assert space.total == g.size - g.ring_size - 2 * g.zone_size == space.free + space.bad
    assert space.largest == space.free or space.bad


@plain
def test_the_room_of_a_plain_store(store: Store) -> None:
    space = store.space()
    assert space.free == space.largest == space.total == SIZE - RING_SIZE - 2 * 256 * 1024


def test_blobs_and_documents_are_there_after_opening_again(device: Device, store: Store) -> None:
    data = content(1, 3 * MIB // 2)
    digest = Digest.of(data)
    extent = store.put(digest, len(data), (data[at : at + 1000] for at in range(0, len(data), 1000)))
    assert extent.offset % UNIT == 0
    assert device.read(extent.offset, extent.length) == data
    store.commit({"set/wanted": b"one", "identity": b"key"})
    opened = Store.open(device)
    assert opened.has(digest) and opened.check(digest)
    assert opened.extent(digest) == extent
    assert opened.read(digest) == data
    assert opened.documents() == {"set/wanted": b"one", "identity": b"key"}
    assert opened.document("set/wanted") == b"one"
    assert opened.document("no-such") is None


def test_a_real_file_serves_too(tmp_path: Path) -> None:
    path = tmp_path / "store.img"
    path.write_bytes(bytes(SIZE + 512))
    with FileDevice(path) as device:
        store = Store.format(device, store_id=ID)
        digest = put(store, b"hello")
        store.commit({"a": b"1"})
    with FileDevice(path) as device:
        opened = Store.open(device)
        assert opened.read(digest) == b"hello"
        assert opened.document("a") == b"1"


@pytest.mark.parametrize("length", [0, 1, UNIT, UNIT + 1, MIB, MIB + 1])
def test_blobs_of_every_shape(device: Device, store: Store, length: int) -> None:
    data = content(length, length)
    digest = put(store, data)
    other = put(store, b"next to it")
    store.checkpoint()
    opened = Store.open(device)
    assert opened.read(digest) == data
    assert opened.read(other) == b"next to it"
    assert opened.bad_blobs() == []


def test_what_is_put_is_durable_only_after_a_checkpoint(device: Device, store: Store) -> None:
    digest = put(store, b"data")
    assert store.has(digest) and not Store.open(device).has(digest)
    store.checkpoint()
    assert Store.open(device).has(digest)


def test_nothing_is_written_when_nothing_changes(device: Device, store: Store) -> None:
    digest = put(store, b"data")
    store.commit({"a": b"1"}, keep=[digest])
    operations = device.operations

    def unread() -> list[bytes]:
        raise AssertionError("content is not needed")

    assert store.put(digest, 4, (chunk for chunk in iter(unread, None))) == store.extent(digest)
    store.checkpoint()
    store.commit({"a": b"1", "b": None}, keep=[digest])
    assert device.operations == operations


def test_commit_changes_and_removes_documents_and_drops_what_is_not_kept(
    device: Device, store: Store
) -> None:
    kept, dropped = put(store, b"kept"), put(store, b"dropped")
    store.commit({"a": b"1", "b": b"2"})
    store.commit({"a": None, "b": b"3", "c": b""}, keep={kept})
    for now in (store, Store.open(device)):
        assert now.documents() == {"b": b"3", "c": b""}
        assert now.has(kept) and not now.has(dropped)


def test_a_commit_that_would_keep_what_is_not_there_is_refused_and_changes_nothing(
    device: Device, store: Store
) -> None:
    operations = device.operations
    with pytest.raises(UsageError, match="blob to keep is not in the store"):
        store.commit({"a": b"1"}, keep=[Digest.of(b"absent")])
    assert device.operations == operations and store.document("a") is None


@pytest.mark.parametrize("name", ["", "ä", "a b", "x" * 129, "a\0"])
def test_odd_document_names_are_refused(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="not a document name"):
        store.commit({name: b""})


def test_wrong_content_is_refused_and_leaves_nothing(store: Store) -> None:
    digest = Digest.of(b"right")
    for chunks, problem in (
        ([b"wrong"], "does not have its digest"),
        ([b"righ"], "wrong length"),
        ([b"right", b"!"], "wrong length"),
        ([], "wrong length"),
    ):
        with pytest.raises(PeerError, match=problem):
            store.put(digest, 5, chunks)
        assert not store.has(digest)
    assert store.space().used == 0


def test_reading_what_is_not_there_is_the_callers_fault(store: Store) -> None:
    absent = Digest.of(b"absent")
    for use in (store.read, store.extent):
        with pytest.raises(UsageError, match="not in the store"):
            use(absent)
    assert not store.check(absent)


def test_what_does_not_fit_is_refused_before_the_first_byte(device: Device, store: Store) -> None:
    put(store, content(1, 2 * MIB))
    operations = device.operations
    with pytest.raises(NoSpace) as caught:
        put(store, content(2, 2 * MIB))
    assert device.operations == operations
    assert caught.value.needed == 2 * MIB
    assert caught.value.free == store.space().free < 2 * MIB


def test_a_full_store_still_commits(device: Device, store: Store) -> None:
    digests = []
    while room := store.space().largest:
        digests.append(put(store, content(len(digests), room)))
    assert store.space().free == 0
    for n in range(20):
        store.commit({"n": b"%d" % n, "filling": bytes(30_000)})
    assert all(Store.open(device).check(digest) for digest in digests)
    operations = device.operations
    with pytest.raises(NoSpace):
        put(store, b"x")
    assert device.operations == operations


def test_documents_too_large_for_their_zone_are_refused_and_change_nothing(
    device: Device, store: Store
) -> None:
    store.commit({"a": b"1"})
    with pytest.raises(NoSpace, match="index and documents"):
        store.commit({"a": bytes(200_000)})
    assert store.document("a") == b"1"
    store.commit({"a": b"2"})
    assert Store.open(device).document("a") == b"2"


def test_dropped_room_is_used_again_at_once(device: Device, store: Store) -> None:
    for n in range(5):
        digest = put(store, content(n, 2 * MIB))
        store.commit({"n": b"%d" % n}, keep=[digest])
        store.commit({}, keep=[])
    assert store.space().used == 0


def test_the_places_of_a_dropped_blob_are_not_written_while_an_older_state_names_them(
    device: Device, store: Store
) -> None:
    first = content(1, MIB)
    put(store, first)
    store.checkpoint()
    extent = store.extent(Digest.of(first))
    store.commit({}, keep=[])
    put(store, content(2, MIB))
    assert device.read(extent.offset, extent.length) == first


def test_a_damaged_blob_is_found_named_and_put_again_elsewhere(device: Device, store: Store) -> None:
    good, bad = put(store, content(1, 9000)), put(store, content(2, 9000))
    store.checkpoint()
    device.flip_bit(store.extent(bad).offset + 5000, 3)
    seen: list[tuple[int, int]] = []
    assert store.bad_blobs(lambda done, total: seen.append((done, total))) == [bad]
    assert seen == [(9000, 18000), (18000, 18000)]
    with pytest.raises(BlobDamaged):
        store.read(bad)
    assert store.check(good) and not store.check(bad)
    old = store.extent(bad)
    assert put(store, content(2, 9000)) == bad
    assert store.extent(bad) != old
    store.checkpoint()
    assert Store.open(device).bad_blobs() == []


def test_a_damaged_blob_in_a_full_store_is_put_again(device: Device, store: Store) -> None:
    data = content(1, store.space().largest)
    digest = put(store, data)
    store.commit({"a": b"1"})
    device.flip_bit(store.extent(digest).offset, 0)
    put(store, data)
    store.checkpoint()
    assert Store.open(device).read(digest) == data


def test_forgotten_blobs_leave_with_the_next_checkpoint(device: Device, store: Store) -> None:
    digest = put(store, b"data")
    store.checkpoint()
    store.forget([digest, Digest.of(b"absent")])
    assert not store.has(digest) and Store.open(device).has(digest)
    store.checkpoint()
    assert not Store.open(device).has(digest)


@plain
def test_empty_flash_has_no_store_and_rubbish_is_a_damaged_one(device: MemoryDevice) -> None:
    with pytest.raises(StoreMissing, match="format it"):
        Store.open(device)
    device.write(SLOT_SIZE, ROOT_MAGIC.ljust(512, b"?"))
    with pytest.raises(StoreDamaged, match="CRC differs"):
        Store.open(device)
    Store.format(device, store_id=ID)
    assert Store.open(device).store_id == ID


@plain
def test_one_damaged_root_or_snapshot_loses_nothing(device: MemoryDevice, store: Store) -> None:
    put(store, b"data")
    store.commit({"a": b"old"})
    store.commit({"a": b"new"})
    whole = device.contents()
    zones = Geometry.of(SIZE).zones
    for start, length in (
        (0, RING_SIZE // 2),
        (RING_SIZE // 2, RING_SIZE // 2),
        *((z, 256 * 1024) for z in zones),
    ):
        device.load(whole)
        device.write(start, bytes(length))
        assert Store.open(device).document("a") == b"new"


@plain
def test_when_both_twins_are_gone_the_state_before_counts(device: MemoryDevice, store: Store) -> None:
    digest = put(store, b"data")
    store.commit({"a": b"old"})
    store.commit({"a": b"new"}, keep=[])
    slot = store.sequence - 1
    for twin in (slot, SLOTS + slot):
        device.write(twin * SLOT_SIZE, bytes(SLOT_SIZE))
    opened = Store.open(device)
    assert opened.document("a") == b"old"
    assert opened.read(digest) == b"data"
    opened.commit({"a": b"newer"})
    assert Store.open(device).document("a") == b"newer"


def test_format_replaces_a_store_and_the_old_one_never_comes_back(device: Device, store: Store) -> None:
    put(store, b"data")
    store.commit({"a": b"1"})
    fresh = Store.format(device, store_id=bytes(16))
    assert fresh.sequence == 3
    assert {r.root.sequence for r in read_ring(device) if r.root is not None} == {3}
    for now in (fresh, Store.open(device)):
        assert (now.store_id, dict(now.documents()), dict(now.blobs())) == (bytes(16), {}, {})
    fresh.commit({"b": b"2"})
    assert Store.open(device).documents() == {"b": b"2"}
    with pytest.raises(UsageError):
        Store.format(device, store_id=b"short")
    with pytest.raises(UsageError, match="too small"):
        Store.format(MemoryDevice(MIB), store_id=ID)


@plain
def test_a_store_made_for_a_larger_partition_is_damaged_and_for_a_smaller_one_it_opens(
    device: MemoryDevice, store: Store
) -> None:
    put(store, b"data")
    store.commit({"a": b"1"})
    small = MemoryDevice(SIZE - MIB)
    small.load(device.contents()[: SIZE - MIB])
    with pytest.raises(StoreDamaged, match="out of bounds"):
        Store.open(small)
    large = MemoryDevice(SIZE + MIB)
    large.load(device.contents() + bytes(MIB))
    assert Store.open(large).document("a") == b"1"


def test_what_is_read_back_has_been_synced_before() -> None:
    class Strict(MemoryDevice):
        def read(self, offset: int, length: int) -> bytes:
            with_waiting = super().read(offset, length)
            assert with_waiting == self.contents()[offset : offset + length], "read from the cache"
            return with_waiting

    store = Store.format(Strict(SIZE), store_id=ID)
    put(store, content(1, 2 * MIB))
    store.commit({"a": b"1"})


@plain
def test_bad_blocks_are_avoided_for_blobs_and_index(device: MemoryDevice, store: Store) -> None:
    start = store.put(Digest.of(b"x"), 1, [b"x"]).end
    device.bad_blocks.add(start // 512)
    digest = put(store, content(1, 5000))
    assert store.extent(digest).offset != start
    for zone in Geometry.of(SIZE).zones:
        device.bad_blocks.update(range(zone // 512 + 40, zone // 512 + 48))
    for n in range(40):
        store.commit({"n": b"%d" % n, "filling": bytes(20_000)})
    opened = Store.open(device)
    assert opened.document("n") == b"39" and opened.check(digest)


@plain
def test_a_bad_root_slot_is_made_up_for_by_its_twin(device: MemoryDevice, store: Store) -> None:
    device.bad_blocks.add(3 * SLOT_SIZE // 512)
    for n in range(12):
        store.commit({"n": b"%d" % n})
        assert Store.open(device).document("n") == b"%d" % n


@plain
def test_when_no_root_can_be_written_the_store_wants_to_be_opened_again(
    device: MemoryDevice, store: Store
) -> None:
    store.commit({"a": b"1"})
    counting = {store.sequence - 1, SLOTS + store.sequence - 1}
    device.bad_blocks.update(at * SLOT_SIZE // 512 for at in range(2 * SLOTS) if at not in counting)
    with pytest.raises(DeviceError, match=r"no good slot for the store's root.*root cannot be written"):
        store.commit({"a": b"2"})
    with pytest.raises(DeviceError, match="open the store again"):
        store.commit({"a": b"3"})
    assert Store.open(device).document("a") == b"1"


@plain
def test_writes_go_round_the_flash(device: MemoryDevice, store: Store) -> None:
    for n in range(200):
        digest = put(store, content(n, 100_000))
        store.commit({"n": b"%d" % n}, keep=[digest])
    g = Geometry.of(SIZE)

    def wear(start: int, end: int) -> list[int]:
        return [device.wear[block] for block in range(start // 512, end // 512)]

    blobs = wear(g.blobs_start, g.blobs_end)
    assert max(blobs) <= 3 * 200 * 100_000 // (g.blobs_end - g.blobs_start)
    assert min(blobs[: len(blobs) * 9 // 10]) > 0
    assert max(wear(0, RING_SIZE)) <= 200 // SLOTS + 5
    assert max(wear(g.zones[0], g.zones[0] + g.zone_size)) <= 200 // 32
