"""DATA packets framed once for each (blob, block size) and shared by all transfers, within a memory bound.

Knows how blobs are cut into blocks. Refuses to know who gets them. Framed pieces of about 1 MiB lie in
memory as packet after packet, so that a window is one view of them; those least recently used go first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from struct import Struct

from firmware_mgr.model.ids import Digest
from firmware_mgr.netboot.netascii import read_any
from firmware_mgr.netboot.served import Blob
from firmware_mgr.netboot.tftp_codec import BLOCK_NUMBERS, DATA_HEADER, Opcode

PIECE_BYTES = 1 << 20
HELD_BYTES = 128 << 20
#: Packets framed at a time: small blocks are many, and the event loop waits meanwhile.
PIECE_PACKETS = 1024
#: What a piece costs beyond its bytes: small files asked for in every block size are many pieces.
PIECE_OVERHEAD = 512

_HEADER = Struct(">HH")
assert _HEADER.size == DATA_HEADER


class FramePool:
    """`window` gives framed packets; `held` never passes `bound` by more than the piece just made."""

    def __init__(self, bound: int = HELD_BYTES, read: Callable[[Blob, int, int], bytes] = read_any) -> None:
        self._bound = bound
        self._read = read
        self._pieces: OrderedDict[tuple[Digest, int, int], memoryview] = OrderedDict()
        self.held = 0

    def window(self, blob: Blob, blksize: int, first: int, count: int) -> list[memoryview]:
        """Packets of `count` blocks from `first` (counted from 1) on: views of packets in a row, each of
        `blksize` + 4 bytes but the blob's last. Raises DeviceError when the file cannot be read."""
        per_piece = max(1, min(PIECE_BYTES // blksize, PIECE_PACKETS))
        stride = blksize + DATA_HEADER
        views = []
        while count > 0:
            index, within = divmod(first - 1, per_piece)
            here = min(count, per_piece - within)
            piece = self._piece(blob, blksize, index, per_piece)
            views.append(piece[within * stride : (within + here) * stride])
            first += here
            count -= here
        return views

    def _piece(self, blob: Blob, blksize: int, index: int, per_piece: int) -> memoryview:
        key = (blob.digest, blksize, index)
        piece = self._pieces.get(key)
        if piece is not None:
            self._pieces.move_to_end(key)
            return piece
        start = index * per_piece
        content = memoryview(self._read(blob, start * blksize, per_piece * blksize))
        last = blob.length // blksize  # index of the blob's last block, which is short or empty
        parts: list[bytes | memoryview] = []
        for block in range(start, min(start + per_piece, last + 1)):
            parts.append(_HEADER.pack(Opcode.DATA, (block + 1) % BLOCK_NUMBERS))
            parts.append(content[(block - start) * blksize : (block - start + 1) * blksize])
        piece = memoryview(b"".join(parts))
        self._pieces[key] = piece
        self.held += len(piece) + PIECE_OVERHEAD
        while self.held > self._bound and len(self._pieces) > 1:
            self.held -= len(self._pieces.popitem(last=False)[1]) + PIECE_OVERHEAD
        return piece
