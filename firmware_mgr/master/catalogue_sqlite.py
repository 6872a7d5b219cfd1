"""The catalogue in one SQLite file: the default. Survives kill -9 and power cuts at any instruction.

Knows SQL and one worker thread, on which every call runs: a commit waits for the disk, and the event
loop must not (docs/CATALOGUE.md). Knows nothing of what documents mean.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

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
from firmware_mgr.model.errors import DeviceError, UsageError

#: PRAGMA application_id: "fwmC", so that a foreign database is never taken for a catalogue.
APPLICATION_ID: Final = 0x66776D43
#: PRAGMA user_version: the layout of the tables. The documents in them carry schema numbers of their own.
LAYOUT_VERSION: Final = 1

_LAYOUT: Final = (
    "CREATE TABLE counter (revision INTEGER NOT NULL)",
    "INSERT INTO counter VALUES (0)",
    "CREATE TABLE leases (number INTEGER PRIMARY KEY AUTOINCREMENT, seconds REAL NOT NULL)",
    "CREATE TABLE documents (key TEXT PRIMARY KEY, text TEXT NOT NULL, revision INTEGER NOT NULL,"
    " created INTEGER NOT NULL, lease INTEGER) WITHOUT ROWID",
    "CREATE INDEX documents_by_lease ON documents (lease) WHERE lease IS NOT NULL",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {LAYOUT_VERSION}",
)
_COLUMNS: Final = "key, text, revision, created, lease"

T = TypeVar("T")


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

    def close(self) -> None:
        """Finish the calls under way, then let go of the file; watches end."""
        self._worker.submit(self._db.close)
        self._worker.shutdown()
        self._history.close()

    # From here on: on the worker thread, except _call.

    async def _call(self, work: Callable[[Callable[[Commit], None]], T]) -> T:
        loop = asyncio.get_running_loop()

        def publish(commit: Commit) -> None:
            # Ahead of the caller's own wake-up, in commit order, and also when the caller has been cancelled.
            loop.call_soon_threadsafe(self._history.publish, commit)

        def on_worker() -> T:
            with _storage_errors(self._path):
                self._remove_lapsed(publish)
                return work(publish)

        return await loop.run_in_executor(self._worker, on_worker)

    def _open(self) -> tuple[sqlite3.Connection, int, dict[int, float]]:
        with _storage_errors(self._path):
            _create_private(self._path)
            db = sqlite3.connect(self._path, isolation_level=None, timeout=0)
            try:
                return db, _prepare_file(db, self._path), self._fresh_deadlines(db)
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

    def _transact(self, prepared: Prepared, publish: Callable[[Commit], None]) -> int:
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

    def _remove_lapsed(self, publish: Callable[[Commit], None]) -> None:
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

    def _until_next_deadline(self) -> float | None:
        now = self._clock()
        return min((deadline - now for deadline in self._deadlines.values()), default=None)

    def _revision(self) -> int:
        revision: int = self._db.execute("SELECT revision FROM counter").fetchone()[0]
        return revision

    def _count(self, revision: int, changes: Sequence[Change]) -> None:
        if changes:
            self._db.execute("UPDATE counter SET revision = ?", (revision,))

    def _publish(self, revision: int, changes: Sequence[Change], publish: Callable[[Commit], None]) -> int:
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


def _prepare_file(db: sqlite3.Connection, path: Path) -> int:
    """Make the connection durable and exclusive and the tables present; returns the revision."""
    for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("BEGIN EXCLUSIVE")
    found = tuple(_single(db, f"PRAGMA {name}") for name in ("application_id", "user_version"))
    if found == (0, 0) and _single(db, "SELECT count(*) FROM sqlite_schema") == 0:
        for statement in _LAYOUT:
            db.execute(statement)
    elif found[0] != APPLICATION_ID:
        raise UsageError("not a catalogue, but a database of something else", where=str(path))
    elif found[1] != LAYOUT_VERSION:
        raise UsageError(
            "the catalogue was written by another version of fwmgr",
            where=str(path),
            expected=f"layout {LAYOUT_VERSION}",
            found=f"layout {found[1]}",
        )
    db.execute("COMMIT")
    check = _single(db, "PRAGMA quick_check(1)")
    if check != "ok":
        raise DeviceError("the catalogue is damaged", where=str(path), found=check, hint="restore a backup")
    return int(_single(db, "SELECT revision FROM counter"))


def _single(db: sqlite3.Connection, statement: str) -> Any:
    return db.execute(statement).fetchone()[0]


def _create_private(path: Path) -> None:
    """An empty file readable by nobody else, and its name safe on disk; an existing one is left as it is."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """The one place where SQLite's and the system's errors become ours."""
    try:
        yield
    except sqlite3.OperationalError as e:
        if e.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UsageError(
                "the catalogue is in use by another process",
                where=str(path),
                hint="is a master already running?",
            ) from e
        raise DeviceError("the catalogue cannot be read or written", where=str(path), found=e) from e
    except (sqlite3.Error, OSError) as e:
        raise DeviceError("the catalogue cannot be read or written", where=str(path), found=e) from e
