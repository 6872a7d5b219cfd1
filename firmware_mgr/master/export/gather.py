"""What of a master's directory goes into an export, and its catalogue as it was at one moment.

Knows the directory and one general rule: every file goes along, but for sockets, logs, drafts (names that
begin with a dot), older catalogues that a migration kept, and what is not finished yet. Knows no envelope.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import BinaryIO, Final

from firmware_mgr.master.catalogue_file import backup_to, prepare_file, storage_errors
from firmware_mgr.master.export.contents import CATALOGUE, Contents, ExportedFile
from firmware_mgr.master.export.references import check_references
from firmware_mgr.master.files import disk_errors
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.master.trust import Authority, key_fingerprint
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest

#: Relative to the master's directory.
_LEFT_OUT: Final = ("blobs/blobs/incoming",)
_LOG: Final = ".log"
#: Every file whose name begins so is the catalogue, its write-ahead log, or an older one.
_CATALOGUES: Final = ("catalogue.sqlite", "catalogue-before-")


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is to be exported, and where each file's bytes are."""

    contents: Contents
    paths: dict[str, Path]

    def open(self, file: ExportedFile) -> BinaryIO:
        path = self.paths[file.path]
        with disk_errors("cannot read a file of the master", path):
            return path.open("rb")


def gather(
    paths: MasterPaths, snapshot: Path, made_at: int, progress: Callable[[int], None] = lambda _: None
) -> Gathered:
    """Read all files through for their digests. `snapshot` is a whole copy of the catalogue.

    Files that are added meanwhile may or may not be among them; what the snapshot refers to is, since files
    are written before the documents that name them. One that was removed meanwhile ends it with PeerError.
    Raises UsageError for what cannot be exported, DeviceError for the disk.
    """
    authority = Authority.load(paths.authority)
    found = {CATALOGUE: snapshot, **dict(_files(paths.directory, paths.directory, frozenset()))}
    check_references(_documents(snapshot), found)
    files = tuple(_described(name, found[name], progress) for name in sorted(found))
    site = key_fingerprint(authority.certificate.public_key())
    revision = snapshot_revision(snapshot)
    return Gathered(Contents(made_at, metadata.version("fwmgr"), site, revision, files), found)


def total_length(paths: MasterPaths) -> int:
    """About how many bytes there are to read: for progress."""
    return sum(path.stat().st_size for _, path in _files(paths.directory, paths.directory, frozenset()))


def _files(top: Path, folder: Path, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, Path]]:
    """Every file of the rule, by its name relative to `top`; links are followed, but never in a circle."""
    with disk_errors("cannot read the master's directory", folder):
        try:
            here = folder.stat()
            entries = sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError) as e:
            raise UsageError("there is no master's directory", where=str(folder)) from e
        if (here.st_dev, here.st_ino) in above:
            return
        above |= {(here.st_dev, here.st_ino)}
        for path in entries:
            name = path.relative_to(top).as_posix()
            if path.name.startswith(".") or name in _LEFT_OUT or name.startswith(_CATALOGUES):
                continue
            try:
                mode = path.stat().st_mode
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(mode):
                yield from _files(top, path, above)
            elif stat.S_ISREG(mode) and not (path.parent == top and _LOG in path.name):
                yield name, path


def _described(name: str, path: Path, progress: Callable[[int], None]) -> ExportedFile:
    with disk_errors("cannot read a file of the master", path), path.open("rb") as file:
        status = os.fstat(file.fileno())
        hasher, length = hashlib.sha256(), 0
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
            length += len(chunk)
            progress(len(chunk))
    return ExportedFile(name, length, stat.S_IMODE(status.st_mode) & 0o777, Digest(hasher.hexdigest()))


def copy_catalogue(path: Path, target: Path) -> None:
    """A whole copy of the catalogue of a master that does not run. Raises UsageError when one has it open."""
    if not path.is_file():
        raise UsageError("there is no catalogue", where=str(path), hint="is this a master's directory?")
    with storage_errors(path):
        db = sqlite3.connect(path, isolation_level=None, timeout=0)
        try:
            prepare_file(db, path)
            backup_to(db, target)
        finally:
            db.close()


def _documents(path: Path) -> list[tuple[str, str]]:
    with storage_errors(path):
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return db.execute("SELECT key, text FROM documents ORDER BY key").fetchall()
        finally:
            db.close()


def snapshot_revision(path: Path) -> int:
    with storage_errors(path):
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            revision: int = db.execute("SELECT revision FROM counter").fetchone()[0]
            return revision
        finally:
            db.close()
