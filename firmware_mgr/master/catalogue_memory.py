"""The catalogue in memory: the twin that tests run on. Nothing outlives the process.

Stricter than the others: every call lets other tasks run before and after it, so that a caller who
relies on two calls being one is found out, and a short history can be asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from firmware_mgr.master.catalogue import (
    ABSENT,
    Change,
    Commit,
    Condition,
    Conflict,
    Delete,
    Document,
    LeaseGone,
    Listing,
    Prepared,
    Put,
    check_key,
    check_prefix,
    check_seconds,
    prepare,
)
from firmware_mgr.master.catalogue_history import HISTORY_LENGTH, History


@dataclass(frozen=True, slots=True)
class _Lease:
    seconds: float
    deadline: float


class MemoryCatalogue:
    """`clock` gives seconds that never run backwards."""

    def __init__(self, clock: Callable[[], float], history_length: int = HISTORY_LENGTH) -> None:
        self._clock = clock
        self._documents: dict[str, Document] = {}
        self._leases: dict[int, _Lease] = {}
        self._granted = 0
        self._revision = 0
        self._history = History(0, history_length)

    async def get(self, key: str) -> Document | None:
        await self._begin()
        found = self._documents.get(check_key(key))
        await asyncio.sleep(0)
        return found

    async def list(self, prefix: str) -> Listing:
        await asyncio.sleep(0)
        check_prefix(prefix)
        self._remove_lapsed()
        keys = sorted(key for key in self._documents if key.startswith(prefix))
        listing = Listing(tuple(self._documents[key] for key in keys), self._revision)
        await asyncio.sleep(0)
        return listing

    async def transact(self, conditions: Sequence[Condition], changes: Sequence[Put | Delete]) -> int:
        prepared = prepare(conditions, changes)  # as they are now, whatever becomes of them
        await asyncio.sleep(0)
        revision = self._transact(prepared)
        await asyncio.sleep(0)
        return revision

    def _transact(self, prepared: Prepared) -> int:
        self._remove_lapsed()
        for condition in prepared.conditions:
            found = self._documents.get(condition.key)
            revision = ABSENT if found is None else found.revision
            if revision != condition.revision:
                raise Conflict(condition.key, condition.revision, revision)
        for _, _, lease in prepared.puts:
            if lease is not None and lease not in self._leases:
                raise LeaseGone(lease)
        revision = self._revision + 1
        made = []
        for key, text, lease in prepared.puts:
            before = self._documents.get(key)
            created = revision if before is None else before.created
            made.append(Change(key, Document(key, text, revision, created, lease)))
        made += [Change(key, None) for key in prepared.deletes if key in self._documents]
        self._commit(made)
        return self._revision

    def watch(self, prefix: str, after: int) -> AsyncIterator[Commit]:
        return self._history.watch(prefix, after)

    async def grant(self, seconds: float) -> int:
        check_seconds(seconds)
        await self._begin()
        self._granted += 1
        self._leases[self._granted] = _Lease(seconds, self._clock() + seconds)
        return self._granted

    async def keep_alive(self, lease: int) -> None:
        await self._begin()
        if lease not in self._leases:
            raise LeaseGone(lease)
        seconds = self._leases[lease].seconds
        self._leases[lease] = _Lease(seconds, self._clock() + seconds)

    async def expire(self) -> float | None:
        """Remove what has lapsed, for watchers' sake; the seconds until the next lease lapses, or None."""
        await self._begin()
        now = self._clock()
        return min((lease.deadline - now for lease in self._leases.values()), default=None)

    def close(self) -> None:
        self._history.close()

    async def _begin(self) -> None:
        await asyncio.sleep(0)
        self._remove_lapsed()

    def _remove_lapsed(self) -> None:
        now = self._clock()
        lapsed = {number for number, lease in self._leases.items() if lease.deadline <= now}
        self._commit([Change(d.key, None) for d in self._documents.values() if d.lease in lapsed])
        for number in lapsed:
            del self._leases[number]

    def _commit(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        self._revision += 1
        for change in changes:
            if change.document is None:
                del self._documents[change.key]
            else:
                self._documents[change.key] = change.document
        ordered = tuple(sorted(changes, key=lambda change: change.key))
        self._history.publish(Commit(self._revision, ordered))
