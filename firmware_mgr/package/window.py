"""A part of an open file as if it were a file: how a package inside another file is read in place.

Knows where it begins and ends. Reads by position, so that several can share one file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from firmware_mgr.model.errors import UsageError

CHUNK = 64 << 10


@dataclass(frozen=True, slots=True)
class Window:
    """`length` bytes from `start` on. Whoever opened the stream closes it."""

    stream: BinaryIO
    start: int
    length: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """A whole file. Raises UsageError, also for what is no regular file: opening a pipe would wait."""
        if path.exists() and not path.is_file():
            raise UsageError("not a file", where=str(path), expected="a package, set or composite image")
        try:
            stream = path.open("rb")
        except OSError as e:
            raise UsageError(
                "package cannot be read",
                where=str(path),
                expected="a package (.fwp), set (.fws) or composite image (.fwc)",
                found=e.strerror,
            ) from e
        return cls(stream, 0, os.fstat(stream.fileno()).st_size)

    def part(self, place: range) -> Window:
        """A window in this one."""
        if not 0 <= place.start <= place.stop <= self.length:
            raise UsageError("outside of the file", expected=f"0 to {self.length}", found=place)
        return Window(self.stream, self.start + place.start, len(place))

    def chunks(self, place: range | None = None) -> Iterator[bytes]:
        """The bytes there, at most CHUNK at a time; fewer when the file has become shorter."""
        place = range(self.length) if place is None else place
        at, stop = self.start + place.start, self.start + min(place.stop, self.length)
        while at < stop:
            chunk = os.pread(self.stream.fileno(), min(CHUNK, stop - at), at)
            if not chunk:
                return
            at += len(chunk)
            yield chunk

    def read(self, place: range) -> bytes:
        """All of them."""
        return b"".join(self.chunks(place))
