"""The store's operations, and what must be seen of a store: one whole state, and the one before."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

from firmware_mgr.flash.store_geometry import MIN_STORE_SIZE
from firmware_mgr.model.ids import Digest
from tests.flash.powercut.house import House
from tests.flash.powercut.medium import Medium, Powered
from tests.flash.powercut.operation import Broken, Operation

SIZE = MIN_STORE_SIZE
ID, OTHER_ID = bytes(range(16)), bytes(16)
NOTHING = "no store"


def content(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


A, B, C, D = content(1, 5000), content(2, 700), content(3, 9000), content(4, 300)
#: FILL takes nearly all room; BIG fits only where OLD was.
FILL, OLD, BIG = content(5, 358 * 4096), content(6, 6 * 4096), content(7, 7 * 4096 - 100)


def put(store: Any, data: bytes) -> None:
    store.put(Digest.of(data), len(data), [data])


def _digests(*blobs: bytes) -> list[Digest]:
    return [Digest.of(blob) for blob in blobs]


def install(store: Any) -> None:
    """Blobs that are missing, then the documents that go with them."""
    put(store, C)
    put(store, D)
    store.commit({"set/2": b"C, D", "stored": b"2"})


def activate(store: Any) -> None:
    """Another set counts."""
    store.commit({"stored": b"2"})


def commit(store: Any) -> None:
    """What counts becomes what is booted; what no set needs is no longer spoken of."""
    store.commit({"validated": b"1", "note": None})


def regress(store: Any) -> None:
    """The set before counts again; the one that was stored is dropped, its blobs stay for now."""
    store.commit({"stored": b"0", "set/1": None})


def collect(store: Any) -> None:
    """Blobs that no set needs leave the index; then one takes their room."""
    store.commit({}, keep=[digest for digest in _digests(B, D) if store.has(digest)])
    put(store, D)
    store.commit({"stored": b"2"})


def checkpoint(store: Any) -> None:
    """Half of an install, made durable."""
    put(store, C)
    store.checkpoint()
    put(store, D)
    store.checkpoint()


def reclaim(store: Any) -> None:
    """Room is short: the store commits by itself until the fallback needs it no more."""
    store.forget(_digests(OLD))
    put(store, BIG)
    store.commit({"set/2": b"BIG", "stored": b"2"})


def mend(store: Any) -> None:
    """Blobs that were damaged get a new place."""
    bad = store.bad_blobs()
    store.forget(bad)
    for blob in (A, B):
        if Digest.of(blob) in bad:
            put(store, blob)
    store.commit({"mended": b"yes"})


@dataclass(frozen=True)
class Stores:
    """The operations on stores of this house."""

    house: House

    @property
    def _store(self) -> Any:
        return self.house.flash("store").Store

    def opened(self, device: Powered) -> Any:
        return self._store.open(device)

    def look(self, device: Powered) -> Hashable:
        """Documents and blobs; each blob has its bytes; the state before is whole too."""
        store = self.opened(device)
        self._need_whole(device, store.blobs(), "the current state")
        history = store._history
        if len(history) < 2 or history[1].root.sequence != history[0].root.sequence - 1:
            raise Broken(f"no way back: {[committed.root.sequence for committed in history]}")
        before = history[1].snapshot.blobs
        others = {digest: before[digest] for digest in before if before[digest] != store.blobs().get(digest)}
        self._need_whole(device, others, "the state before")
        return self._view(store)

    def look_perhaps(self, device: Powered) -> Hashable:
        """The same where there may be no store, or none before it."""
        errors = self.house.flash("errors")
        try:
            store = self.opened(device)
        except (errors.StoreMissing, errors.StoreDamaged):
            return NOTHING
        self._need_whole(device, store.blobs(), "the current state")
        return self._view(store)

    def _view(self, store: Any) -> Hashable:
        space = store.space()
        return (
            store.store_id,
            tuple(sorted(store.documents().items())),
            tuple(sorted(digest.short for digest in store.blobs())),
            space.free,
        )

    def _need_whole(self, device: Powered, blobs: Any, which: str) -> None:
        hash_extent = self.house.flash("store_blobs").hash_extent
        for digest, extent in blobs.items():
            if hash_extent(device, extent) != digest:
                raise Broken(f"a mix: blob {digest.short} of {which} has other bytes")

    # Media to start from

    def _made(self, *steps: Callable[[Any], object]) -> Medium:
        """A store that has gone through these sessions, each ended at leisure."""
        device = Powered(Medium(bytes(SIZE)), sites=False)
        self._store.format(device, store_id=ID)
        for step in steps:
            step(self.opened(device))
        return Medium(device.medium.contents())

    def used(self) -> Medium:
        """Two blobs, two sets, some transactions old."""

        def first(store: Any) -> None:
            put(store, A)
            store.commit({"set/0": b"A", "stored": b"0", "note": b"x"})

        def second(store: Any) -> None:
            put(store, B)
            store.commit({"set/1": b"A, B", "stored": b"1"})

        return self._made(first, second)

    def round_the_ring(self) -> Medium:
        """Every slot of the ring has been used, and the next root overwrites an old one."""

        def turn(number: int) -> Callable[[Any], None]:
            return lambda store: store.commit({"turn": b"%d" % number, "note": b"x"})

        def both(store: Any) -> None:
            put(store, A)
            store.commit({"set/0": b"A"})
            put(store, B)
            store.commit({"set/1": b"B"})

        return self._made(both, *(turn(number) for number in range(9)))

    def short_of_room(self) -> Medium:
        def fill(store: Any) -> None:
            put(store, A)
            put(store, FILL)
            put(store, OLD)
            store.commit({"set/1": b"OLD", "stored": b"1"})
            store.commit({"note": b"x"})

        return self._made(fill)

    def damaged(self) -> Medium:
        medium = self.used()
        device = Powered(medium)
        extent = self.opened(device).extent(Digest.of(A))
        spoilt = bytearray(medium.contents())
        spoilt[extent.offset + 600] ^= 4
        return Medium(bytes(spoilt))

    # Operations

    def _on(self, name: str, start: Callable[[], Medium], act: Callable[[Any], None]) -> Operation:
        return Operation(f"store.{name}", start, lambda device: act(self.opened(device)), self.look)

    def format(self, device: Powered) -> None:
        """As the agent does: a store that can be opened is left alone, unless it is not the one wanted."""
        errors = self.house.flash("errors")
        try:
            store = self.opened(device)
            if store.store_id == OTHER_ID:
                store.checkpoint()
                return
        except (errors.StoreMissing, errors.StoreDamaged):
            pass
        self._store.format(device, store_id=OTHER_ID)

    def operations(self) -> list[Operation]:
        return [
            self._on("install", self.used, install),
            self._on("install round the ring", self.round_the_ring, install),
            self._on("activate", self.used, activate),
            self._on("commit", self.round_the_ring, commit),
            self._on("regress", self.used, regress),
            self._on("collect", self.used, collect),
            self._on("checkpoint", self.used, checkpoint),
            Operation(
                "store.format empty flash",
                lambda: Medium(bytes(SIZE)),
                self.format,
                self.look_perhaps,
            ),
            Operation("store.format over a store", self.used, self.format, self.look_perhaps),
            Operation("store.mend", self.damaged, lambda d: mend(self.opened(d)), self.look_mending),
            replace(self._on("reclaim", self.short_of_room, reclaim), weight=0.1),
        ]

    def look_mending(self, device: Powered) -> Hashable:
        """One blob was damaged beforehand; all others are whole."""
        store = self.opened(device)
        bad = [digest.short for digest in store.bad_blobs()]
        if bad not in ([], [Digest.of(A).short]):
            raise Broken(f"damaged: {bad}")
        return (*self._view(store), tuple(bad))  # type: ignore[misc]


def store_operations(house: House) -> list[Operation]:
    return Stores(house).operations()
