"""The receiving half of a link: frames, messages, turns; and the rules that hold for any bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from firmware_mgr.link import messages as m
from firmware_mgr.link.frames import LENGTH_SIZE, MAX_FRAME, FrameReader, encode_frame
from firmware_mgr.link.session import Session, SessionState
from firmware_mgr.model.errors import PeerError


@dataclass
class LinkHouse:
    """One end of a link. `feed` gives the messages that got through, or None when the link has ended."""

    of_card: bool = True

    def __post_init__(self) -> None:
        self.reader = FrameReader()
        self.session = Session("slot 1")
        if not self.of_card:
            self.session.card_said(_hello())

    def feed(self, data: bytes) -> list[Any] | None:
        self.reader.feed(data)
        heard = []
        try:
            while (document := self.reader.next_document()) is not None:
                heard.append(self._hear(document))
        except PeerError as e:
            _check_error(e)
            return None
        assert len(self.reader._buffer) <= LENGTH_SIZE + MAX_FRAME + len(data)
        return heard

    def _hear(self, document: dict[str, Any]) -> Any:
        if self.of_card:
            said = m.read_from_card(document)
            self.session.card_said(said)
            if self.session.state is SessionState.GREETED:
                self.session.master_said(
                    m.Welcome(said.protocol if said.protocol in (1, 2) else 2, 0.0, "slot1")
                )
            again: Any = m.read_from_card(_through_json(m.to_document(said)))
        else:
            said = m.read_from_master(document)  # type: ignore[assignment]
            self.session.master_said(said)  # type: ignore[arg-type]
            again = m.read_from_master(_through_json(m.to_document(said)))
        assert again == said, "what was read cannot be written down and read again"
        return said


def _through_json(document: dict[str, Any]) -> dict[str, Any]:
    """As the catalogue and the API write it: strict JSON."""
    text = json.dumps(document, allow_nan=False, ensure_ascii=False)
    reader = FrameReader()
    reader.feed(encode_frame(document))
    assert reader.next_document() == json.loads(text.encode("utf-8"))
    return document


def _check_error(error: PeerError) -> None:
    """It is shown and kept: it must be short and such that it can be written down."""
    for text in error.document().values():
        assert len(text) <= 6000, f"{len(text)} characters"
        text.encode("utf-8")


def _hello() -> m.Hello:
    from .link_documents import HELLO

    message = m.read_from_card(HELLO)
    assert isinstance(message, m.Hello)
    return message


def play(data: bytes) -> None:
    """A fuzzer's bytes: the first chooses the side and how the rest is cut; the rest is frames, each behind
    its true length where the first byte's top bit says so."""
    if not data:
        return
    house = LinkHouse(of_card=bool(data[0] & 1))
    rest = data[1:]
    if data[0] & 128:
        rest = b"".join(len(line).to_bytes(LENGTH_SIZE, "big") + line for line in rest.split(b"\n") if line)
    step = {0: len(rest) or 1, 2: 1, 4: 7, 6: 64}[data[0] & 6]
    for at in range(0, len(rest), step):
        if house.feed(rest[at : at + step]) is None:
            break
    house.session.close()
