"""Files in content as pieces: how long each is, where it lies, and what is legal. SPEC-package §5.

Knows lengths and hashes. Refuses to know what the file is for, and to decompress.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.checks import refuse
from firmware_mgr.package.layout_tables import PIECE_SIZE

NOTHING = Digest(hashlib.sha256(b"").hexdigest())


class Compression(Enum):
    """How bytes are stored."""

    NONE = "none"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class Piece:
    """The stored bytes of a piece: how many, their hash, and how they become the file's."""

    stored_length: int
    compression: Compression
    sha256: Digest


def piece_count(length: int) -> int:
    """How many pieces a file of that many bytes has."""
    return -(-length // PIECE_SIZE)


def plain_length(length: int, index: int) -> int:
    """How many bytes of a file of `length` are in its piece `index`."""
    return min(PIECE_SIZE, length - index * PIECE_SIZE)


def stored_length(pieces: Sequence[Piece]) -> int:
    """The bytes of all in content."""
    return sum(piece.stored_length for piece in pieces)


def check_pieces(pieces: Sequence[Piece], length: int, sha256: Digest, where: str) -> None:
    """Return when the pieces can be those of a file of this length and hash; raise UsageError otherwise."""
    if len(pieces) != piece_count(length):
        refuse(where, "number of pieces does not fit the length", piece_count(length), len(pieces))
    for index, piece in enumerate(pieces):
        check_storage(piece, plain_length(length, index), where)
    check_hash(pieces, sha256, where)


def check_hash(pieces: Sequence[Piece], sha256: Digest, where: str) -> None:
    """Where two hashes are of the same bytes they are equal. Raises UsageError."""
    if not pieces and sha256 != NOTHING:
        refuse(where, "hash of an empty file", NOTHING, sha256)
    if len(pieces) == 1 and pieces[0].compression is Compression.NONE and pieces[0].sha256 != sha256:
        refuse(where, "stored hash of an uncompressed file", sha256, pieces[0].sha256)


def check_storage(piece: Piece, plain: int, where: str) -> None:
    """Return when `plain` bytes can be stored so; raise UsageError otherwise."""
    if piece.compression is Compression.ZSTD:
        if not 0 < piece.stored_length < plain:
            refuse(where, "compressed bytes do not shrink", f"1 to {plain - 1}", piece.stored_length)
    elif piece.stored_length != plain:
        refuse(where, "stored length of uncompressed bytes", plain, piece.stored_length)
