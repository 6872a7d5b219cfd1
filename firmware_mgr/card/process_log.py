"""What a process writes to standard output and error, in a bounded file. Knows bytes, not their meaning."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

MAX_BYTES = 1 << 20
#: Of each run, so many bytes are kept at hand to explain a failure.
OPENING_BYTES = 2048
_PIECE = 65536
#: Taken in at a time, so that a process that never stops writing does not keep the agent from its work.
_PIECES = 16


def _before(path: Path) -> tuple[Path, Path]:
    """The older half of a log, and the file that says how many bytes were dropped before that."""
    return path.with_name(f"{path.name}.1"), path.with_name(f"{path.name}.dropped")


def _sizes(path: Path) -> tuple[int, int, int]:
    older, dropped = _before(path)
    said = dropped.read_text() if dropped.exists() else ""
    count = int(said) if said.isdecimal() else 0  # what lies in RAM is not worth an agent
    return count, older.stat().st_size if older.exists() else 0, path.stat().st_size


def kept_span(path: Path) -> tuple[int, int]:
    """From where to where a log is kept: bytes counted since its first. Raises OSError."""
    dropped, older, newer = _sizes(path)
    return dropped, dropped + older + newer


def read_kept(path: Path, start: int, length: int) -> tuple[int, bytes]:
    """Bytes from `start` on, or from the first that is kept: where they begin, and they. Raises OSError."""
    dropped, older, newer = _sizes(path)
    start = min(max(start, dropped), dropped + older + newer)
    data = b""
    for file, offset, size in ((_before(path)[0], dropped, older), (path, dropped + older, newer)):
        place = start + len(data) - offset
        if 0 <= place < size and len(data) < length:
            with file.open("rb") as stream:
                stream.seek(place)
                data += stream.read(min(size - place, length - len(data)))
    return start, data


class ProcessLog:
    """`path` holds at most MAX_BYTES; what was in it before is in `path`.1."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        """Raises OSError when the file cannot be opened."""
        self._path = path
        self._max = max_bytes
        self._file = path.open("ab", buffering=0)
        self._opening = bytearray()
        self._pipe = -1
        self._loop: asyncio.AbstractEventLoop

    @property
    def path(self) -> Path:
        return self._path

    @property
    def opening(self) -> str:
        """The first lines of this run, for people."""
        text = self._opening.decode("utf-8", "replace")
        return "".join(c if c.isprintable() or c == "\n" else " " for c in text).strip()

    def begin_run(self) -> int:
        """Start to follow a new run. The caller hands the returned descriptor to it, and closes it."""
        self._end_run()
        self._opening.clear()
        self._pipe, writer = os.pipe()
        os.set_blocking(self._pipe, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pipe, self._read)
        return writer

    def write(self, data: bytes) -> None:
        """Add bytes, and rotate first when they would not fit. What the disk does not take is lost."""
        self._opening += data[: OPENING_BYTES - len(self._opening)]
        data = data[-self._max :]
        # RAM may be full of what processes wrote elsewhere: a log that is lost must not cost the card.
        with contextlib.suppress(OSError):
            if self._file.tell() + len(data) > self._max:
                older, dropped = _before(self._path)
                if older.exists():
                    # Whole or not at all: it is read meanwhile, and RAM may be full.
                    draft = dropped.with_name(f"{dropped.name}.new")
                    draft.write_text(str(_sizes(self._path)[0] + older.stat().st_size))
                    draft.replace(dropped)
                self._path.replace(older)
                rotated = self._path.open("ab", buffering=0)
                self._file.close()
                self._file = rotated
            self._file.write(data)

    def drain(self) -> None:
        """Take in what has been written by now."""
        if self._pipe >= 0:
            self._read()

    def close(self) -> None:
        """May be called when the loop does not run."""
        self.drain()
        self._end_run()
        self._file.close()

    def _read(self) -> None:
        for _ in range(_PIECES):
            if self._pipe < 0:
                return
            try:
                data = os.read(self._pipe, _PIECE)
            except BlockingIOError:
                return
            if not data:
                self._end_run()
                return
            self.write(data)

    def _end_run(self) -> None:
        if self._pipe >= 0:
            self._loop.remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1
