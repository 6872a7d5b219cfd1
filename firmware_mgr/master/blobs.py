"""The large bytes of the catalogue: files named by their SHA-256 under `blobs/sha256/aa/<hex>`.

Knows digests and files. Knows not what the bytes are, nor who refers to them. A file under a final name is
whole, whatever happens and whenever. Calls block while the disk works: run the long ones in a thread.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Collection, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

from firmware_mgr.master.files import disk_errors, make_directories, sync_directory
from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import Digest

CHUNK: Final = 1 << 20


class BlobStore:
    """Blobs under `directory`/blobs. One process uses it; its threads may do so at the same time."""

    def __init__(self, directory: Path) -> None:
        self._blobs = directory / "blobs" / "sha256"
        self._incoming = directory / "blobs" / "incoming"
        self._under_way: set[Path] = set()
        self._lock = threading.Lock()
        with disk_errors("cannot make the blob store", directory):
            make_directories(self._blobs, 0o755)
            make_directories(self._incoming, 0o700)

    def add(self, source: Path | BinaryIO, expected: Digest) -> int:
        """Store the bytes of a file, or of a stream to its end; returns their number.

        Adding a blob again puts the given bytes in place of those that were there, which mends a damaged one.
        Raises PeerError when the bytes are not what was expected: then nothing is stored.
        """
        if isinstance(source, Path):
            with disk_errors("cannot read", source), source.open("rb") as file:
                return self.add(file, expected)
        with disk_errors("cannot store a blob", self._blobs):
            temporary = self._reserve()
            try:
                length = self._receive(source, temporary, expected)
                final = self._path(expected)
                make_directories(final.parent, 0o755)
                with self._lock:
                    temporary.replace(final)
                sync_directory(final.parent)
            finally:
                temporary.unlink(missing_ok=True)
                self._under_way.discard(temporary)
        return length

    def path(self, digest: Digest) -> Path:
        """Where the blob lies. Raises UsageError when there is none."""
        path = self._path(digest)
        if not path.is_file():
            raise UsageError("no such blob", where=str(path.parent), found=digest)
        return path

    def open(self, digest: Digest) -> BufferedReader:
        """The blob for reading; while open it stays readable, even when collected. Raises UsageError."""
        with disk_errors("cannot read a blob", self._path(digest)):
            return self.path(digest).open("rb")

    def has(self, digest: Digest) -> bool:
        return self._path(digest).is_file()

    def length(self, digest: Digest) -> int:
        """Its number of bytes. Raises UsageError when there is none."""
        with disk_errors("cannot read a blob", self._path(digest)):
            return self.path(digest).stat().st_size

    def verify(self, digest: Digest) -> None:
        """Read the blob through. Raises DeviceError when it is damaged, UsageError when there is none."""
        with self.open(digest) as file, disk_errors("cannot read a blob", self._path(digest)):
            found = Digest(hashlib.file_digest(file, "sha256").hexdigest())
        if found != digest:
            raise DeviceError(
                "a blob is damaged",
                where=str(self._path(digest)),
                expected=digest,
                found=found,
                hint="add its file again",
            )

    def digests(self) -> Iterator[Digest]:
        """All blobs, in order. Files that are none of ours are passed over."""
        for path in sorted(self._blobs.glob("??/*")):
            try:
                digest = Digest(path.name)
            except UsageError:
                continue
            yield digest

    def collect(self, keep: Collection[Digest], *, added_before: float) -> tuple[Digest, ...]:
        """Remove the blobs that are neither in `keep` nor added at or after that time, and what broken-off
        additions have left; returns what was removed.

        `added_before`, in seconds since 1970 by the file system's clock, spares blobs whose document is still
        to be written: give the moment before `keep` was read, less the longest time an import takes.
        """
        removed = []
        with disk_errors("cannot collect blobs", self._blobs):
            with self._lock:
                left = [path for path in self._incoming.iterdir() if path not in self._under_way]
                for path in left:
                    path.unlink()
            for digest in self.digests():
                path = self._path(digest)
                with self._lock:  # adding it again must not fall between the look and the removal
                    if digest in keep or path.stat().st_mtime >= added_before:
                        continue
                    path.unlink()
                removed.append(digest)
        return tuple(removed)

    def _path(self, digest: Digest) -> Path:
        return self._blobs / digest.hex[:2] / digest.hex

    def _reserve(self) -> Path:
        path = self._incoming / secrets.token_hex(16)
        with self._lock:
            self._under_way.add(path)
        return path

    def _receive(self, source: BinaryIO, temporary: Path, expected: Digest) -> int:
        hasher = hashlib.sha256()
        length = 0
        with temporary.open("xb") as file:
            while chunk := _read(source):
                hasher.update(chunk)
                file.write(chunk)
                length += len(chunk)
            file.flush()
            if hasher.hexdigest() != expected.hex:
                raise PeerError(
                    "the bytes are not what was announced",
                    where="blob",
                    expected=expected,
                    found=hasher.hexdigest(),
                )
            os.fchmod(file.fileno(), 0o444)
            os.fsync(file.fileno())
        return length


def _read(source: BinaryIO) -> bytes:
    try:
        return source.read(CHUNK)
    except OSError as e:
        raise PeerError("the bytes of a blob broke off", found=e) from e
