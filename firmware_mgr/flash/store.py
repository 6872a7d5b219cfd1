"""The store: blobs by digest and documents by name, changed in transactions that no power cut can halve.

Knows what is referenced and in which order things reach flash (docs/SPEC-store.md). Refuses to know what
blobs and documents mean: packages, software sets and identities are other rooms' words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

from firmware_mgr.flash import store_blobs, store_places, store_roots
from firmware_mgr.flash.errors import BlobDamaged, NoSpace, StoreDamaged, StoreMissing
from firmware_mgr.flash.store_geometry import Extent, Geometry, round_up
from firmware_mgr.flash.store_layout import (
    MAX_BLOBS,
    MAX_DOCUMENTS,
    SEQUENCE_END,
    STORE_ID_SIZE,
    Root,
    Snapshot,
    check_document_name,
    snapshot_length,
)
from firmware_mgr.flash.store_room import place_all
from firmware_mgr.flash.store_roots import Committed
from firmware_mgr.flash.store_space import Space, place
from firmware_mgr.model.errors import DeviceError, UsageError
from firmware_mgr.model.ids import Digest

if TYPE_CHECKING:
    from firmware_mgr.flash.boot_partition import Progress
    from firmware_mgr.flash.device import FlashDevice

__all__ = ["Extent", "Space", "Store"]

PLACE_TRIES = 4  # places tried for a blob
SNAPSHOT_TRIES = 4  # places tried before a snapshot is given up on a flash with bad blocks
BLOB_MOVES = 4  # the same for a blob, after the first


class Store:
    """An open store. One user at a time.

    `put` and `forget` change the working index; `checkpoint` and `commit` make it durable.
    """

    def __init__(
        self,
        device: FlashDevice,
        store_id: bytes,
        geometry: Geometry,
        history: list[Committed],
        highest_sequence: int,
    ) -> None:
        """Not for callers: use `open` or `format`."""
        self._device = device
        self._store_id = store_id
        self._geometry = geometry
        self._history = history
        self._highest = highest_sequence
        self._blobs: dict[Digest, Extent] = dict(history[0].snapshot.blobs) if history else {}
        self._documents: dict[str, bytes] = dict(history[0].snapshot.documents) if history else {}
        self._blob_cursor = history[0].root.blob_cursor if history else geometry.blobs_start
        self._zone_cursor = history[0].root.zone_cursor if history else 0
        self._bad_places: set[Extent] = set()
        self._bad_zone_places: set[Extent] = set()
        self._in_doubt = False
        self._settled = False

    @classmethod
    def open(cls, device: FlashDevice) -> Self:
        """Raises StoreMissing or StoreDamaged."""
        history, highest = store_roots.find_history(device)
        root = history[0].root
        return cls(device, root.store_id, root.geometry, history, highest)

    @classmethod
    def format(cls, device: FlashDevice, *, store_id: bytes) -> Self:
        """Make an empty store, in place of whatever is there. `store_id` is 16 bytes, new for each format."""
        if len(store_id) != STORE_ID_SIZE:
            raise UsageError("bad store id", expected=f"{STORE_ID_SIZE} bytes", found=len(store_id))
        geometry = Geometry.of(device.size, device.block_size)
        try:
            history, highest = store_roots.find_history(device)
        except (StoreMissing, StoreDamaged):
            # Above roots that lead nowhere, too: their blocks may refuse the erase, and be read again.
            history, highest = [], store_roots.highest_sequence(device)
        if not history or history[0].root.geometry != geometry:
            store_roots.erase_roots(device)
            history = []
        store = cls(device, store_id, geometry, history, highest)
        store._transact({}, {})
        store_roots.erase_roots(device, but=store._history[0].slot)
        del store._history[1:]
        return store

    @classmethod
    def check_room_when_new(
        cls, device: FlashDevice, lengths: Sequence[int], *commits: Mapping[str, bytes | None]
    ) -> None:
        """What `check_room` would say of a store just formatted there. Writes nothing; raises NoSpace, and
        UsageError for a place of a size that no store can have."""
        new = cls(device, bytes(STORE_ID_SIZE), Geometry.of(device.size, device.block_size), [], 0)
        new.check_room(lengths, *commits)

    @property
    def store_id(self) -> bytes:
        return self._store_id

    @property
    def fills_its_device(self) -> bool:
        """Whether it was made for a device of this size."""
        return self._geometry == Geometry.of(self._device.size, self._device.block_size)

    @property
    def sequence(self) -> int:
        """Grows with each transaction."""
        return self._history[0].root.sequence

    # Blobs

    def put(self, digest: Digest, length: int, chunks: Iterable[bytes]) -> Extent:
        """Store a blob; it is durable in the index after the next `checkpoint` or `commit`.

        A blob that is there and reads back right is not written again, and `chunks` is not looked at. Raises
        NoSpace before the first byte, PeerError when `chunks` are not the blob, DeviceError from flash.
        """
        self._need_certainty()
        if length < 0:
            raise UsageError("bad blob length", where=digest.short, expected="0 or more", found=length)
        held = self._blobs.get(digest)
        if held is not None:
            if self.check(digest):
                return held
            del self._blobs[digest]
        self._need_room(length, digest.short)
        self._settle()
        extent = self._write_somewhere(digest, length, chunks)
        self._blobs[digest] = extent
        return extent

    def _write_somewhere(self, digest: Digest, length: int, chunks: Iterable[bytes]) -> Extent:
        tries = PLACE_TRIES if isinstance(chunks, Sequence) else 1  # others can be gone through once only
        while True:
            tried = [self._reserve(length, digest.short)]
            move = partial(self._move, tried, digest.short)
            try:
                extent = store_blobs.write_blob(self._device, tried[0], digest, chunks, move)
            except DeviceError:
                self._avoid(tried)
                tries -= 1
                if not tries:
                    raise
            else:
                self._avoid(tried[:-1])
                return extent

    def _move(self, tried: list[Extent], what: str, refused: Extent, why: DeviceError) -> Extent:
        """Another place for a blob that is being written; raises `why` when there is none."""
        if len(tried) > BLOB_MOVES:
            raise why
        try:
            tried.append(self._reserve(refused.length, what, tried))
        except NoSpace:
            raise why from None
        return tried[-1]

    def _avoid(self, refused: Iterable[Extent]) -> None:
        """Pass over these places from now on; of those that hold bad blocks just the bad blocks."""
        bad = store_places.bad_blocks(self._device, self._geometry)
        self._bad_places.update(
            place for place in refused if not any(place.offset <= one.offset < place.end for one in bad)
        )

    def has(self, digest: Digest) -> bool:
        """Whether the working index names it. Whether its bytes are right, `check` says."""
        return digest in self._blobs

    def blobs(self) -> Mapping[Digest, Extent]:
        """The working index."""
        return MappingProxyType(self._blobs)

    def extent(self, digest: Digest) -> Extent:
        """Where the blob lies in the partition. Raises UsageError when it is not stored."""
        try:
            return self._blobs[digest]
        except KeyError:
            raise UsageError("not in the store", where="store", expected=digest.short) from None

    def read(self, digest: Digest) -> bytes:
        """The blob's bytes, hashed. Raises UsageError when not stored, DeviceError (BlobDamaged) when bad."""
        data = b"".join(store_blobs.pieces(self._device, self.extent(digest)))
        found = Digest.of(data)
        if found != digest:
            raise BlobDamaged(
                "blob does not have its digest",
                where=f"store, {self._blobs[digest].offset}",
                expected=digest.short,
                found=found.short,
                hint="fetch it again",
            )
        return data

    def check(self, digest: Digest) -> bool:
        """Whether flash holds the blob with the right bytes, by reading all of them."""
        extent = self._blobs.get(digest)
        if extent is None:
            return False
        try:
            return store_blobs.hash_extent(self._device, extent) == digest
        except DeviceError:
            return False

    def bad_blobs(self, progress: Progress | None = None) -> list[Digest]:
        """The blobs whose bytes are wrong or cannot be read; reads the whole index in order of place."""
        total = sum(extent.length for extent in self._blobs.values())
        done = 0
        bad: list[Digest] = []
        for digest, extent in sorted(self._blobs.items(), key=lambda item: item[1]):
            if not self.check(digest):
                bad.append(digest)
            done += extent.length
            if progress is not None:
                progress(done, total)
        return bad

    def forget(self, digests: Iterable[Digest]) -> None:
        """Take blobs out of the working index, whether there or not."""
        for digest in digests:
            self._blobs.pop(digest, None)

    def space(self) -> Space:
        """Room for blobs. What only an older state still refers to counts as free: `put` gets at it."""
        taken = [*self._blobs.values(), *self._bad_places]
        return store_places.blob_space(self._device, self._geometry, taken)

    # Documents and transactions

    def document(self, name: str) -> bytes | None:
        """The committed value."""
        return self._documents.get(name)

    def documents(self) -> Mapping[str, bytes]:
        """All committed documents; a view."""
        return MappingProxyType(self._documents)

    def checkpoint(self) -> None:
        """Make the working index durable. Writes nothing when it is."""
        self._commit_if_changed(self._documents, self._blobs)

    def commit(self, changes: Mapping[str, bytes | None], keep: Collection[Digest] | None = None) -> None:
        """Change documents (None removes one) and make the working index durable: all or nothing.

        With `keep`, all other blobs leave the index; UsageError when one to keep is not stored. Keep what is
        still mounted: the places of the others are used again. Writes nothing when nothing changes.
        """
        documents = _changed(self._documents, changes)
        blobs = self._blobs
        if keep is not None:
            missing = sorted(digest for digest in set(keep) if digest not in blobs)
            if missing:
                raise UsageError(
                    "a blob to keep is not in the store", where="store", expected=missing[0].short, found=None
                )
            blobs = {digest: blobs[digest] for digest in keep}
        self._commit_if_changed(documents, blobs)

    def _commit_if_changed(self, documents: dict[str, bytes], blobs: dict[Digest, Extent]) -> None:
        self._need_certainty()
        self._settle()
        committed = self._history[0].snapshot
        if documents != committed.documents or blobs != committed.blobs:
            self._transact(documents, blobs)
        self._blobs = dict(blobs)

    def _transact(self, documents: dict[str, bytes], blobs: dict[Digest, Extent]) -> None:
        sequence = self._highest + 1
        if sequence >= SEQUENCE_END or len(blobs) > MAX_BLOBS or len(documents) > MAX_DOCUMENTS:
            raise UsageError(
                "too much for one store", found=f"{len(blobs)} blobs, {len(documents)} documents"
            )
        snapshot = Snapshot(sequence, dict(blobs), dict(documents))
        raw = snapshot.encode()
        offsets = self._write_snapshot(raw)
        root = Root(
            self._store_id,
            sequence,
            self._geometry,
            self._blob_cursor,
            self._zone_cursor,
            len(raw),
            offsets,
            hashlib.sha256(raw).digest(),
        )
        slot = self._write_root(root)
        self._highest = sequence
        self._history = [Committed(slot, root, snapshot), *self._history[:1]]
        self._documents = dict(documents)
        self._blobs = dict(blobs)

    def _write_root(self, root: Root) -> int:
        """Write it to the next good slot; return that. One passed over may hold the same root too."""
        problem: DeviceError | None = None
        for slot in store_roots.next_slots(self._device, self._history):
            self._in_doubt = True
            try:
                store_roots.write_root(self._device, slot, root)
            except DeviceError as e:
                problem = problem or e
            else:
                self._in_doubt = False
                self._settled = True
                return slot
        raise DeviceError(
            "no good slot for the store's root", where="store", found=problem, hint="the flash is worn out"
        ) from problem

    def _settle(self) -> None:
        """Before the first change of a session: what counts now shall count at the next opening too."""
        if self._settled or not self._history:
            return
        working, current = self._blobs, self._history[0].snapshot
        self._settled = True
        if not store_roots.settle_roots(self._device, self._history):
            self._transact(dict(current.documents), dict(current.blobs))
            self._blobs = working

    def _write_snapshot(self, raw: bytes) -> tuple[int, int]:
        """Write both copies at the same place of the two zones; return their offsets."""
        limit = store_places.max_snapshot(self._device, self._geometry)
        if len(raw) > limit:
            raise NoSpace(
                "index and documents do not fit", where="store", needed=len(raw), free=limit, largest=limit
            )
        problem: DeviceError | None = None
        for _ in range(SNAPSHOT_TRIES):
            taken = [
                *self._bad_zone_places,
                *store_places.bad_in_zones(self._device, self._geometry),
                *store_places.taken_in_zones(self._geometry, self._history),
            ]
            size, unit = self._geometry.zone_size, self._geometry.unit
            there = place(len(raw), taken, 0, size, self._zone_cursor, unit=unit)
            if there is None:
                break
            self._zone_cursor = there.end
            first, second = self._geometry.zones
            offsets = first + there.offset, second + there.offset
            try:
                store_roots.write_snapshot(self._device, raw, offsets)
                return offsets
            except DeviceError as e:
                self._bad_zone_places.add(there)
                problem = e
        raise DeviceError(
            "no good place for the store's index", where="store", found=problem, hint="the flash is worn out"
        ) from problem

    # Space and bytes

    def check_room(self, lengths: Sequence[int], *commits: Mapping[str, bytes | None]) -> None:
        """Whether new blobs of these lengths, put in this order, and then these commits would be taken.

        Writes nothing; raises NoSpace. Not foreseen is flash that refuses a place on the way.
        """
        self._check_index_room(len(self._blobs) + len(lengths), commits)
        now, soon = self._taken_by_blobs(), {*self._blobs.values(), *self._bad_extents()}
        # What only older states refer to is given up at the first need, or by a commit on the way.
        for first in (now, soon):
            placed = self._places(lengths, first, self._blob_cursor)
            cursor = placed[-1].end if placed else self._blob_cursor
            placed += self._places(lengths[len(placed) :], soon.union(placed), cursor)
            if len(placed) < len(lengths):
                space = self.space()
                raise NoSpace(
                    "blobs do not fit",
                    where="store",
                    needed=sum(round_up(length, self._geometry.unit) for length in lengths),
                    free=space.free,
                    largest=space.largest,
                )

    def _check_index_room(self, blobs: int, commits: Iterable[Mapping[str, bytes | None]]) -> None:
        limit, documents = store_places.max_snapshot(self._device, self._geometry), dict(self._documents)
        for changes in ({}, *commits):
            documents = _changed(documents, changes)
            needed = snapshot_length(blobs, documents)
            if needed > limit or blobs > MAX_BLOBS or len(documents) > MAX_DOCUMENTS:
                raise NoSpace(
                    f"index of {blobs} blobs and documents do not fit",
                    where="store",
                    needed=needed,
                    free=limit,
                    largest=limit,
                )

    def _places(self, lengths: Sequence[int], taken: Iterable[Extent], cursor: int) -> list[Extent]:
        g = self._geometry
        return place_all(lengths, taken, g.blobs_start, g.blobs_end, cursor, unit=g.unit)

    def _need_room(self, length: int, what: str) -> None:
        """Raise NoSpace unless there is a gap, or what only older states refer to would make one."""
        if round_up(length, self._geometry.unit) > self.space().largest:
            raise self._no_space(length, what)

    def _no_space(self, length: int, what: str) -> NoSpace:
        space = self.space()
        return NoSpace(
            "blob does not fit", where=f"store, {what}", needed=length, free=space.free, largest=space.largest
        )

    def _reserve(self, length: int, what: str, tried: Collection[Extent] = ()) -> Extent:
        """A place for a blob that is none of those `tried`, which may hold its beginning."""
        self._need_room(length, what)
        for may_reclaim in (True, True, False):
            extent = place(
                length,
                self._taken_by_blobs().union(tried),
                self._geometry.blobs_start,
                self._geometry.blobs_end,
                self._blob_cursor,
                unit=self._geometry.unit,
            )
            if extent is not None:
                self._blob_cursor = extent.end
                return extent
            if may_reclaim:  # only older states stand in the way: let the index of today take their place
                self._transact(self._documents, self._blobs)
        raise self._no_space(length, what)

    def _taken_by_blobs(self) -> set[Extent]:
        taken = {*self._blobs.values(), *self._bad_extents()}
        for committed in self._history:
            taken.update(committed.snapshot.blobs.values())
        return taken

    def _bad_extents(self) -> set[Extent]:
        return self._bad_places.union(store_places.bad_blocks(self._device, self._geometry))

    def _need_certainty(self) -> None:
        if self._in_doubt:
            raise DeviceError(
                "a root could not be written, so it is not known which state counts",
                where="store",
                hint="open the store again",
            )


def _changed(documents: Mapping[str, bytes], changes: Mapping[str, bytes | None]) -> dict[str, bytes]:
    """The documents after a commit. Raises UsageError for what may not be a name."""
    after = dict(documents)
    for name, value in changes.items():
        check_document_name(name)
        if value is None:
            after.pop(name, None)
        else:
            after[name] = bytes(value)
    return after
