"""Brings a catalogue that an older master wrote to today's schemas in one step, and keeps a copy of it.

Knows the file and the list of schemas. Everything is migrated and read in memory before the first byte is
written: a document that cannot be migrated leaves the file as it was.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from firmware_mgr.master.batch import COMMIT, PART
from firmware_mgr.master.binding import BINDING
from firmware_mgr.master.board_wish import BOARD, PREFERENCES
from firmware_mgr.master.card_class import CLASS
from firmware_mgr.master.catalogue_file import prepare_file, storage_errors
from firmware_mgr.master.composite import COMPOSITE
from firmware_mgr.master.documents import CARD, IMAGE, OPERATION, PACKAGE
from firmware_mgr.master.files import sync_directory
from firmware_mgr.master.leases import LEASE
from firmware_mgr.master.record import ENTRY, HEAD_OF_RECORD
from firmware_mgr.master.schema import KIND, Schema
from firmware_mgr.master.site_settings import SETTINGS_SCHEMA
from firmware_mgr.model.errors import FwmgrError, PeerError
from firmware_mgr.model.software import canonical_json

#: Every kind of document that a master writes. What is of no kind of these is left alone.
SCHEMAS: Final[tuple[Schema[Any], ...]] = (
    CARD,
    BINDING,
    CLASS,
    IMAGE,
    PACKAGE,
    OPERATION,
    LEASE,
    ENTRY,
    HEAD_OF_RECORD,
    SETTINGS_SCHEMA,
    BOARD,
    PREFERENCES,
    COMPOSITE,
    PART,
    COMMIT,
)


@dataclass(frozen=True, slots=True)
class Migrated:
    """What was done: how many documents were rewritten, and where the file as it was is kept."""

    documents: int
    backup: Path


def migrate_catalogue(path: Path, schemas: Sequence[Schema[Any]] = SCHEMAS) -> Migrated | None:
    """Rewrite what is not in today's form; None when there is no file yet, or nothing to do.

    The copy is whole and on disk before the first change, and is never overwritten. Raises PeerError or
    UsageError for a document that cannot be read (UsageError also when it is newer), DeviceError for the
    disk; the catalogue is then as it was.
    """
    if not path.exists():
        return None
    with storage_errors(path):
        db = sqlite3.connect(path, isolation_level=None, timeout=0)
        try:
            revision = prepare_file(db, path)
            rows = db.execute("SELECT key, text FROM documents ORDER BY key").fetchall()
            changes = _changes(path, rows, {schema.kind: schema for schema in schemas})
            if not changes:
                return None
            backup = _keep_copy(db, path, revision)
            db.execute("BEGIN IMMEDIATE")
            try:
                statement = "UPDATE documents SET text = ?, revision = ? WHERE key = ?"
                db.executemany(statement, [(text, revision + 1, key) for key, text in changes.items()])
                db.execute("UPDATE counter SET revision = ?", (revision + 1,))
                db.execute("COMMIT")
            except BaseException:
                db.execute("ROLLBACK")
                raise
            return Migrated(len(changes), backup)
        finally:
            db.close()


def _changes(
    path: Path, rows: Sequence[tuple[str, str]], schemas: Mapping[str, Schema[Any]]
) -> dict[str, str]:
    """Key to new text of each document whose text is not what today's master would write."""
    changes = {}
    for key, text in rows:
        try:
            value = json.loads(text)
        except ValueError as e:
            raise PeerError("document is not JSON", where=f"{path}, {key}", found=str(e)) from e
        kind = value.get(KIND) if isinstance(value, dict) else None
        schema = schemas.get(kind) if isinstance(kind, str) else None
        if schema is None:
            continue
        try:
            today = canonical_json(schema.write(schema.read(value, key))).decode()
        except FwmgrError as e:
            raise type(e)(
                e.what,
                where=f"{path}, {e.where}",
                expected=e.expected,
                found=e.found,
                hint=e.hint or "nothing was changed: run the version that wrote it, or restore a backup",
            ) from e
        if canonical_json(value).decode() != today:
            changes[key] = today
    return changes


def _keep_copy(db: sqlite3.Connection, path: Path, revision: int) -> Path:
    """A copy named by the revision, readable by the owner alone; one that exists is whole and stays."""
    target = path.with_name(f"{path.stem}-before-{revision}{path.suffix}")
    if target.exists():
        return target
    draft = target.with_name(f".{target.name}.draft")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    copy = sqlite3.connect(draft)
    try:
        db.backup(copy)
    finally:
        copy.close()
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(target)
    sync_directory(target.parent)
    return target
