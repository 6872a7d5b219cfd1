"""TFTP's text mode (RFC 1350 §1, RFC 764): on the wire a line ends with CR LF, and a lone CR is CR NUL.

Knows bytes, and where in the converted text those of the file are: an index of one number for each chunk, so
that any part can be converted by itself. The conversion of a byte does not depend on its neighbours.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import Digest
from firmware_mgr.netboot.blobs import read_blob
from firmware_mgr.netboot.served import Blob

CHUNK = 64 << 10
READ_AT_ONCE = 1 << 20  # a longer file is looked through in a thread
REMEMBERED = 256
MAX_SCANS = 4  # files being looked through at a time


def convert(data: bytes) -> bytes:
    return data.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")


@dataclass(frozen=True, slots=True)
class TextBlob(Blob):
    """A blob as text: `length` is that of the text. `starts`: where each chunk of the file begins in it."""

    starts: Sequence[int] = ()
    file: Blob | None = None


def as_text(blob: Blob) -> TextBlob:
    """Reads the whole file. Raises DeviceError."""
    starts, length = array("Q"), 0
    for at in range(0, blob.length, CHUNK):
        data = read_blob(blob, at, CHUNK)
        starts.append(length)
        length += len(data) + data.count(b"\r") + data.count(b"\n")
    return TextBlob(_text_digest(blob), length, blob.path, starts=starts, file=blob)


def _text_digest(blob: Blob) -> Digest:
    """A name for the text of a blob, to tell it from the blob's own bytes."""
    return Digest.of(b"netascii " + blob.digest.hex.encode())


def read_any(blob: Blob, start: int, count: int) -> bytes:
    """As `read_blob`, of a file or of a text."""
    if not isinstance(blob, TextBlob) or blob.file is None:
        return read_blob(blob, start, count)
    end = min(start + count, blob.length)
    if start >= end:
        return b""
    first, last = bisect_right(blob.starts, start) - 1, bisect_right(blob.starts, end - 1)
    text = convert(read_blob(blob.file, first * CHUNK, (last - first) * CHUNK))
    skipped = start - blob.starts[first]
    return text[skipped : skipped + end - start]


class TextBlobs:
    """The texts of blobs asked for before. `get` hands one over, at once or when its file was read."""

    def __init__(self) -> None:
        self._known: OrderedDict[Digest, TextBlob] = OrderedDict()
        self._scans: set[asyncio.Future[None]] = set()

    def get(self, blob: Blob, take: Callable[[TextBlob | DeviceError], None]) -> bool:
        """False when too much is being looked through already; `take` is not called then."""
        known = self._known.get(blob.digest)
        if known is not None:
            self._known.move_to_end(blob.digest)
            take(replace(known, path=blob.path, file=blob))
            return True
        if blob.length <= READ_AT_ONCE:
            take(self._looked_through(blob))
            return True
        if len(self._scans) >= MAX_SCANS:
            return False
        scan = asyncio.ensure_future(self._scan(blob, take))
        self._scans.add(scan)
        scan.add_done_callback(self._scans.discard)
        return True

    def stop(self) -> None:
        for scan in self._scans:
            scan.cancel()

    async def _scan(self, blob: Blob, take: Callable[[TextBlob | DeviceError], None]) -> None:
        take(self._keep(blob, await asyncio.to_thread(_text_or_error, blob)))

    def _looked_through(self, blob: Blob) -> TextBlob | DeviceError:
        return self._keep(blob, _text_or_error(blob))

    def _keep(self, blob: Blob, text: TextBlob | DeviceError) -> TextBlob | DeviceError:
        if isinstance(text, TextBlob):
            self._known[blob.digest] = text
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return text


def _text_or_error(blob: Blob) -> TextBlob | DeviceError:
    try:
        return as_text(blob)
    except DeviceError as e:
        return e
