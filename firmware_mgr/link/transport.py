"""The link's wire: frames of messages over a byte stream. A thin shell over asyncio streams.

Knows reading and writing; TLS contexts come from outside.
"""

from __future__ import annotations

import asyncio

from firmware_mgr.link.frames import FrameReader, encode_frame
from firmware_mgr.link.messages import PROTOCOL_VERSION, FromCard, FromMaster, to_document

_READ_SIZE = 64 * 1024
#: The other end has this long to take what it was sent, before it counts as gone.
DRAIN_SECONDS = 30.0


class LinkStream:
    """One end of a link. `receive` gives documents; the caller reads them by its side's table."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader()

    async def receive(self) -> dict[str, object] | None:
        """The next document; None when the other end has closed. Raises PeerError or OSError."""
        while True:
            document = self._frames.next_document()
            if document is not None:
                return document
            data = await self._reader.read(_READ_SIZE)
            if not data:
                return None
            self._frames.feed(data)

    async def send(self, message: FromCard | FromMaster, version: int = PROTOCOL_VERSION) -> None:
        """Say it as that version does. Raises OSError when the link is gone or nothing is taken."""
        self._writer.write(encode_frame(to_document(message, version)))
        try:
            await asyncio.wait_for(self._writer.drain(), DRAIN_SECONDS)
        except TimeoutError as e:
            raise ConnectionResetError("the other end takes nothing") from e

    def abort(self) -> None:
        """Drop the connection now, without a farewell."""
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        try:
            await asyncio.wait_for(self._writer.wait_closed(), 2.0)
        except (OSError, TimeoutError):
            self._writer.transport.abort()
