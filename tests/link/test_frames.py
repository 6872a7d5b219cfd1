"""The link's frames: whole, byte by byte, hostile."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.link.frames import MAX_FRAME, FrameReader, encode_frame
from firmware_mgr.model.errors import PeerError

documents = st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=20) | st.none(), max_size=5)


@given(st.lists(documents, max_size=5), st.data())
def test_documents_arrive_whole_however_the_bytes_are_cut(
    sent: list[dict[str, object]], data: st.DataObject
) -> None:
    raw = b"".join(encode_frame(document) for document in sent)
    reader, got = FrameReader(), []
    while raw:
        cut = data.draw(st.integers(1, len(raw)))
        reader.feed(raw[:cut])
        raw = raw[cut:]
        while (document := reader.next_document()) is not None:
            got.append(document)
    assert got == sent


@given(st.binary(max_size=200))
def test_any_bytes_give_a_document_or_need_more_or_are_rejected(raw: bytes) -> None:
    reader = FrameReader()
    reader.feed(raw)
    try:
        while reader.next_document() is not None:
            pass
    except PeerError:
        pass


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1, 0xFFFFFFFF])
def test_a_length_outside_the_bound_is_rejected_before_any_body(length: int) -> None:
    reader = FrameReader()
    reader.feed(length.to_bytes(4, "big"))
    with pytest.raises(PeerError, match="length"):
        reader.next_document()


@pytest.mark.parametrize("body", [b"[]", b"1", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_rejected(body: bytes) -> None:
    reader = FrameReader()
    reader.feed(len(body).to_bytes(4, "big") + body)
    with pytest.raises(PeerError):
        reader.next_document()


def test_a_document_over_the_bound_is_not_sent() -> None:
    with pytest.raises(PeerError, match="too long"):
        encode_frame({"text": "x" * MAX_FRAME})


def test_the_frame_is_a_length_and_json() -> None:
    frame = encode_frame({"type": "ping"})
    assert frame[:4] == (len(frame) - 4).to_bytes(4, "big")
    assert json.loads(frame[4:]) == {"type": "ping"}
