"""A module of format 1 on its way out: bounded, checked, and whole only when right."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.contents import Compression, Module, ModuleKind, Piece
from firmware_mgr.package.decoding import CHUNK, decode_module
from firmware_mgr.package.errors import PackageRefused

TEXT = b"the quick brown fox jumps over the lazy dog\n" * 5000


def module_of(data: bytes, stored: bytes, length: int | None = None) -> Module:
    """A module that declares `data`, or another length, stored as `stored`."""
    how = Compression.NONE if stored == data else Compression.ZSTD
    return Module(
        path="usr/share/text",
        kind=ModuleKind.DATA,
        cpu=None,
        mode=0o644,
        length=len(data) if length is None else length,
        offset=0,
        pieces=(Piece(len(stored), how, Digest.of(stored)),) if stored else (),
        sha256=Digest.of(data),
        substantive=Digest.of(data),
        streamed=True,
    )


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """The data in pieces."""
    return (data[at : at + size] for at in range(0, len(data), size))


def decoded(module: Module, stored: Iterable[bytes]) -> bytes:
    return b"".join(decode_module(module, stored))


COMPRESSED = zstandard.ZstdCompressor(level=19).compress(TEXT)
MODULE = module_of(TEXT, COMPRESSED)


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
def test_pieces_of_any_size_give_the_file(size: int) -> None:
    assert decoded(MODULE, cut(COMPRESSED, size)) == TEXT
    assert decoded(module_of(TEXT, TEXT), cut(TEXT, max(size, 100))) == TEXT


def test_empty_pieces_and_an_empty_file_are_no_trouble() -> None:
    assert decoded(MODULE, [b"", COMPRESSED[:10], b"", COMPRESSED[10:], b""]) == TEXT
    assert decoded(module_of(b"", b""), []) == b""


def test_no_piece_is_longer_than_the_stated_bound() -> None:
    assert max(map(len, decode_module(MODULE, [COMPRESSED]))) <= CHUNK


@given(st.integers(0, len(COMPRESSED) - 1), st.integers(0, 7))
def test_a_bit_turned_over_is_refused(position: int, bit: int) -> None:
    damaged = bytearray(COMPRESSED)
    damaged[position] ^= 1 << bit
    with pytest.raises(PackageRefused):
        decoded(MODULE, [bytes(damaged)])


def test_every_shorter_stored_length_is_refused() -> None:
    for length in range(len(COMPRESSED)):
        with pytest.raises(PackageRefused):
            decoded(MODULE, [COMPRESSED[:length]])


def test_bytes_after_the_stored_ones_are_refused() -> None:
    with pytest.raises(PackageRefused, match="more stored bytes than declared"):
        decoded(MODULE, [COMPRESSED, b"\0"])
    with pytest.raises(PackageRefused, match="more stored bytes than declared"):
        decoded(module_of(TEXT, TEXT), [TEXT, b"\0"])


def test_the_last_piece_is_held_back_until_all_is_right() -> None:
    wrong = replace(MODULE, sha256=Digest.of(b"another file"))
    seen = 0
    with pytest.raises(PackageRefused, match="exact hash"):
        for piece in decode_module(wrong, [COMPRESSED]):
            seen += len(piece)
    assert seen < len(TEXT)


def test_a_file_stored_as_it_is_and_altered_yields_nothing_when_short() -> None:
    data = b"short file"
    pieces = decode_module(module_of(data, data), [b"shorT file"])
    with pytest.raises(PackageRefused, match="altered"):
        next(pieces)


def test_content_of_another_length_than_declared_is_refused() -> None:
    for length, complaint in (
        (len(TEXT) - 1, "longer than declared"),
        (len(TEXT) + 1, "shorter than declared"),
    ):
        with pytest.raises(PackageRefused, match=complaint):
            decoded(module_of(TEXT, COMPRESSED, length), [COMPRESSED])


def test_a_second_frame_is_refused() -> None:
    twice = COMPRESSED + zstandard.compress(b"more")
    with pytest.raises(PackageRefused, match="longer than declared"):
        decoded(module_of(TEXT, twice), [twice])


def test_rubbish_behind_the_frame_is_refused() -> None:
    longer = COMPRESSED + b"rubbish"
    with pytest.raises(PackageRefused, match="cannot be decompressed"):
        decoded(module_of(TEXT, longer), [longer])


def test_a_bomb_stops_at_the_declared_length_and_takes_little_memory() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(512 << 20))
    module = module_of(TEXT, bomb, 1 << 20)
    tracemalloc.start()
    try:
        seen = 0
        with pytest.raises(PackageRefused, match="longer than declared"):
            for piece in decode_module(module, [bomb]):
                seen += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen <= 1 << 20
    assert peak < 16 << 20


def test_a_window_over_the_bound_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, compression_level=3)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    wide = compressor.compress(TEXT) + compressor.flush()
    with pytest.raises(PackageRefused, match="cannot be decompressed"):
        decoded(module_of(TEXT, wide), [wide])


def test_a_symlink_yields_nothing_and_takes_nothing() -> None:
    target = b"text.1"
    link = Module(
        path="usr/share/text",
        kind=ModuleKind.SYMLINK,
        cpu=None,
        mode=0o777,
        length=0,
        offset=0,
        pieces=(),
        sha256=Digest.of(target),
        substantive=Digest.of(target),
        link_target="text.1",
        streamed=True,
    )
    assert decoded(link, []) == b""
    with pytest.raises(PackageRefused, match="more stored bytes"):
        decoded(link, [b"x"])
