"""What agent and keeper say to each other: JSON in frames over a stream socket, descriptors beside a frame.

A frame is a length of four bytes, big-endian, and a JSON object. Both ends are of the same boot image, so the
wire has no version. Knows frames and the names in them; refuses to know what they bring about.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from enum import Enum
from typing import Any

from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError, UsageError

LENGTH = struct.Struct(">I")
#: Room for a process's arguments and environment at the package format's limits, as JSON.
MAX_FRAME = 32 << 20
MAX_DESCRIPTORS = 2


class Request(Enum):
    """The agent's words: the value of `do`. All but SIGNAL are answered, in their order."""

    MAKE = "make"  # descriptors: tree, source
    SPAWN = "spawn"  # descriptor: output
    SIGNAL = "signal"
    CLOSE = "close"


def encode(document: dict[str, Any]) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    return LENGTH.pack(len(body)) + body


class Decoder:
    """Finds frames in a stream."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The documents that are complete now. Raises PeerError for what is no frame."""
        self._buffer += data
        documents = []
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME:
                raise PeerError("frame is too long", where="keeper's wire", expected=MAX_FRAME, found=length)
            end = LENGTH.size + length
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[LENGTH.size : end])
            del self._buffer[:end]
            try:
                document = json.loads(body)
            except ValueError as e:
                raise PeerError("frame is not JSON", where="keeper's wire", found=str(e)) from e
            if not isinstance(document, dict):
                raise PeerError(
                    "frame is not an object", where="keeper's wire", found=type(document).__name__
                )
            documents.append(document)
        return documents


def receive(end: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Wait for one whole frame and its descriptors; None when the other end is gone."""
    head, descriptors, _, _ = socket.recv_fds(end, LENGTH.size, MAX_DESCRIPTORS)
    head += _receive_exactly(end, LENGTH.size - len(head)) if head else b""
    if len(head) < LENGTH.size:
        return None
    body = _receive_exactly(end, LENGTH.unpack(head)[0])
    documents = Decoder().feed(head + body)
    return (documents[0], list(descriptors)) if documents else None


def _receive_exactly(end: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        piece = end.recv(min(length - len(data), 1 << 20))
        if not piece:
            break
        data += piece
    return bytes(data)


def send(end: socket.socket, document: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one frame; waits while the socket is full."""
    frame = encode(document)
    if descriptors:
        sent = socket.send_fds(end, [frame[: LENGTH.size]], list(descriptors))
        frame = frame[sent:]
    end.sendall(frame)


_ERRORS: dict[str, type[FwmgrError]] = {kind.__name__: kind for kind in (UsageError, PeerError, DeviceError)}


def to_error(document: dict[str, Any]) -> FwmgrError:
    """The error that the other end had."""
    kind = _ERRORS.get(str(document.get("kind")), DeviceError)
    return kind(
        str(document.get("what", "unknown error")),
        where=str(document.get("where", "")),
        expected=document.get("expected"),
        found=document.get("found"),
        hint=str(document.get("hint", "")),
    )
