"""Pieces as bytes, both ways: SPEC-package §5. Refuses to know whose pieces they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from construct import Container

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.forms import COMPRESSION_CODES, code, value
from firmware_mgr.package.pieces import Piece


def pieces_of(raw: Iterable[Container], where: str) -> tuple[Piece, ...]:
    """Raises UsageError."""
    return tuple(
        Piece(
            one.stored_length,
            value(COMPRESSION_CODES, one.compression, "compression", where),
            Digest.from_bytes(one.sha256),
        )
        for one in raw
    )


def piece_fields(pieces: Iterable[Piece]) -> list[dict[str, Any]]:
    """For building."""
    return [
        {
            "compression": code(COMPRESSION_CODES, piece.compression),
            "stored_length": piece.stored_length,
            "sha256": piece.sha256.to_bytes(),
        }
        for piece in pieces
    ]
