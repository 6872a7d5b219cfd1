"""Stored bytes as a file's bytes, piece by piece, each verified before it is decompressed: SPEC-package §5.

Knows pieces, hashes and zstd. Refuses to know where stored bytes come from and where the file goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn, Protocol

import zstandard

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.checksum import NewChecksum, Sha256, fits
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.layout_tables import PIECE_SIZE
from firmware_mgr.package.module import Module
from firmware_mgr.package.pieces import Compression, Piece, plain_length, stored_length
from firmware_mgr.package.streaming import CHUNK, stream_module
from firmware_mgr.package.zstd_frame import frame_length

__all__ = ["CHUNK", "MAX_MEMORY", "decode_file", "decode_module", "decode_piece"]

#: What decoding a file of any length takes, in bytes; not so a module of format 1 (`streaming`).
MAX_MEMORY = 4 << 20


def decode_module(
    module: Module, stored: Iterable[bytes], where: str = "package", checksum: NewChecksum = Sha256
) -> Iterator[bytes]:
    """Yield the module's file; the last part comes only when the whole was found right.

    Raises PackageRefused. A symlink or directory yields nothing. Of format 1, what was yielded before the end
    is unverified until then; of format 2 each part was verified by a hash of its own.
    """
    if module.streamed and module.pieces:
        return stream_module(module, stored, where, checksum)
    return decode_file(module, stored, f"{where}: {module.path}", checksum)


class Stored(Protocol):
    """What is stored as pieces: a module, or a member's file."""

    @property
    def pieces(self) -> tuple[Piece, ...]: ...

    @property
    def length(self) -> int: ...

    @property
    def sha256(self) -> Digest: ...


def decode_file(
    file: Stored, stored: Iterable[bytes], where: str, checksum: NewChecksum = Sha256
) -> Iterator[bytes]:
    """Yield the file a piece at a time, the last one only when its exact hash was found right.

    `stored` are the bytes of all pieces, cut in any way. Raises PackageRefused.
    """
    whole = checksum()
    held = b""
    for index, (piece, raw) in enumerate(zip(file.pieces, _cut(file.pieces, stored, where), strict=True)):
        if held:
            yield held
        plain = plain_length(file.length, index)
        held = decode_piece(piece, plain, raw, f"{where}: piece {index}", checksum)
        whole.update(held)
    if held and not whole.fits(file.sha256):
        _refuse(where, "content was altered: exact hash", file.sha256, whole.found)
    if held:
        yield held


def decode_piece(
    piece: Piece, length: int, stored: bytes, where: str, checksum: NewChecksum = Sha256
) -> bytes:
    """The `length` bytes of a piece, out of its stored ones. Raises PackageRefused."""
    if len(stored) != piece.stored_length:
        _refuse(where, "wrong number of stored bytes", piece.stored_length, len(stored))
    if not fits(stored, piece.sha256, checksum):
        _refuse(where, "content was altered: stored hash", piece.sha256, Digest.of(stored))
    if piece.compression is Compression.NONE:
        return stored
    try:
        frame = zstandard.get_frame_parameters(stored)
        found = (frame.content_size, frame.dict_id)
        if found != (length, 0) or frame.window_size > PIECE_SIZE:
            _refuse(where, "frame does not fit its piece", f"{length} bytes, no dictionary", found)
        if frame_length(stored) != len(stored):
            _refuse(where, "bytes behind the frame", frame_length(stored), len(stored))
        # Content size was checked: it is the size of the only buffer that this writes to.
        return zstandard.ZstdDecompressor(max_window_size=PIECE_SIZE).decompress(stored)
    except zstandard.ZstdError as e:
        raise PackageRefused(
            "content cannot be decompressed",
            where=where,
            expected=f"one zstd frame of {length} bytes",
            found=str(e),
        ) from e


def _cut(pieces: Sequence[Piece], stored: Iterable[bytes], where: str) -> Iterator[bytes]:
    """The stored bytes of each piece; never more than one piece is held. Nothing may follow the last."""
    chunks = iter(stored)
    total = stored_length(pieces)
    rest, arrived = memoryview(b""), 0
    for piece in pieces:
        taken = bytearray()
        while len(taken) < piece.stored_length:
            if not rest:
                chunk = next(chunks, None)
                if chunk is None:
                    _refuse(where, "fewer stored bytes than declared", total, arrived)
                arrived += len(chunk)
                rest = memoryview(chunk)
            part = rest[: piece.stored_length - len(taken)]
            taken += part
            rest = rest[len(part) :]
        yield bytes(taken)
    while not rest:
        chunk = next(chunks, None)
        if chunk is None:
            return
        rest = memoryview(chunk)
    _refuse(where, "more stored bytes than declared", total, f"at least {total + len(rest)}")


def _refuse(where: str, what: str, expected: object, found: object) -> NoReturn:
    raise PackageRefused(what, where=where, expected=expected, found=found)
