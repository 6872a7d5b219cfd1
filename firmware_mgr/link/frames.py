"""Frames on the link: a 4-byte big-endian length, then that many bytes of JSON (SPEC-link §2).

Knows lengths and JSON, not what a message means. A frame over the bound ends the session: the other
end is broken or hostile, and there is no way to find the next frame.
"""

from __future__ import annotations

import json
from typing import Any

from firmware_mgr.model.errors import PeerError

LENGTH_SIZE = 4
#: A hello of a card with thousands of modules stays under 1 MiB; nothing legal is longer than this.
MAX_FRAME = 4 * 1024 * 1024


def encode_frame(document: dict[str, Any]) -> bytes:
    """One frame. Raises PeerError when the document is over the bound."""
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    if len(body) > MAX_FRAME:
        raise PeerError(
            "message is too long for the link", expected=f"at most {MAX_FRAME} bytes", found=len(body)
        )
    return len(body).to_bytes(LENGTH_SIZE, "big") + body


class FrameReader:
    """Collects bytes as they come and gives whole documents."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_document(self) -> dict[str, Any] | None:
        """The next document, or None when more bytes are needed. Raises PeerError on a malformed frame."""
        if len(self._buffer) < LENGTH_SIZE:
            return None
        length = int.from_bytes(self._buffer[:LENGTH_SIZE], "big")
        if not 0 < length <= MAX_FRAME:
            raise PeerError("bad frame length", expected=f"1 to {MAX_FRAME}", found=length)
        if len(self._buffer) < LENGTH_SIZE + length:
            return None
        body = bytes(self._buffer[LENGTH_SIZE : LENGTH_SIZE + length])
        del self._buffer[: LENGTH_SIZE + length]
        try:
            document = json.loads(body, parse_constant=_no_number)
        except (ValueError, RecursionError) as e:
            raise PeerError("frame is not JSON", found=repr(body[:40])) from e
        if not isinstance(document, dict):
            raise PeerError("frame is not a JSON object", found=type(document).__name__)
        return document


def _no_number(text: str) -> None:
    """NaN and infinities are Python's, not JSON's (RFC 8259 §6)."""
    raise ValueError(f"{text} is no JSON")
