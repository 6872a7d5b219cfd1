"""TFTP's text mode: any part of the text, the whole over real sockets, and its size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.model.errors import DeviceError
from firmware_mgr.netboot.events import Outcome
from firmware_mgr.netboot.netascii import CHUNK, READ_AT_ONCE, TextBlob, TextBlobs, as_text, convert, read_any
from firmware_mgr.netboot.served import Blob
from firmware_mgr.netboot.tftp_frames import FramePool

from .conftest import FILES, KERNEL, Rack
from .rack import blob_of
from .test_tftp_server import Caller


def read_back(text: bytes) -> bytes:
    """As a client on a Unix system stores it."""
    return text.replace(b"\r\n", b"\n").replace(b"\r\0", b"\r")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", b""),
        (b"a\nb", b"a\r\nb"),
        (b"a\rb", b"a\r\0b"),
        (b"\r\n", b"\r\0\r\n"),
        (b"\n\n\r\r", b"\r\n\r\n\r\0\r\0"),
    ],
)
def test_lines_end_as_rfc_764_has_them(data: bytes, text: bytes) -> None:
    assert convert(data) == text
    assert read_back(text) == data


SIZES = st.sampled_from([0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_part_of_a_text_is_that_part(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    size = data.draw(SIZES)
    pattern = data.draw(st.lists(st.sampled_from([b"\r", b"\n", b"x", b"\0"]), min_size=1, max_size=7))
    content = (b"".join(pattern) * (size + 1))[:size]
    text = as_text(blob_of(tmp_path_factory.mktemp("text") / "file", content))
    whole = convert(content)
    assert text.length == len(whole)
    for _ in range(5):
        start = data.draw(st.integers(0, len(whole) + 2))
        count = data.draw(st.integers(0, 2 * CHUNK))
        assert read_any(text, start, count) == whole[start : start + count]


@pytest.mark.parametrize(
    "options", [{}, {"tsize": "0", "blksize": "1468"}, {"windowsize": "16", "tsize": "0"}]
)
@pytest.mark.parametrize("name", sorted(FILES))
async def test_a_file_is_fetched_as_text_with_the_size_of_the_text(
    rack: Rack, options: dict[str, str], name: str
) -> None:
    with Caller(rack) as caller:
        client = await caller.fetch(name, mode="NetASCII", **options)
    text = convert(FILES[name])
    assert bytes(client.got) == text
    assert read_back(bytes(client.got)) == FILES[name]
    if "tsize" in options:
        assert client.oack["tsize"] == str(len(text))
    (ended,) = await rack.journal.wait_ended()
    assert ended.outcome is Outcome.DONE


async def test_a_long_file_is_looked_through_aside_and_then_served(rack: Rack) -> None:
    long = KERNEL * 5
    assert len(long) > READ_AT_ONCE
    blob = blob_of(rack.folder / "long", long)
    (held,) = rack.directory._by_mac.values()
    rack.directory._by_address[held.address] = replace(held, files={**held.files, "long": blob})
    for _ in range(2):
        with Caller(rack) as caller:
            client = await caller.fetch("long", mode="netascii", windowsize="32")
        assert read_back(bytes(client.got)) == long


async def test_text_and_bytes_of_a_file_are_framed_apart(tmp_path: Path) -> None:
    blob = blob_of(tmp_path / "file", b"\n" * 600)
    pool = FramePool()
    assert b"".join(pool.window(blob, 512, 1, 1))[4:] == b"\n" * 512
    assert b"".join(pool.window(as_text(blob), 512, 1, 1))[4:] == b"\r\n" * 256


async def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    blob = blob_of(tmp_path / "file", b"text")
    blob.path.unlink()
    taken: list[TextBlob | DeviceError] = []
    assert TextBlobs().get(blob, taken.append)
    assert isinstance(taken[0], DeviceError)


async def test_few_files_are_looked_through_at_a_time(tmp_path: Path) -> None:
    texts = TextBlobs()
    taken: list[TextBlob | DeviceError] = []
    blob = blob_of(tmp_path / "file", b"x" * (READ_AT_ONCE + 1))
    started = [texts.get(blob, taken.append) for _ in range(9)]
    assert started == [True] * 4 + [False] * 5
    texts.stop()


def test_an_empty_blob_is_an_empty_text(tmp_path: Path) -> None:
    text = as_text(blob_of(tmp_path / "file", b""))
    assert (text.length, read_any(text, 0, 10)) == (0, b"")
    assert isinstance(text, Blob)


async def test_a_file_of_more_blocks_than_the_board_counts_is_refused(rack: Rack) -> None:
    (held,) = rack.directory._by_mac.values()
    rack.directory._by_address[held.address] = replace(held, max_tftp_blocks=2)
    with Caller(rack) as caller:
        client = await caller.fetch("whole")  # 1024 bytes: two blocks, and an empty one
    assert client.error is not None
    assert client.error.text == "3 blocks of 512: this board counts to 2"
    with Caller(rack) as caller:
        assert bytes((await caller.fetch("whole", blksize="1024")).got) == FILES["whole"]
