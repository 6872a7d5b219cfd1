"""A file on its way out of its pieces: each verified before it is decompressed, and memory bounded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.contents import Compression, Module, ModuleKind, Piece
from firmware_mgr.package.decoding import MAX_MEMORY, decode_module, decode_piece
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.layout_tables import PIECE_SIZE
from firmware_mgr.packaging.storing import store_file

#: Three pieces: one that shrinks, one that does not, a short one.
FILE = b"the quick brown fox " * 52_429 + os.urandom(PIECE_SIZE - 4) + b"and the rest of it"
PIECES, STORED = store_file(FILE)


def module_of(data: bytes = FILE, pieces: tuple[Piece, ...] = PIECES) -> Module:
    digest = Digest.of(data)
    return Module("a", ModuleKind.DATA, None, 0o644, len(data), 0, pieces, digest, digest)


MODULE = module_of()


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def decoded(module: Module, stored: Iterable[bytes]) -> bytes:
    return b"".join(decode_module(module, stored))


def piece_of(plain: bytes, stored: bytes, how: Compression = Compression.ZSTD) -> bytes:
    """The piece that says it stores `plain` so."""
    return decode_piece(Piece(len(stored), how, Digest.of(stored)), len(plain), stored, "piece")


def test_the_sample_has_pieces_of_each_kind() -> None:
    assert {piece.compression for piece in PIECES} == set(Compression) and len(PIECES) == 3
    assert sum(piece.stored_length for piece in PIECES) == len(STORED)


@pytest.mark.parametrize("size", [997, 4096, PIECE_SIZE, 5 * PIECE_SIZE])
def test_bytes_cut_in_any_way_give_the_file(size: int) -> None:
    assert decoded(MODULE, cut(STORED, size)) == FILE


def test_empty_chunks_and_an_empty_file_are_no_trouble() -> None:
    assert decoded(MODULE, [b"", STORED[:10], b"", STORED[10:], b""]) == FILE
    assert decoded(module_of(b"", ()), []) == b""


def test_every_part_handed_on_was_verified_by_its_own_hash_and_the_last_by_that_of_the_whole() -> None:
    damaged = bytearray(STORED)
    damaged[-1] ^= 1
    parts = decode_module(MODULE, [bytes(damaged)])
    assert next(parts) == FILE[:PIECE_SIZE]
    with pytest.raises(PackageRefused, match="piece 2: content was altered: stored hash"):
        for part in parts:
            assert part == FILE[PIECE_SIZE : 2 * PIECE_SIZE]
    wrong = replace(MODULE, sha256=Digest.of(b"another file"))
    seen = []
    with pytest.raises(PackageRefused, match="exact hash"):
        for part in decode_module(wrong, [STORED]):
            seen.append(part)
    assert b"".join(seen) == FILE[: 2 * PIECE_SIZE]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 8 * len(STORED) - 1))
def test_a_bit_turned_over_is_refused(bit: int) -> None:
    damaged = bytearray(STORED)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(PackageRefused, match="stored hash"):
        decoded(MODULE, [bytes(damaged)])


def test_too_few_and_too_many_bytes_are_refused() -> None:
    for length in (0, 1, PIECES[0].stored_length, len(STORED) - 1):
        with pytest.raises(PackageRefused, match="fewer stored bytes"):
            decoded(MODULE, [STORED[:length]])
    for rest in (b"\0", STORED):
        with pytest.raises(PackageRefused, match="more stored bytes"):
            decoded(MODULE, [STORED + rest])
        with pytest.raises(PackageRefused, match="more stored bytes"):
            decoded(MODULE, [STORED, b"", rest])


TEXT = b"content " * 1000


def frame(data: bytes = TEXT, **options: object) -> bytes:
    return zstandard.ZstdCompressor(level=3, **options).compress(data)  # type: ignore[arg-type]


def test_a_frame_with_and_without_checksum_is_read() -> None:
    assert piece_of(TEXT, frame()) == TEXT
    assert piece_of(TEXT, frame(write_checksum=True)) == TEXT


@pytest.mark.parametrize(
    "rest", [b"\0", b"rubbish", frame(b""), b"\x50\x2a\x4d\x18\4\0\0\0abcd", frame(b"second")]
)
def test_whatever_stands_behind_the_frame_is_refused(rest: bytes) -> None:
    with pytest.raises(PackageRefused, match="bytes behind the frame"):
        piece_of(TEXT, frame() + rest)


def test_a_frame_that_says_no_length_or_another_is_refused() -> None:
    for stored in (frame(write_content_size=False), frame(TEXT[:-1]), frame(TEXT + b"x")):
        with pytest.raises(PackageRefused, match="frame does not fit"):
            piece_of(TEXT, stored)


def test_a_frame_that_holds_more_or_less_than_it_says_is_refused() -> None:
    honest = bytearray(frame(bytes(PIECE_SIZE)))
    at = honest.index((PIECE_SIZE).to_bytes(4, "little"))
    for lie in (len(TEXT), PIECE_SIZE - 1):
        honest[at : at + 4] = lie.to_bytes(4, "little")
        with pytest.raises(PackageRefused, match="cannot be decompressed"):
            piece_of(bytes(lie), bytes(honest))


def test_a_frame_that_wants_a_dictionary_or_a_wide_window_is_refused() -> None:
    dictionary = zstandard.train_dictionary(1024, [bytes([n]) * 40 + TEXT[:200] for n in range(256)])
    with pytest.raises(PackageRefused, match="frame does not fit"):
        piece_of(TEXT, frame(dict_data=dictionary))
    parameters = zstandard.ZstdCompressionParameters(window_log=22, write_content_size=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(PackageRefused, match="frame does not fit"):
        piece_of(TEXT, compressor.compress(TEXT) + compressor.flush())


def test_a_frame_cut_anywhere_is_refused() -> None:
    stored = frame()
    for length in range(len(stored)):
        with pytest.raises(PackageRefused):
            piece_of(TEXT, stored[:length])


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(1, 400))
def test_any_bytes_as_a_frame_are_refused_or_give_the_length(noise: bytes, length: int) -> None:
    stored = b"\x28\xb5\x2f\xfd" + noise
    try:
        assert len(piece_of(bytes(length), stored)) == length
    except PackageRefused:
        pass


MEASURE = """
import os, resource, sys
from firmware_mgr.model.ids import Digest
from firmware_mgr.package.contents import *
from firmware_mgr.package.decoding import decode_module
from firmware_mgr.packaging.storing import store_file
noise = os.urandom(1 << 19)
first = store_file(noise + noise)
def stored(count):
    for _ in range(count):
        yield from (first[1][at : at + 65536] for at in range(0, len(first[1]), 65536))
import hashlib
whole = hashlib.sha256()
def module(count):
    global whole
    whole = hashlib.sha256()
    for _ in range(count):
        whole.update(noise); whole.update(noise)
    digest = Digest(whole.hexdigest())
    return Module("a", ModuleKind.DATA, None, 0, count << 20, 0, first[0] * count, digest, digest)
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))
def rest():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))
wanted = module(64)
with open("/proc/self/clear_refs", "w") as clear:
    clear.write("5")
before = rest()
length = sum(map(len, decode_module(wanted, stored(64))))
assert length == 64 << 20
print(peak() - before)
"""


def test_memory_stays_under_twice_the_stated_bound_for_a_file_of_64_mib() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert int(done.stdout) < 2 * MAX_MEMORY, done.stdout
