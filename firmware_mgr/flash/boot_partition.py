"""Burning a boot image: raw, whole, in pieces of 1 MiB, to a partition that is not in use.

Knows pieces and their hashes; writes only what flash does not already hold. Refuses to know what an image is
made of, and which partition is booted next (`control`). docs/SPEC-flash-layout.md, "Boot partitions".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import Digest

if TYPE_CHECKING:
    from firmware_mgr.flash.device import FlashDevice
    from firmware_mgr.flash.letter import Letter

PIECE_SIZE = 1 << 20

#: Called with bytes done and bytes in all.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class BootImageLayout:
    """A raw boot image: its length in bytes, its digest, and the digest of each piece of PIECE_SIZE bytes."""

    length: int
    digest: Digest
    pieces: tuple[Digest, ...]

    def __post_init__(self) -> None:
        wanted = -(-self.length // PIECE_SIZE)
        if self.length <= 0 or len(self.pieces) != wanted:
            raise UsageError(
                "boot image's pieces do not fit its length",
                expected=f"{wanted} for {self.length} bytes",
                found=len(self.pieces),
            )

    @classmethod
    def of(cls, image: bytes) -> Self:
        """The layout of an image in memory."""
        view = memoryview(image)
        pieces = tuple(Digest.of(view[at : at + PIECE_SIZE]) for at in range(0, len(image), PIECE_SIZE))
        return cls(len(image), Digest.of(image), pieces)

    def span(self, index: int) -> tuple[int, int]:
        """Offset and length in bytes of a piece. Raises UsageError when there is no such piece."""
        if not 0 <= index < len(self.pieces):
            raise UsageError("no such piece", expected=f"0 to {len(self.pieces) - 1}", found=index)
        offset = index * PIECE_SIZE
        return offset, min(PIECE_SIZE, self.length - offset)

    def document(self) -> dict[str, Any]:
        return {
            "length": self.length,
            "digest": self.digest.hex,
            "pieces": [piece.hex for piece in self.pieces],
        }

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        """Raises PeerError when a field is missing or wrong."""
        try:
            pieces = tuple(Digest(str(piece)) for piece in doc["pieces"])
            return cls(int(doc["length"]), Digest(str(doc["digest"])), pieces)
        except (KeyError, TypeError, ValueError, UsageError) as e:
            raise PeerError("not a boot image layout", found=f"{e!s}") from e


def _no_progress(done: int, total: int) -> None:
    pass


def check_fits(window: FlashDevice, layout: BootImageLayout) -> None:
    """Raises UsageError when the image is longer than its partition."""
    if layout.length > window.size:
        raise UsageError(
            "boot image does not fit its partition",
            expected=f"at most {window.size} bytes",
            found=layout.length,
            hint="a smaller image, or larger boot partitions in the board's flash layout",
        )


def missing_pieces(
    window: FlashDevice, layout: BootImageLayout, progress: Progress = _no_progress
) -> list[int]:
    """The pieces that flash does not hold, by reading all back; one that cannot be read is missing too."""
    check_fits(window, layout)
    missing: list[int] = []
    for index, wanted in enumerate(layout.pieces):
        offset, length = layout.span(index)
        try:
            held = Digest.of(window.read(offset, length)) == wanted
        except DeviceError:
            held = False
        if not held:
            missing.append(index)
        progress(offset + length, layout.length)
    return missing


def write_piece(window: FlashDevice, layout: BootImageLayout, index: int, data: bytes) -> None:
    """Write one piece; the caller syncs. Raises PeerError, before writing, when `data` is not that piece."""
    check_fits(window, layout)
    offset, length = layout.span(index)
    where = f"boot image piece {index}"
    if len(data) != length:
        raise PeerError("piece has the wrong length", where=where, expected=length, found=len(data))
    found = Digest.of(data)
    if found != layout.pieces[index]:
        raise PeerError(
            "piece does not have its digest",
            where=where,
            expected=layout.pieces[index].short,
            found=found.short,
        )
    window.write(offset, data + bytes(-length % window.block_size))


def verify(window: FlashDevice, layout: BootImageLayout, progress: Progress = _no_progress) -> Digest:
    """The digest of the whole image as flash holds it (sync first). Raises DeviceError when unreadable."""
    check_fits(window, layout)
    digest = hashlib.sha256()
    for index in range(len(layout.pieces)):
        offset, length = layout.span(index)
        digest.update(window.read(offset, length))
        progress(offset + length, layout.length)
    return Digest(digest.hexdigest())


class BootPartitions:
    """Both boot partitions of a card. The one that the card runs from, `in_use`, is never written.

    `in_use` is None when the card was netbooted.
    """

    def __init__(self, windows: Mapping[Letter, FlashDevice], in_use: Letter | None) -> None:
        self._windows = dict(windows)
        self.in_use = in_use

    def missing_pieces(
        self, letter: Letter, layout: BootImageLayout, progress: Progress = _no_progress
    ) -> list[int]:
        """As `missing_pieces`; allowed for the partition in use."""
        return missing_pieces(self._windows[letter], layout, progress)

    def write_piece(self, letter: Letter, layout: BootImageLayout, index: int, data: bytes) -> None:
        """As `write_piece`. Raises UsageError for the partition in use."""
        if letter is self.in_use:
            raise UsageError(
                "the card runs from this boot partition",
                where=letter.partition,
                expected=letter.other.partition,
                found=letter.partition,
                hint="burn the other one",
            )
        write_piece(self._windows[letter], layout, index, data)

    def sync(self, letter: Letter) -> None:
        """Return when all pieces written are on the medium."""
        self._windows[letter].sync()

    def verify(self, letter: Letter, layout: BootImageLayout, progress: Progress = _no_progress) -> Digest:
        """As `verify`."""
        return verify(self._windows[letter], layout, progress)
