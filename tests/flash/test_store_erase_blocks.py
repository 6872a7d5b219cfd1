"""The store on NOR and NAND: power that fails within erase and program, blocks that go bad, and wear.

Twins are stricter than chips: cells that were cut read differently twice, what is programmed twice raises.
"""

import random
from collections.abc import Callable

import pytest

from firmware_mgr.flash import store_roots
from firmware_mgr.flash.chip_twins import NandTwin, NorTwin
from firmware_mgr.flash.device import Cut, MemoryDevice, PowerCut, Window
from firmware_mgr.flash.erase_block_device import ChipGeometry, EraseBlockDevice
from firmware_mgr.flash.errors import StoreDamaged, StoreMissing
from firmware_mgr.flash.store import Store
from firmware_mgr.flash.store_geometry import Geometry
from firmware_mgr.flash.store_layout import SLOTS
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import Digest
from tests.flash.cuts import every_cut
from tests.flash.kinds import FACTORY_BAD, KIB, MIB, NAND, nand, nor
from tests.flash.wear import wear_out

Twin = NorTwin | NandTwin
View = tuple[dict[str, bytes], frozenset[Digest]]
ID, OTHER_ID = bytes(range(16)), bytes(16)
#: Outcomes that are tried for each cut, and how often each is then read.
OUTCOMES, READINGS = 2, 3
#: Small chips, since each is cut and refuses hundreds of times.
SMALL_NOR = ChipGeometry(40 * 64 * KIB, 64 * KIB, 512)
SMALL_NAND = ChipGeometry(136 * 16 * KIB, 16 * KIB, 512)
SMALL_BAD = (1, 10, 20, 33, 40, 125)
MAKERS: dict[str, Callable[[], Twin]] = {
    "NOR": lambda: NorTwin(SMALL_NOR),
    "NAND": lambda: NandTwin(SMALL_NAND, factory_bad=SMALL_BAD),
}


def content(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


A, B, C = content(1, 70_000), content(2, 5_000), content(3, 90_000)
LARGE = content(4, 1_200_000)  # two pieces of writing


def opened(chip: Twin) -> Store:
    return Store.open(EraseBlockDevice(chip))


def put(store: Store, data: bytes) -> Digest:
    digest = Digest.of(data)
    store.put(digest, len(data), (data[at : at + 65536] for at in range(0, len(data), 65536)))
    return digest


def view(store: Store) -> View:
    return dict(store.documents()), frozenset(store.blobs())


@pytest.fixture(params=MAKERS)
def empty(request: pytest.FixtureRequest) -> Twin:
    return MAKERS[request.param]()


@pytest.fixture
def burned(empty: Twin) -> Twin:
    """A store with two blobs and two documents, several transactions old."""
    store = Store.format(EraseBlockDevice(empty), store_id=ID)
    put(store, A)
    store.checkpoint()
    put(store, B)
    store.commit({"set/committed": b"first"})
    store.commit({"set/committed": b"second", "identity": b"key"})
    return empty


def make_store(chip: Twin) -> None:
    Store.format(EraseBlockDevice(chip), store_id=OTHER_ID)


def put_and_checkpoint(chip: Twin) -> None:
    store = opened(chip)
    put(store, C)
    store.checkpoint()


def install(chip: Twin) -> None:
    store = opened(chip)
    put(store, content(9, 20_000))
    store.commit({"set/committed": b"third", "identity": None})


def collect(chip: Twin) -> None:
    opened(chip).commit({"set/committed": b"third"}, keep=[Digest.of(B)])


OPERATIONS = [put_and_checkpoint, install, collect]


def views_of(base: Twin, act: Callable[[Twin], object]) -> list[View]:
    """Before and after."""
    chip = base.clone()
    before = view(opened(chip))
    act(chip)
    return [before, view(opened(chip))]


# Power


@pytest.mark.parametrize("act", OPERATIONS)
def test_a_cut_operation_leaves_the_old_state_or_the_new_and_can_be_done_again(
    burned: Twin, act: Callable[[Twin], object]
) -> None:
    views = views_of(burned, act)
    seen: set[int] = set()
    for chip, case in every_cut(burned.clone, act, OUTCOMES):
        for _ in range(READINGS):
            store = opened(chip)
            assert view(store) in views, case
            assert store.bad_blobs() == [], case
            seen.add(views.index(view(store)))
        act(chip)
        for _ in range(READINGS):
            again = opened(chip)
            assert view(again) == views[1], case
            assert again.bad_blobs() == [], case
    assert seen == {0, 1}


def test_a_root_that_was_cut_does_not_come_to_count_after_its_places_were_used(burned: Twin) -> None:
    """It looked torn when the store was opened, its blobs' places were written, and then it reads well."""
    views = views_of(burned, install)
    for chip, case in every_cut(burned.clone, install, outcomes=6):
        put(opened(chip), C)  # no commit: power fails again
        for _ in range(READINGS):
            store = opened(chip)
            assert view(store) in views, case
            assert store.bad_blobs() == [], case


def test_a_cut_format_of_empty_flash_leaves_nothing_or_an_empty_store(empty: Twin) -> None:
    for chip, case in every_cut(empty.clone, make_store, OUTCOMES):
        try:
            assert view(opened(chip)) == ({}, frozenset()), case
        except (StoreMissing, StoreDamaged):
            pass
        make_store(chip)
        assert opened(chip).store_id == OTHER_ID, case


def test_a_cut_format_over_a_store_leaves_the_old_store_or_the_new(burned: Twin) -> None:
    old = view(opened(burned))
    ids = set()
    for chip, case in every_cut(burned.clone, make_store, OUTCOMES):
        store = opened(chip)
        ids.add(store.store_id)
        assert view(store) == (old if store.store_id == ID else ({}, frozenset())), case
        assert store.bad_blobs() == [], case
    assert ids == {ID, OTHER_ID}


def test_a_session_that_changes_nothing_writes_nothing(burned: Twin) -> None:
    operations = burned.operations
    for _ in range(3):
        store = opened(burned)
        put(store, A)
        store.commit({"set/committed": b"second"})
    assert burned.operations == operations


# Bad blocks


@pytest.mark.parametrize("act", [*OPERATIONS, make_store])
def test_a_block_that_refuses_at_any_operation_is_passed_over(
    burned: Twin, act: Callable[[Twin], object]
) -> None:
    wanted = views_of(burned, act)[1]
    total = _operations(burned, act)
    for n in range(1, total + 1):
        chip = burned.clone()
        chip.refuse(n)
        act(chip)
        store = opened(chip)
        assert view(store) == wanted, f"operation {n} refused"
        assert store.bad_blobs() == [], f"operation {n} refused"
        if isinstance(chip, NandTwin):
            marked = EraseBlockDevice(chip).bad_offsets()
            assert len(marked) == len(SMALL_BAD) + 1, f"operation {n} refused"


def _store_that_is(size: int) -> NorTwin:
    """A chip of 48 blocks whose store takes the first `size` of them and is some transactions old."""
    chip = NorTwin(ChipGeometry(48 * 64 * KIB, 64 * KIB, 512))
    store = Store.format(Window(EraseBlockDevice(chip), 0, size * 64 * KIB), store_id=ID)
    for n in range(4):
        store.commit({"set/committed": b"%d" % n})
    return chip


def _damaged() -> NorTwin:
    """No root leads to a snapshot."""
    chip = _store_that_is(48)
    g = Geometry.of(48 * 64 * KIB, 64 * KIB)
    for zone in g.zones:
        for offset in range(zone, zone + g.zone_size, g.unit):
            chip.flip_bit(offset + 3, 1)
    return chip


def _of_a_smaller_partition() -> NorTwin:
    return _store_that_is(40)


@pytest.mark.parametrize("before", [_damaged, _of_a_smaller_partition])
def test_an_old_root_whose_block_refuses_the_erase_counts_no_more(before: Callable[[], NorTwin]) -> None:
    """NOR keeps no marks: the block is read again at the next start."""
    base = before()
    for n in range(1, _operations(base, make_store) + 1):
        chip = base.clone()
        chip.refuse(n)
        make_store(chip)
        store = opened(chip)
        assert store.store_id == OTHER_ID and view(store) == ({}, frozenset()), f"operation {n} refused"
        for number in range(SLOTS + 1):
            store.commit({"n": b"%d" % number})
        assert opened(chip).document("n") == b"%d" % SLOTS, f"operation {n} refused"


def test_a_large_blob_goes_on_elsewhere_with_what_was_written_of_it() -> None:
    for n in range(1, 24):
        chip = nand()
        store = Store.format(EraseBlockDevice(chip), store_id=ID)
        chip.refuse(n)
        digest = put(store, LARGE)
        store.checkpoint()
        assert opened(chip).read(digest) == LARGE, f"operation {n} refused"


def test_a_block_that_refuses_and_then_a_cut_leave_the_old_state_or_the_new(burned: Twin) -> None:
    views = views_of(burned, install)
    total = _operations(burned, install)
    rng = random.Random(7)
    for n in range(1, total + 1):
        for _ in range(4):
            chip = burned.clone()
            chip.refuse(n)
            chip.cut_power(rng.randrange(n, total + 4), rng.choice(list(Cut)))
            try:
                install(chip)
            except PowerCut:
                pass
            chip.crash(rng)
            for _ in range(READINGS):
                store = opened(chip)
                assert view(store) in views and store.bad_blobs() == [], f"operation {n} refused"
            install(chip)
            assert view(opened(chip)) == views[1], f"operation {n} refused"


def _operations(base: Twin, act: Callable[[Twin], object]) -> int:
    chip = base.clone()
    act(chip)
    return chip.operations


def test_a_nand_with_random_bad_blocks_is_used_as_far_as_they_let_it() -> None:
    for seed in range(10):
        rng = random.Random(seed)
        chip = NandTwin(NAND, factory_bad=rng.sample(range(NAND.blocks), 6))
        store = Store.format(EraseBlockDevice(chip), store_id=ID)
        bad = [at * NAND.erase_size for at in sorted(EraseBlockDevice(chip).bad_offsets())]
        assert len(bad) == 6
        digests = []
        while room := store.space().largest:
            digests.append(put(store, content(len(digests), min(room, 600_000))))
        for n in range(20):
            store.commit({"n": b"%d" % n})
        again = opened(chip)
        assert again.document("n") == b"19" and again.bad_blobs() == [], f"seed {seed}"
        space = again.space()
        assert space.free == 0 and space.used + space.bad == space.total, f"seed {seed}"


def test_a_ring_with_one_good_half_of_three_slots_still_takes_roots() -> None:
    bad = [*range(3, SLOTS), SLOTS, SLOTS + 1, *range(SLOTS + 2, 2 * SLOTS)]
    chip = NandTwin(NAND, factory_bad=bad)
    store = Store.format(EraseBlockDevice(chip), store_id=ID)
    for n in range(10):
        store.commit({"n": b"%d" % n})
        assert opened(chip).document("n") == b"%d" % n


def test_a_ring_without_a_good_place_is_said_before_it_is_written() -> None:
    chip = NandTwin(NAND, factory_bad=range(2 * SLOTS))
    with pytest.raises(DeviceError, match="no good slot for the store's root"):
        Store.format(EraseBlockDevice(chip), store_id=ID)


def test_a_chip_that_refuses_everything_is_not_marked_bad_all_over() -> None:
    class Protected(NandTwin):
        def erase(self, block: int) -> None:
            raise DeviceError("write-protected", where=self.kind)

    chip = Protected(NAND)
    with pytest.raises(DeviceError, match="is the flash write-protected"):
        Store.format(EraseBlockDevice(chip), store_id=ID)
    assert len(EraseBlockDevice(chip).bad_offsets()) == 4


# Format


def test_the_unit_is_the_erase_block_and_stands_in_the_root(burned: Twin) -> None:
    erase_size = burned.geometry.erase_size
    device = EraseBlockDevice(burned)
    roots = [reading.root for reading in store_roots.read_ring(device) if reading.root is not None]
    assert {root.geometry for root in roots} == {Geometry.of(device.size, erase_size)}
    raw = burned.read(0, 12)
    assert int.from_bytes(raw[10:12], "little") == erase_size.bit_length() - 1
    extents = Store.open(device).blobs().values()
    assert all(extent.offset % erase_size == 0 == extent.end % erase_size for extent in extents)


def test_a_store_is_not_opened_with_another_unit(burned: Twin) -> None:
    contents = burned.read(0, burned.geometry.size)
    plain = MemoryDevice(len(contents))
    plain.load(contents)
    with pytest.raises(StoreDamaged, match="another unit: expected 4096, found"):
        Store.open(plain)


def test_a_window_of_a_chip_holds_a_store_beside_others() -> None:
    chip = nand()
    device = EraseBlockDevice(chip)
    half = Window(device, 3 * MIB, 5 * MIB, "store")
    assert half.bad_offsets() == {(block - 24) * 128 * KIB for block in FACTORY_BAD if block >= 24}
    store = Store.format(half, store_id=ID)
    put(store, B)
    store.commit({"a": b"1"})
    assert Store.open(half).bad_blobs() == []
    assert chip.read(0, 3 * MIB) == b"\xff" * (3 * MIB)


# Wear


@pytest.mark.parametrize("chip", [nor(), nand()], ids=["NOR", "NAND"])
def test_wear_is_spread_over_each_area(chip: Twin) -> None:
    ring, zones, blobs = wear_out(chip, 150)
    for area in (ring, zones):
        assert area.most - area.least <= 2, area
        assert area.most <= 150 // 5, area
    assert blobs.most <= 1.5 * blobs.mean + 1, blobs
