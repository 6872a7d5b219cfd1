"""The store's bytes: golden files, one form only, bounds, and whatever hostile bytes may say."""

import hashlib
import itertools
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.flash.store_geometry import MIN_STORE_SIZE, UNIT, Extent, Geometry, round_up
from firmware_mgr.flash.store_layout import (
    ROOT_BODY,
    ROOT_CRC,
    ROOT_SIZE,
    SLOT_SIZE,
    SNAPSHOT,
    Root,
    Snapshot,
    crc32c,
)
from firmware_mgr.flash.store_space import always_placed, gaps, measure, place
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest

GOLDEN = Path(__file__).parent / "golden"
SIZE = 4 << 20
GEOMETRY = Geometry.of(SIZE)
START = GEOMETRY.blobs_start
BLOBS = {Digest.of(b"one"): Extent(START, 3), Digest.of(b"two"): Extent(START + UNIT, 5000)}
SNAPSHOT_7 = Snapshot(7, BLOBS, {"identity": b"key", "set/committed": b"{}"})
RAW = SNAPSHOT_7.encode()
ROOT = Root(
    bytes(range(16)),
    7,
    GEOMETRY,
    START,
    0,
    len(RAW),
    (GEOMETRY.zones[0], GEOMETRY.zones[1] + UNIT),
    hashlib.sha256(RAW).digest(),
)


def root_for(raw: bytes) -> Root:
    return replace(ROOT, snapshot_length=len(raw), snapshot_sha256=hashlib.sha256(raw).digest())


def sealed(body: bytes) -> bytes:
    return (body + ROOT_CRC.build(crc32c(body))).ljust(SLOT_SIZE, b"\0")


def test_crc32c_of_the_standard_check_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_a_root_survives_its_bytes_and_they_are_the_golden_ones() -> None:
    assert Root.decode(ROOT.encode(), SIZE, "test") == ROOT
    assert ROOT.encode()[:ROOT_SIZE] == (GOLDEN / "store-root.bin").read_bytes()
    assert len(ROOT.encode()) == SLOT_SIZE and not any(ROOT.encode()[ROOT_SIZE:])


def test_a_snapshot_survives_its_bytes_and_they_are_the_golden_ones() -> None:
    assert Snapshot.decode(RAW, ROOT, "test") == SNAPSHOT_7
    assert (GOLDEN / "store-snapshot.bin").read_bytes() == RAW


def test_every_flipped_bit_of_a_root_is_seen_and_every_shorter_slot_refused() -> None:
    raw = bytearray(ROOT.encode())
    for bit in range(ROOT_SIZE * 8):
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FlashFormatError):
            Root.decode(bytes(raw), SIZE, "test")
        raw[bit // 8] ^= 1 << bit % 8
    for length in range(ROOT_SIZE):
        with pytest.raises(FlashFormatError):
            Root.decode(bytes(raw[:length]), SIZE, "test")


def test_the_unit_of_a_root_is_recorded_and_zero_stands_for_the_smallest() -> None:
    geometry = Geometry.of(8 << 20, 128 << 10)
    root = replace(
        ROOT,
        geometry=geometry,
        blob_cursor=geometry.blobs_start,
        snapshot_offsets=(geometry.zones[0], geometry.zones[1] + (128 << 10)),
    )
    raw = root.encode()
    assert len(raw) == 128 << 10 and raw[ROOT_SIZE:] == b"\xff" * (len(raw) - ROOT_SIZE)
    assert raw[:ROOT_SIZE] == (GOLDEN / "store-root-unit-128k.bin").read_bytes()
    assert Root.decode(raw[:SLOT_SIZE], 8 << 20, "test") == root
    assert ROOT.encode()[10:12] == b"\0\0" and raw[10:12] == b"\x11\0"
    for shift in (1, 11, 12, 16, 18, 21, 63, 64, 0xFFFF):
        body = raw[:10] + shift.to_bytes(2, "little") + raw[12 : ROOT_SIZE - 4]
        with pytest.raises(FlashFormatError):
            Root.decode(sealed(body), 8 << 20, "test")


def test_geometry_on_erase_blocks() -> None:
    nor, nand = Geometry.of(16 << 20, 64 << 10), Geometry.of(256 << 20, 128 << 10)
    assert (nor.unit, nor.ring_size, nor.zone_size) == (64 << 10, 1 << 20, 512 << 10)
    assert (nand.unit, nand.ring_size, nand.zone_size) == (128 << 10, 2 << 20, 8 << 20)
    assert nor.max_snapshot == 64 << 10
    assert Geometry.of(SIZE, 512) == Geometry.of(SIZE, 4096) == GEOMETRY
    with pytest.raises(UsageError, match="too small"):
        Geometry.of((5 << 20) - 1, 128 << 10)


def test_another_format_version_is_named() -> None:
    body = bytearray(ROOT.encode()[: ROOT_SIZE - 4])
    body[8] = 2
    with pytest.raises(FlashFormatError, match="another format version: expected 1, found 2"):
        Root.decode(sealed(bytes(body)), SIZE, "test")


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 0},
        {"sequence": 1 << 63},
        {"size": SIZE + UNIT},
        {"size": SIZE + 1},
        {"size": 0},
        {"zone_size": 0},
        {"zone_size": SIZE},
        {"zone_size": (1 << 64) - 1},
        {"blob_cursor": 0},
        {"blob_cursor": SIZE},
        {"zone_cursor": SIZE},
        {"snapshot_length": 0},
        {"snapshot_length": (1 << 64) - 1},
        {"snapshot_offsets": [0, GEOMETRY.zones[1]]},
        {"snapshot_offsets": [GEOMETRY.zones[0] + 1, GEOMETRY.zones[1]]},
        {"snapshot_offsets": [GEOMETRY.zones[0], (1 << 64) - UNIT]},
        {"reserved": None},
    ],
)
def test_roots_with_the_right_checksum_but_odd_numbers_are_refused(changes: dict[str, object]) -> None:
    fields = {
        "version": 1,
        "store_id": ROOT.store_id,
        "sequence": 7,
        "size": SIZE,
        "zone_size": GEOMETRY.zone_size,
        "blob_cursor": START,
        "zone_cursor": 0,
        "snapshot_length": len(RAW),
        "snapshot_offsets": list(ROOT.snapshot_offsets),
        "snapshot_sha256": ROOT.snapshot_sha256,
    }
    body = ROOT_BODY.build(fields | changes)
    if "reserved" in changes:
        body = body[:10] + b"\1" + body[11:]
    with pytest.raises(FlashFormatError):
        Root.decode(sealed(body), SIZE, "test")


def blob(digest: Digest, offset: int, length: int) -> dict[str, object]:
    return {"digest": digest.to_bytes(), "offset": offset, "length": length}


ONE, TWO = sorted(BLOBS)
SOUND = {"sequence": 7, "blobs": [blob(ONE, START, 3), blob(TWO, START + UNIT, 5)], "documents": []}
UNSOUND: list[dict[str, object]] = [
    {"sequence": 8},
    {"blobs": [blob(TWO, START, 3), blob(ONE, START + UNIT, 5)]},
    {"blobs": [blob(ONE, START, 3), blob(ONE, START + UNIT, 5)]},
    {"blobs": [blob(ONE, START, UNIT + 1), blob(TWO, START + UNIT, 5)]},
    {"blobs": [blob(ONE, START, 0), blob(TWO, START, 5)]},
    {"blobs": [blob(ONE, START + 1, 3)]},
    {"blobs": [blob(ONE, START - UNIT, 3)]},
    {"blobs": [blob(ONE, GEOMETRY.blobs_end, 3)]},
    {"blobs": [blob(ONE, START, (1 << 64) - 1)]},
    {"documents": [{"name": b"b", "value": b""}, {"name": b"a", "value": b""}]},
    {"documents": [{"name": b"a", "value": b""}, {"name": b"a", "value": b"2"}]},
    {"documents": [{"name": b"", "value": b""}]},
    {"documents": [{"name": b"\xff", "value": b""}]},
    {"documents": [{"name": b"a b", "value": b""}]},
    {"blob_count": 65537},
    {"document_count": 4097},
]


@pytest.mark.parametrize("changes", UNSOUND)
def test_snapshots_in_any_other_form_are_refused(changes: dict[str, object]) -> None:
    fields = SOUND | {k: v for k, v in changes.items() if not k.endswith("count")}
    blobs, documents = fields["blobs"], fields["documents"]
    assert isinstance(blobs, list) and isinstance(documents, list)
    raw = bytearray(SNAPSHOT.build(fields | {"blob_count": len(blobs), "document_count": len(documents)}))
    for at, name in ((16, "blob_count"), (20, "document_count")):
        if (count := changes.get(name)) is not None:
            assert isinstance(count, int)
            raw[at : at + 4] = count.to_bytes(4, "little")
    with pytest.raises(FlashFormatError):
        Snapshot.decode(bytes(raw), root_for(bytes(raw)), "test")


def test_the_sound_snapshot_among_them_is_accepted() -> None:
    raw = SNAPSHOT.build(SOUND | {"blob_count": 2, "document_count": 0})
    assert len(Snapshot.decode(raw, root_for(raw), "test").blobs) == 2


def test_every_truncation_and_any_trailing_byte_is_refused() -> None:
    for length in range(len(RAW)):
        with pytest.raises(FlashFormatError):
            Snapshot.decode(RAW[:length], root_for(RAW[:length]), "test")
    with pytest.raises(FlashFormatError):
        Snapshot.decode(RAW + b"\0", root_for(RAW + b"\0"), "test")
    with pytest.raises(FlashFormatError, match="digest differs"):
        Snapshot.decode(RAW[:-1] + b"?", ROOT, "test")


@given(st.binary(max_size=300), st.integers(0, 40))
@settings(max_examples=100)
def test_snapshots_of_any_bytes_are_read_or_refused(raw: bytes, kept: int) -> None:
    hostile = RAW[:kept] + raw
    try:
        assert Snapshot.decode(hostile, root_for(hostile), "test").encode() == hostile
    except FlashFormatError:
        pass


def test_geometry_of_small_and_large_partitions() -> None:
    with pytest.raises(UsageError, match="too small"):
        Geometry.of(MIN_STORE_SIZE - 1)
    assert Geometry.of(MIN_STORE_SIZE).zone_size == 256 << 10
    assert Geometry.of(256 << 20).zone_size == 8 << 20
    assert Geometry.of(8 << 30).zone_size == 16 << 20
    assert Geometry.of(SIZE + 4095) == GEOMETRY


@given(st.integers(0, 2**32))
@settings(max_examples=40)
def test_placing_never_overlaps_fills_every_gap_and_goes_round(seed: int) -> None:
    rng = random.Random(seed)
    start, end = 16 * UNIT, 64 * UNIT
    taken: set[Extent] = set()
    cursor = start
    for _ in range(40):
        if taken and rng.random() < 0.4:
            taken.remove(rng.choice(sorted(taken)))
        length = rng.randrange(6 * UNIT)
        room = measure(taken, start, end)
        extent = place(length, taken, start, end, cursor)
        assert (extent is not None) is (round_up(length) <= room.largest)
        assert room.free + room.used == room.total == end - start
        if extent is None:
            continue
        assert start <= extent.offset and extent.end <= end
        assert all(extent.end <= other.offset or other.end <= extent.offset for other in taken)
        after = [low for low, high in gaps(taken, start, end) if high - max(low, cursor) >= round_up(length)]
        assert extent.offset >= cursor or not after
        taken.add(extent)
        cursor = extent.end


def finds_room(runs: tuple[int, ...], n: int) -> bool:
    """Whether a piece of n units has room however two others of n lie in the runs; tried one by one."""
    places = [(run, at) for run, length in enumerate(runs) for at in range(length - n + 1)]
    for one, other in itertools.product([*places, None], repeat=2):
        taken = [other_place for other_place in (one, other) if other_place is not None]
        if not any(
            all(run != held or at + n <= from_ or from_ + n <= at for held, from_ in taken)
            for run, at in places
        ):
            return False
    return True


def test_a_snapshot_no_longer_than_the_bound_always_finds_room_and_a_longer_one_may_not() -> None:
    for runs in itertools.chain.from_iterable(itertools.product(range(1, 7), repeat=n) for n in (1, 2, 3)):
        bound = always_placed(runs)
        assert bound == 0 or finds_room(runs, bound), runs
        assert not finds_room(runs, bound + 1), runs
    assert always_placed([512]) == 102 and always_placed([]) == 0
