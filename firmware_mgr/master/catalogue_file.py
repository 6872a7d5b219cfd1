"""The SQLite file of a catalogue: its tables, how it is opened, and its errors.

Knows the file and its layout number. Knows no documents.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from firmware_mgr.master.files import sync_directory
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


def prepare_file(db: sqlite3.Connection, path: Path) -> int:
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


def create_private(path: Path) -> None:
    """An empty file readable by nobody else, and its name safe on disk; an existing one is left as it is."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    sync_directory(path.parent)


def backup_to(db: sqlite3.Connection, target: Path) -> None:
    """Copy an open database into a new private file, as it is in this moment (SQLite's backup API)."""
    target.unlink(missing_ok=True)
    create_private(target)
    copy = sqlite3.connect(target)
    try:
        db.backup(copy)
        # One file and no log beside it.
        copy.execute("PRAGMA journal_mode = DELETE")
    finally:
        copy.close()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
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
