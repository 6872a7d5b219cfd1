"""Files that are whole or absent, and stay after a power cut: the order of write, sync, name, sync.

Knows the file system's calls and their errors. Knows nothing of what is in the files.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from firmware_mgr.model.errors import DeviceError


def sync_directory(directory: Path) -> None:
    """The names in the directory survive a power cut from here on."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(directory: Path, mode: int) -> None:
    """The directory and those above it that are missing; the new ones with this mode, and safe on disk."""
    if directory.is_dir():
        return
    make_directories(directory.parent, mode)
    with suppress(FileExistsError):
        directory.mkdir(mode)
    sync_directory(directory.parent)


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Make a file that did not exist: at every moment it is absent or whole. Raises FileExistsError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, this never replaces
    finally:
        temporary.unlink()
    sync_directory(path.parent)


def write_over(path: Path, content: bytes, mode: int) -> None:
    """Put a file in the place of another, if any: at every moment one of the two is there, whole."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


@contextmanager
def disk_errors(what: str, path: Path) -> Iterator[None]:
    """The system's errors become DeviceError; those that a caller handles are caught inside."""
    try:
        yield
    except OSError as e:
        raise DeviceError(what, where=str(e.filename or path), found=e.strerror or e) from e
