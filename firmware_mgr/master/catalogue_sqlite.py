"""The catalogue in one SQLite file: the default. Survives kill -9 and power cuts at any instruction.

Knows SQL and one worker thread, on which every call runs: a commit waits for the disk, and the event
loop must not (docs/CATALOGUE.md). Knows nothing of what documents mean.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

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
from firmware_mgr.master.catalogue_file import backup_to, create_private, prepare_file, storage_errors
from firmware_mgr.master.catalogue_history import HISTORY_LENGTH, History

_COLUMNS: Final = "key, text, revision, created, lease"

T = TypeVar("T")
#: Tells watchers of a commit.
Publish = Callable[[Commit], None]


class SqliteCatalogue:
    """Opens or creates the file `path`; `clock`, read on the worker, gives seconds that never run backwards.

    Raises UsageError when the file is no catalogue, is newer, or another process has it, and DeviceError
    when it is damaged or the disk fails.
    """

    def __init__(self, path: Path, clock: Callable[[], float], history_length: int = HISTORY_LENGTH) -> None:
        self._path = path
        self._clock = clock
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="catalogue")
        try:
            self._db, revision, self._deadlines = self._worker.submit(self._open).result()
        except BaseException:
            self._worker.shutdown()
            raise
        self._history = History(revision, history_length)

    async def get(self, key: str) -> Document | None:
        check_key(key)
        return await self._call(lambda _: self._get(key))

    async def list(self, prefix: str) -> Listing:
        check_prefix(prefix)
        return await self._call(lambda _: self._list(prefix))

    async def transact(self, conditions: Sequence[Condition], changes: Sequence[Put | Delete]) -> int:
        prepared = prepare(conditions, changes)
        return await self._call(lambda publish: self._transact(prepared, publish))

    def watch(self, prefix: str, after: int) -> AsyncIterator[Commit]:
        return self._history.watch(prefix, after)

    async def grant(self, seconds: float) -> int:
        check_seconds(seconds)
        return await self._call(lambda _: self._grant(seconds))

    async def keep_alive(self, lease: int) -> None:
        await self._call(lambda _: self._keep_alive(lease))

    async def expire(self) -> float | None:
        """Remove what has lapsed, for watchers' sake; the seconds until the next lease lapses, or None."""
        return await self._call(lambda _: self._until_next_deadline())

    async def snapshot(self, target: Path) -> int:
        """Write a whole copy, as it is at one moment, to the file `target`; its revision."""
        return await self._call(lambda _: self._snapshot(target))

    def close(self) -> None:
        """Finish the calls under way, then let go of the file; watches end."""
        self._worker.submit(self._db.close)
        self._worker.shutdown()
        self._history.close()

    async def _call(self, work: Callable[[Publish], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, self._on_worker, work, self._publisher(loop))

    def _publisher(self, loop: asyncio.AbstractEventLoop) -> Publish:
        # On the loop: in commit order, ahead of the caller's wake-up, and also when the caller was cancelled.

        def publish(commit: Commit) -> None:
            loop.call_soon_threadsafe(self._history.publish, commit)

        return publish

    # From here on: on the worker thread.

    def _on_worker(self, work: Callable[[Publish], T], publish: Publish) -> T:
        with storage_errors(self._path):
            self._remove_lapsed(publish)
            return work(publish)

    def _open(self) -> tuple[sqlite3.Connection, int, dict[int, float]]:
        with storage_errors(self._path):
            create_private(self._path)
            db = sqlite3.connect(self._path, isolation_level=None, timeout=0)
            try:
                return db, prepare_file(db, self._path), self._fresh_deadlines(db)
            except BaseException:
                db.close()
                raise

    def _fresh_deadlines(self, db: sqlite3.Connection) -> dict[int, float]:
        now = self._clock()
        return {number: now + seconds for number, seconds in db.execute("SELECT number, seconds FROM leases")}

    def _get(self, key: str) -> Document | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM documents WHERE key = ?", (key,)).fetchone()
        return None if row is None else Document(*row)

    def _list(self, prefix: str) -> Listing:
        # A prefix ends in "/", and "0" is the character after it.
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM documents WHERE key >= ? AND (? = '' OR key < ?) ORDER BY key",
            (prefix, prefix, prefix[:-1] + "0"),
        )
        return Listing(tuple(Document(*row) for row in rows), self._revision())

    def _transact(self, prepared: Prepared, publish: Publish) -> int:
        with self._transaction():
            revision = self._revision() + 1
            for condition in prepared.conditions:
                found = self._get(condition.key)
                at = ABSENT if found is None else found.revision
                if at != condition.revision:
                    raise Conflict(condition.key, condition.revision, at)
            changes = [self._put(key, text, lease, revision) for key, text, lease in prepared.puts]
            changes += self._delete(prepared.deletes)
            self._count(revision, changes)
        return self._publish(revision, changes, publish)

    def _put(self, key: str, text: str, lease: int | None, revision: int) -> Change:
        if lease is not None and lease not in self._deadlines:
            raise LeaseGone(lease)
        self._db.execute(
            f"INSERT INTO documents ({_COLUMNS}) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
            " text = excluded.text, revision = excluded.revision, lease = excluded.lease",
            (key, text, revision, revision, lease),
        )
        return Change(key, self._get(key))

    def _delete(self, keys: Iterable[str]) -> Sequence[Change]:
        return [
            Change(key, None)
            for key in keys
            if self._db.execute("DELETE FROM documents WHERE key = ?", (key,)).rowcount
        ]

    def _grant(self, seconds: float) -> int:
        with self._transaction():
            number = self._db.execute("INSERT INTO leases (seconds) VALUES (?)", (seconds,)).lastrowid
        assert number is not None
        self._deadlines[number] = self._clock() + seconds
        return number

    def _keep_alive(self, lease: int) -> None:
        row = self._db.execute("SELECT seconds FROM leases WHERE number = ?", (lease,)).fetchone()
        if row is None:
            raise LeaseGone(lease)
        self._deadlines[lease] = self._clock() + row[0]

    def _remove_lapsed(self, publish: Publish) -> None:
        now = self._clock()
        lapsed = [number for number, deadline in self._deadlines.items() if deadline <= now]
        if not lapsed:
            return
        with self._transaction():
            revision = self._revision() + 1
            changes: list[Change] = []
            for number in lapsed:
                keys = self._db.execute("SELECT key FROM documents WHERE lease = ?", (number,)).fetchall()
                changes += self._delete(key for (key,) in keys)
                self._db.execute("DELETE FROM leases WHERE number = ?", (number,))
            self._count(revision, changes)
        for number in lapsed:
            del self._deadlines[number]
        self._publish(revision, changes, publish)

    def _snapshot(self, target: Path) -> int:
        backup_to(self._db, target)
        return self._revision()

    def _until_next_deadline(self) -> float | None:
        now = self._clock()
        return min((deadline - now for deadline in self._deadlines.values()), default=None)

    def _revision(self) -> int:
        revision: int = self._db.execute("SELECT revision FROM counter").fetchone()[0]
        return revision

    def _count(self, revision: int, changes: Sequence[Change]) -> None:
        if changes:
            self._db.execute("UPDATE counter SET revision = ?", (revision,))

    def _publish(self, revision: int, changes: Sequence[Change], publish: Publish) -> int:
        if not changes:
            return revision - 1
        publish(Commit(revision, tuple(sorted(changes, key=lambda change: change.key))))
        return revision

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
