"""An export as a file: written aside and renamed, opened with or without a passphrase.

Knows files and names. Knows not what is exported.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from firmware_mgr.master.export.archive import ZSTD_MAGIC, ArchiveReader, Progress, write_archive
from firmware_mgr.master.export.gather import Gathered
from firmware_mgr.master.export.seal import COST, MAGIC, Cost, Readable, SealedReader, SealedWriter
from firmware_mgr.master.files import disk_errors, sync_directory
from firmware_mgr.model.errors import PeerError, UsageError


def write_export(
    target: Path,
    gathered: Gathered,
    passphrase: str | None,
    *,
    replace: bool = False,
    cost: Cost = COST,
    progress: Progress = lambda _: None,
) -> int:
    """Write the file, for its owner alone; its length in bytes. Without a passphrase it is not sealed.

    Whatever breaks it off leaves what was at `target` as it was. Raises UsageError when something is there
    and may not be replaced.
    """
    with disk_errors("cannot write the export", target):
        if target.exists() and not replace:
            raise UsageError("there is a file already", where=str(target), hint="another name, or --replace")
        if not target.parent.is_dir():
            raise UsageError("there is no such folder", where=str(target.parent))
        draft = target.with_name(f".{target.name}.{secrets.token_hex(6)}.partial")
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as out:
                _write(out, gathered, passphrase, cost, progress)
                out.flush()
                os.fsync(out.fileno())
                length = out.tell()
            if replace:
                draft.replace(target)
            else:
                _place(draft, target)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(target.parent)
    return length


def _place(draft: Path, target: Path) -> None:
    """Unlike a rename, a link never replaces what came to be there meanwhile."""
    try:
        os.link(draft, target)
    except FileExistsError as e:
        raise UsageError("there is a file already", where=str(target), hint="another name") from e


def _write(out: BinaryIO, gathered: Gathered, passphrase: str | None, cost: Cost, progress: Progress) -> None:
    if passphrase is None:
        write_archive(out, gathered.contents, gathered.open, progress)
        return
    sealed = SealedWriter(out, passphrase, cost)
    write_archive(sealed, gathered.contents, gathered.open, progress)
    sealed.finish()


def is_sealed(path: Path) -> bool:
    """Whether a passphrase is needed. Raises PeerError when the file is no export at all."""
    with _opened(path) as file:
        magic = file.read(len(MAGIC))
    if not magic.startswith(ZSTD_MAGIC) and magic != MAGIC:
        raise PeerError(
            "not an export of a master",
            where=f"{path}, bytes 0 to {len(MAGIC) - 1}",
            expected=f"{MAGIC!r}, or the beginning of a zstd frame",
            found=repr(magic),
        )
    return magic == MAGIC


@contextmanager
def opened_export(path: Path, passphrase: str | None) -> Iterator[ArchiveReader]:
    """The export, its contents read and not yet its files. Raises PeerError or UsageError with the reason."""
    sealed = is_sealed(path)
    if sealed and passphrase is None:
        raise UsageError("this export is sealed with a passphrase", where=str(path), hint="give it")
    with _opened(path) as file:
        source: Readable = file
        if sealed and passphrase is not None:
            source = SealedReader(file, passphrase, str(path))
        yield ArchiveReader(source, str(path))


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with disk_errors("cannot read the export", path):
        try:
            file = path.open("rb")
        except FileNotFoundError as e:
            raise UsageError("there is no such file", where=str(path)) from e
        except IsADirectoryError as e:
            raise UsageError("not a file", where=str(path)) from e
        with file:
            yield file
