"""The content of a module of format 1, one frame of any length, checked as it passes: SPEC-package §11.

Knows lengths, hashes and zstd. Refuses to know where stored bytes come from and where the file goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, NoReturn, Protocol, cast

import zstandard

from firmware_mgr.package.checksum import Checksum, NewChecksum, Sha256
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.layout_1 import MAX_WINDOW
from firmware_mgr.package.module import Module
from firmware_mgr.package.pieces import NOTHING, Compression

CHUNK = 64 << 10


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


def stream_module(
    module: Module, stored: Iterable[bytes], where: str, checksum: NewChecksum = Sha256
) -> Iterator[bytes]:
    """Yield the module's file in chunks of at most 64 KiB; never more than its declared length.

    The last chunk comes only after stored length, stored hash, length and exact hash were found right, so
    whoever gets to the end has the whole and right file, and nobody has it otherwise. Raises PackageRefused.
    What was yielded before is unverified until then.
    """
    spot = f"{where}: {module.path}"
    source = _Stored(module, stored, spot, checksum())
    digest = checksum()
    length = 0
    held = b""
    for chunk in _chunks(module, source, spot):
        length += len(chunk)
        if length > module.length:
            _refuse(spot, "content is longer than declared", module.length, f"at least {length}")
        digest.update(chunk)
        if held:
            yield held
        held = chunk
    source.finish()
    if length != module.length:
        _refuse(spot, "content is shorter than declared", module.length, length)
    if not digest.fits(module.sha256):
        _refuse(spot, "content was altered: exact hash", module.sha256, digest.found)
    if held:
        yield held


def _chunks(module: Module, source: _Stored, spot: str) -> Iterator[bytes]:
    """What the stored bytes yield, at most one byte more than declared."""
    reader: _Reader = source
    if module.pieces and module.pieces[0].compression is Compression.ZSTD:
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        reader = decompressor.stream_reader(cast(IO[bytes], source), read_size=CHUNK, read_across_frames=True)
    left = module.length + 1
    while left:
        try:
            chunk = reader.read(min(CHUNK, left))
        except zstandard.ZstdError as e:
            raise PackageRefused(
                "content cannot be decompressed",
                where=spot,
                expected=f"a zstd frame of {module.length} bytes, window of {MAX_WINDOW} at most",
                found=str(e),
            ) from e
        if not chunk:
            return
        left -= len(chunk)
        yield chunk


class _Stored:
    """The stored bytes as a file to read, hashed and counted as they pass."""

    def __init__(self, module: Module, chunks: Iterable[bytes], spot: str, digest: Checksum) -> None:
        self._module = module
        self._chunks = iter(chunks)
        self._spot = spot
        self._rest = memoryview(b"")
        self._digest = digest
        self._length = 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._length += len(chunk)
            if self._length > self._module.stored_length:
                _refuse(
                    self._spot,
                    "more stored bytes than declared",
                    self._module.stored_length,
                    f"at least {self._length}",
                )
            self._digest.update(chunk)
            self._rest = memoryview(chunk)
        piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return piece

    def finish(self) -> None:
        """Take what is left, and check length and hash of all."""
        while self.read(CHUNK):
            pass
        if self._length != self._module.stored_length:
            _refuse(self._spot, "fewer stored bytes than declared", self._module.stored_length, self._length)
        expected = self._module.pieces[0].sha256 if self._module.pieces else NOTHING
        if not self._digest.fits(expected):
            _refuse(self._spot, "content was altered: stored hash", expected, self._digest.found)


def _refuse(spot: str, what: str, expected: object, found: object) -> NoReturn:
    raise PackageRefused(what, where=spot, expected=expected, found=found)
