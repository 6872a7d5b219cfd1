"""The body of an export: a tar in one zstd frame, then the digest of it all (SPEC-export §3).

Knows tar headers and frames. What a header must be follows from the contents, so it is compared and never
interpreted. Knows no disk and no passphrase: it writes to and reads from streams.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

import zstandard

from firmware_mgr.master.export.contents import MAX_DOCUMENT, Contents, ExportedFile
from firmware_mgr.master.export.seal import Readable, Writable, exactly
from firmware_mgr.model.errors import PeerError, UsageError

CONTENTS_NAME: Final = "fwmgr-export.json"
FOLDER: Final = "master/"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
#: A skippable frame (RFC 8878 §3.1.2) of 32 bytes: zstd and tar pass over it.
TRAILER_HEAD: Final = b"\x50\x2a\x4d\x18\x20\x00\x00\x00"
TRAILER_LENGTH: Final = 40
BLOCK: Final = 512
CHUNK: Final = 1 << 18
#: Compressed bytes that are opened at once: what they can unpack to is bounded by it.
_BITE: Final = 2048
_LEVEL: Final = 3
_MAX_WINDOW: Final = 8 << 20

#: Tells how many bytes of the files are done.
Progress = Callable[[int], None]


def write_archive(
    out: Writable, contents: Contents, open_file: Callable[[ExportedFile], BinaryIO], progress: Progress
) -> None:
    """Write it all. Raises PeerError when a file is not what the contents say: it was changed meanwhile."""
    counted = _Hashed(out)
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()

    def put(data: bytes) -> None:
        counted.write(compressor.compress(data))

    document = contents.encode()
    put(_header(CONTENTS_NAME, len(document), 0o600) + document + _padding(len(document)))
    for file in contents.files:
        put(_header(FOLDER + file.path, file.length, file.mode))
        with open_file(file) as source:
            for chunk in _checked(source, file, "the master's directory"):
                put(chunk)
                progress(len(chunk))
            if source.read(1):
                raise PeerError(
                    "a file was changed while it was exported", where=file.path, hint="export again"
                )
        put(_padding(file.length))
    put(bytes(2 * BLOCK))
    counted.write(compressor.flush())
    out.write(TRAILER_HEAD + counted.digest())


class ArchiveReader:
    """Reads an archive once, from the beginning: `contents` first, then `files` to their end."""

    def __init__(self, source: Readable, where: str) -> None:
        self._where = where
        self._held = _WithoutTrailer(source, where)
        self._tar = _Unpacked(self._held, where)
        self.contents = self._read_contents()

    def files(self) -> Iterator[tuple[ExportedFile, Iterator[bytes]]]:
        """Each file with its bytes, in order; read them to their end, where the digest is checked.

        When the iterator ends, the whole has been checked, also what no file holds. Raises PeerError.
        """
        for file in self.contents.files:
            self._expect(_header(FOLDER + file.path, file.length, file.mode), f"header of {file.path}")
            yield file, _checked(self._tar, file, self._where)
            self._expect(_padding(file.length), f"padding of {file.path}")
        self._expect(bytes(2 * BLOCK), "end of the archive")
        self._tar.end()
        self._held.end()

    def _read_contents(self) -> Contents:
        header = exactly(self._tar, BLOCK)
        length = int(header[124:135], 8) if header[124:135].isdigit() else -1
        is_ours = 0 < length <= MAX_DOCUMENT and header == _header(CONTENTS_NAME, length, 0o600)
        if not is_ours:
            raise PeerError(
                "not an export of a master",
                where=self._where,
                expected=f"{CONTENTS_NAME} at the beginning",
                found="nothing" if not header else repr(header[:100].rstrip(b"\0"))[1:],
            )
        document = exactly(self._tar, length)
        if len(document) < length:
            raise PeerError(
                "the file is cut", where=f"{self._where}, contents", expected=length, found=len(document)
            )
        self._expect(_padding(length), "padding of the contents")
        return Contents.decode(document, f"{self._where}, contents")

    def _expect(self, expected: bytes, what: str) -> None:
        found = exactly(self._tar, len(expected))
        if found != expected:
            cut = len(found) < len(expected)
            raise PeerError(
                "the file is cut" if cut else "the file was altered",
                where=f"{self._where}, {what}",
                expected=f"{len(expected)} bytes that follow from the contents",
                found=f"{len(found)} bytes" if cut else "other bytes",
            )


def _checked(source: Readable, file: ExportedFile, where: str) -> Iterator[bytes]:
    hasher, left = hashlib.sha256(), file.length
    while left and (chunk := source.read(min(left, CHUNK))):
        hasher.update(chunk)
        left -= len(chunk)
        yield chunk
    if left:
        raise PeerError(
            "a file is cut",
            where=f"{where}, {file.path}",
            expected=f"{file.length} bytes",
            found=file.length - left,
        )
    if hasher.hexdigest() != file.digest.hex:
        raise PeerError(
            "a file is not what the contents say",
            where=f"{where}, {file.path}",
            expected=f"SHA-256 {file.digest}",
            found=hasher.hexdigest(),
        )


def _header(name: str, length: int, mode: int) -> bytes:
    """Owner, group and time are none of the receiver's business: all are 0."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = length, mode
    try:
        return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    except ValueError as e:
        raise UsageError("a file has a name that cannot be exported", where=name, found=str(e)) from e


def _padding(length: int) -> bytes:
    return bytes(-length % BLOCK)


class _Hashed:
    """Hashes what passes."""

    def __init__(self, out: Writable) -> None:
        self._out = out
        self._hasher = hashlib.sha256()

    def write(self, data: bytes) -> None:
        if data:
            self._hasher.update(data)
            self._out.write(data)

    def digest(self) -> bytes:
        return self._hasher.digest()


class _WithoutTrailer:
    """The stream up to its last 40 bytes, which are the digest of all before them."""

    def __init__(self, source: Readable, where: str) -> None:
        self._source = source
        self._where = where
        self._held = exactly(source, TRAILER_LENGTH)
        self._hasher = hashlib.sha256()

    def read(self, size: int) -> bytes:
        fresh = self._source.read(size)
        both = self._held + fresh
        given, self._held = both[: len(fresh)], both[len(fresh) :]
        self._hasher.update(given)
        return given

    def end(self) -> None:
        """To be called when everything has been read."""
        if self._held != TRAILER_HEAD + self._hasher.digest():
            raise PeerError(
                "the file was altered or cut",
                where=f"{self._where}, its last {TRAILER_LENGTH} bytes",
                expected=f"SHA-256 {self._hasher.hexdigest()} of all before them",
                found=self._held[len(TRAILER_HEAD) :].hex() or "nothing",
            )


class _Unpacked:
    """The bytes of one zstd frame."""

    def __init__(self, source: Readable, where: str) -> None:
        self._source = source
        self._where = where
        self._frame = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
        self._ready = memoryview(b"")
        self._taken = 0

    def read(self, size: int) -> bytes:
        while not self._ready and not self._frame.eof:
            packed = self._source.read(_BITE)
            if not packed:
                raise PeerError(
                    "the file is cut",
                    where=self._where,
                    expected="more after its end",
                    found=f"{self._taken} bytes",
                )
            try:
                self._ready = memoryview(self._frame.decompress(packed))
            except zstandard.ZstdError as e:
                where = f"{self._where}, bytes {self._taken} to {self._taken + len(packed) - 1}"
                raise PeerError("the file was altered, or is no export", where=where, found=str(e)) from e
            self._taken += len(packed)
        given, self._ready = self._ready[:size], self._ready[size:]
        return bytes(given)

    def end(self) -> None:
        """Nothing is left: neither in the frame nor behind it."""
        if self.read(1) or self._frame.unused_data or self._source.read(1):
            raise PeerError(
                "the file was altered", where=self._where, expected="its end", found="more behind the archive"
            )
