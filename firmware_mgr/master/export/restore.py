"""A master's directory from an export: unpacked aside, checked whole, then put in place in one step.

Knows directories and what makes a master whole: catalogue, blobs, authority. Until the last step nothing
that was there is touched; if power fails, the old directory is there or the new one, and
perhaps a draft beside it.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firmware_mgr.master.catalogue_file import prepare_file, storage_errors
from firmware_mgr.master.export.archive import ArchiveReader, Progress
from firmware_mgr.master.export.contents import Contents
from firmware_mgr.master.export.references import check_references
from firmware_mgr.master.files import disk_errors, sync_directory
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.master.trust import Authority, key_fingerprint, open_record_key
from firmware_mgr.model.errors import PeerError, UsageError

#: renameat2(2)
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


@dataclass(frozen=True, slots=True)
class Restored:
    """`replaced` is where the directory that was there before is kept."""

    contents: Contents
    replaced: Path | None


def check_target(directory: Path, *, replace: bool) -> None:
    """Raises UsageError when an import may not go there."""
    with disk_errors("cannot look at the master's directory", directory):
        if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
            raise UsageError("not a directory", where=str(directory))
        if directory.is_dir() and any(directory.iterdir()) and not replace:
            raise UsageError(
                "there is a master already",
                where=str(directory),
                expected="no directory, or an empty one",
                hint="another --dir, or --replace, which keeps the old one beside it",
            )
    if (directory / "catalogue.sqlite").exists():
        _check_not_running(directory)


def _check_not_running(directory: Path) -> None:
    """Raises UsageError when a master has its catalogue open."""
    path = MasterPaths(directory).catalogue
    with storage_errors(path):
        db = sqlite3.connect(path, isolation_level=None, timeout=0)
        try:
            db.execute("BEGIN EXCLUSIVE")
            db.execute("ROLLBACK")
        except sqlite3.DatabaseError as e:
            if e.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            # A damaged catalogue is what an import replaces.
        finally:
            db.close()


def restore(
    archive: ArchiveReader, directory: Path, *, replace: bool = False, progress: Progress = lambda _: None
) -> Restored:
    """Put the export in place as `directory`. Raises FwmgrError; nothing is changed then."""
    directory = directory.absolute()
    check_target(directory, replace=replace)
    with disk_errors("cannot write the master's directory", directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        draft = directory.with_name(f".{directory.name}.import-{secrets.token_hex(6)}")
        draft.mkdir(mode=0o700)
        try:
            unpack(archive, draft, progress)
            check_whole(MasterPaths(draft), archive.contents)
            _give_to_owner(draft, directory)
            check_target(directory, replace=replace)
            return Restored(archive.contents, _put_in_place(draft, directory))
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def unpack(archive: ArchiveReader, folder: Path, progress: Progress) -> None:
    """Write every file into the folder, synced. Names have been checked with the contents."""
    folders = {folder}
    for file, chunks in archive.files():
        path = folder / file.path
        if path.parent not in folders:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folders.update(parent for parent in path.parents if parent.is_relative_to(folder))
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            for chunk in chunks:
                out.write(chunk)
                progress(len(chunk))
            out.flush()
            os.fchmod(out.fileno(), file.mode)
            os.fsync(out.fileno())
    for made in folders:
        sync_directory(made)


def check_whole(paths: MasterPaths, contents: Contents) -> None:
    """The catalogue is sound, all blobs it names are there, the keys belong together. Raises FwmgrError."""
    authority = Authority.load(paths.authority)
    site = key_fingerprint(authority.certificate.public_key())
    if site != contents.site:
        raise PeerError("the authority is another", where="contents", expected=contents.site, found=site)
    open_record_key(paths.authority)
    with storage_errors(paths.catalogue):
        db = sqlite3.connect(paths.catalogue, isolation_level=None, timeout=0)
        try:
            revision = prepare_file(db, paths.catalogue)
            rows = db.execute("SELECT key, text FROM documents ORDER BY key").fetchall()
            db.execute("PRAGMA locking_mode = NORMAL")
            db.execute("PRAGMA journal_mode = DELETE")
        finally:
            db.close()
    if revision != contents.revision:
        raise PeerError(
            "the catalogue is another", where="contents", expected=contents.revision, found=revision
        )
    check_references(rows, {file.path for file in contents.files})


def _give_to_owner(draft: Path, directory: Path) -> None:
    """Root restores for whom the directory, or the one above it, belongs to."""
    if os.geteuid() != 0:
        return
    owner = (directory if directory.exists() else directory.parent).stat()
    for path in (draft, *draft.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _put_in_place(draft: Path, directory: Path) -> Path | None:
    """Returns where the directory that was there is kept; an empty one is not kept."""
    old: Path | None = None
    if not directory.exists():
        draft.rename(directory)
    elif not any(directory.iterdir()):
        draft.rename(directory)  # rename(2) replaces an empty directory
    else:
        old = _kept_name(directory)
        _exchange(draft, directory)
        draft.rename(old)
    sync_directory(directory.parent)
    return old


def _kept_name(directory: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = [
        directory.with_name(f"{directory.name}.before-import-{stamp}{tail}") for tail in ("", "-2", "-3")
    ]
    return next(name for name in names if not name.exists())


def _exchange(one: Path, other: Path) -> None:
    """Swap two names in one step, so that there is never a moment without a directory."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))
