"""The card's end of a link by the code of an older agent: run with that code's folder as its Python path.

Reads one JSON object a line. `{"say": document}`: read the document as a message of the card, and answer the
frame that the old code sends. `{"hear": hex}`: feed these bytes to the old code, answer what it understood.
Answers are JSON, one a line: `{"frame": hex}`, `{"heard": [document, …]}` or `{"error": text}`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from firmware_mgr.link import messages as m
from firmware_mgr.link.frames import FrameReader, encode_frame
from firmware_mgr.link.session import Session
from firmware_mgr.model.errors import FwmgrError


def answer(session: Session, reader: FrameReader, request: dict[str, Any]) -> dict[str, Any]:
    if "say" in request:
        said = m.read_from_card({"protocol": m.PROTOCOL_VERSION, **request["say"]})
        session.card_said(said)
        return {"frame": encode_frame(m.to_document(said)).hex()}
    reader.feed(bytes.fromhex(request["hear"]))
    heard = []
    while (document := reader.next_document()) is not None:
        order = m.read_from_master(document)
        session.master_said(order)
        heard.append(m.to_document(order))
    return {"heard": heard}


def main() -> None:
    session, reader = Session("old card"), FrameReader()
    for line in sys.stdin:
        try:
            result = answer(session, reader, json.loads(line))
        except FwmgrError as e:
            result = {"error": str(e)}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
