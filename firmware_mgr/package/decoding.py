"""A module's stored bytes as the file's bytes, checked on the way: SPEC-package §5.

Knows lengths, hashes and zstd. Refuses to know where stored bytes come from and where the file goes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import IO, NoReturn, Protocol, cast

import zstandard

from firmware_mgr.package.contents import WITHOUT_CONTENT, Compression, Module
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.layout import MAX_WINDOW

CHUNK = 64 << 10


class _Reader(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def decode_module(module: Module, stored: Iterable[bytes], where: str = "package") -> Iterator[bytes]:
    """Yield the module's file in pieces of at most 64 KiB; never more than its declared length.

    The last piece comes only after stored length, stored hash, length and exact hash were found right, so
    whoever gets to the end has the whole and right file, and nobody has it otherwise. Raises PackageRefused.
    What was yielded before is unverified until then. A symlink or directory yields nothing.
    """
    spot = f"{where}: {module.path}"
    source = _Stored(module, stored, spot)
    digest = hashlib.sha256()
    length = 0
    held = b""
    if module.kind not in WITHOUT_CONTENT:
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
    if module.kind not in WITHOUT_CONTENT and digest.hexdigest() != module.sha256.hex:
        _refuse(spot, "content was altered: exact hash", module.sha256, digest.hexdigest())
    if held:
        yield held


def _chunks(module: Module, source: _Stored, spot: str) -> Iterator[bytes]:
    """What the stored bytes yield, at most one byte more than declared."""
    reader: _Reader = source
    if module.compression is Compression.ZSTD:
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

    def __init__(self, module: Module, chunks: Iterable[bytes], spot: str) -> None:
        self._module = module
        self._chunks = iter(chunks)
        self._spot = spot
        self._rest = memoryview(b"")
        self._digest = hashlib.sha256()
        self._length = 0

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, none at the end; all when negative."""
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
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
        if self._digest.hexdigest() != self._module.stored_sha256.hex:
            _refuse(
                self._spot,
                "content was altered: stored hash",
                self._module.stored_sha256,
                self._digest.hexdigest(),
            )


def _refuse(spot: str, what: str, expected: object, found: object) -> NoReturn:
    raise PackageRefused(what, where=spot, expected=expected, found=found)
