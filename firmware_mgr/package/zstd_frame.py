"""How long a zstd frame is: RFC 8878 §3.1.1. The library would pass over what stands behind one.

Knows headers of frames and blocks. Refuses to decompress.
"""

from __future__ import annotations

from typing import Final

import zstandard

MAGIC: Final = bytes.fromhex("28b52ffd")
CHECKSUM_FLAG: Final = 0x04  # of the frame header descriptor, §3.1.1.1.1
CHECKSUM_SIZE: Final = 4
BLOCK_HEADER: Final = 3
RLE_BLOCK: Final = 1  # one byte, said to be there many times


def frame_length(data: bytes) -> int:
    """The bytes of the frame that `data` begins with, as its headers say. Raises ZstdError."""
    if not data.startswith(MAGIC):
        raise zstandard.ZstdError("no zstd frame")
    position = zstandard.frame_header_size(data)
    checksum = CHECKSUM_SIZE if data[4] & CHECKSUM_FLAG else 0
    last = False
    while not last:
        header = int.from_bytes(data[position : position + BLOCK_HEADER], "little")
        if position + BLOCK_HEADER > len(data):
            raise zstandard.ZstdError("frame ends within a block")
        last = bool(header & 1)
        size = 1 if header >> 1 & 3 == RLE_BLOCK else header >> 3
        position += BLOCK_HEADER + size
    return position + checksum
