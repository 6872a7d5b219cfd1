from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import Digest
from firmware_mgr.netboot.blobs import read_blob
from firmware_mgr.netboot.served import Blob
from firmware_mgr.netboot.tftp_codec import Data, parse
from firmware_mgr.netboot.tftp_frames import PIECE_BYTES, FramePool

from .rack import blob_of


def packets(pool: FramePool, blob: Blob, blksize: int, first: int, count: int) -> list[Data]:
    found = []
    for view in pool.window(blob, blksize, first, count):
        for start in range(0, len(view), blksize + 4):
            packet = parse(bytes(view[start : start + blksize + 4]))
            assert isinstance(packet, Data)
            found.append(packet)
    return found


def test_a_window_over_the_edge_of_a_piece_is_complete(tmp_path: Path) -> None:
    data = bytes(i % 253 for i in range(PIECE_BYTES + 5000))
    blob = blob_of(tmp_path / "image", data)
    per_piece = PIECE_BYTES // 1468
    got = packets(FramePool(), blob, 1468, per_piece, 3)
    start = (per_piece - 1) * 1468
    assert b"".join(packet.payload for packet in got) == data[start : start + 3 * 1468]
    assert [packet.block for packet in got] == [per_piece, per_piece + 1, per_piece + 2]


def test_a_blob_of_whole_blocks_ends_with_an_empty_one(tmp_path: Path) -> None:
    got = packets(FramePool(), blob_of(tmp_path / "image", b"x" * 1024), 512, 1, 3)
    assert [len(packet.payload) for packet in got] == [512, 512, 0]


def test_a_piece_is_framed_once_and_shared() -> None:
    reads = []

    def read(blob: Blob, start: int, count: int) -> bytes:
        reads.append(start)
        return b"x" * min(count, blob.length - start)

    pool = FramePool(read=read)
    blob = Blob(Digest.of(b"a"), 3000, Path("image"))
    for _ in range(5):
        pool.window(blob, 512, 1, 4)
    assert reads == [0]
    pool.window(blob, 1024, 1, 1)
    assert reads == [0, 0]


def test_memory_stays_within_its_bound_and_the_least_used_goes_first() -> None:
    reads: list[Digest] = []

    def read(blob: Blob, start: int, count: int) -> bytes:
        reads.append(blob.digest)
        return b"x" * min(count, blob.length - start)

    pool = FramePool(bound=25_000, read=read)
    a, b, c = (Blob(Digest.of(name), 10_000, Path("image")) for name in (b"a", b"b", b"c"))
    for blob in (a, b, a, c, a, b):
        pool.window(blob, 512, 1, 1)
        assert pool.held <= 25_000
    assert reads == [a.digest, b.digest, c.digest, b.digest]


def test_a_blob_may_lie_inside_a_file(tmp_path: Path) -> None:
    (tmp_path / "composite").write_bytes(b"headKERNELtail")
    blob = Blob(Digest.of(b"KERNEL"), 6, tmp_path / "composite", offset=4)
    assert packets(FramePool(), blob, 512, 1, 1) == [Data(1, b"KERNEL")]


def test_a_file_that_became_shorter_is_an_error_and_no_short_file(tmp_path: Path) -> None:
    blob = blob_of(tmp_path / "image", b"x" * 1000)
    (tmp_path / "image").write_bytes(b"x" * 600)
    with pytest.raises(DeviceError, match="cut short: expected 1000 bytes, found 600"):
        read_blob(blob, 512, 512)
    with pytest.raises(DeviceError, match="cannot be read"):
        read_blob(Blob(blob.digest, 1, tmp_path / "absent"), 0, 1)
