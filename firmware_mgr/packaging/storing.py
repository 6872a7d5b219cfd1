"""A file as pieces: cut, compressed where it shrinks, hashed. SPEC-package §5 and §9. Knows bytes only."""

from __future__ import annotations

import zstandard

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.layout_tables import PIECE_SIZE
from firmware_mgr.package.pieces import Compression, Piece

ZSTD_LEVEL = 19


def store_file(data: bytes, *, compress: bool = True) -> tuple[tuple[Piece, ...], bytes]:
    """The pieces of a file, and their bytes in content."""
    pieces: list[Piece] = []
    stored: list[bytes] = []
    for start in range(0, len(data), PIECE_SIZE):
        plain = data[start : start + PIECE_SIZE]
        kept = _compressed(plain) if compress else plain
        shrinks = len(kept) < len(plain)
        kept = kept if shrinks else plain
        pieces.append(Piece(len(kept), Compression.ZSTD if shrinks else Compression.NONE, Digest.of(kept)))
        stored.append(kept)
    return tuple(pieces), b"".join(stored)


def _compressed(plain: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor(
        level=ZSTD_LEVEL, write_content_size=True, write_checksum=False, threads=0
    )
    return compressor.compress(plain)
