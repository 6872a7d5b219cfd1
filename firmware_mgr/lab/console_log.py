"""A card's console as numbered lines with times: kept for readers, waited for, and logged within bounds.

`LineSplitter` is pure. `ConsoleLog` owns the file and wakes those who wait. Refuses to know where the
bytes come from.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from firmware_mgr.model.errors import PeerError
from firmware_mgr.rack.hands import ConsoleLine

#: A line longer than this many bytes is cut: a card that sends no line ends must not fill our memory.
LONGEST_LINE = 4096
#: The log's two files, `console.log` and `console.log.1`, hold at most this many bytes each.
LOG_FILE_BYTES = 4 << 20
#: So many lines can be asked for again.
KEPT_LINES = 10_000
#: The chassis' own remarks in the log begin with this.
NOTE_MARK = "[fwmgr] "

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class SplitLine:
    """A line and the time of its first byte."""

    time: datetime
    text: str


class LineSplitter:
    """Turns bytes into lines. Control characters become visible, so that a log never drives a terminal."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._time: datetime | None = None

    def receive(self, data: bytes, now: datetime) -> list[SplitLine]:
        """The lines that `data` completes."""
        lines = []
        pieces = data.split(b"\n")
        for index, piece in enumerate(pieces):
            self._bytes += piece
            if self._time is None and (piece or index < len(pieces) - 1):
                self._time = now
            while len(self._bytes) > LONGEST_LINE:
                head = bytes(self._bytes[:LONGEST_LINE])
                del self._bytes[:LONGEST_LINE]
                lines.append(SplitLine(self._time or now, _visible(head)))
                self._time = now
            if index < len(pieces) - 1:
                lines.append(SplitLine(self._time or now, _visible(bytes(self._bytes))))
                self._bytes.clear()
                self._time = None
        return lines

    @property
    def unfinished(self) -> SplitLine | None:
        """The line that has not ended yet, a prompt for example."""
        if self._time is None or not self._bytes.strip(b"\r"):
            return None
        return SplitLine(self._time, _visible(bytes(self._bytes)))

    def finish(self) -> list[SplitLine]:
        """End the unfinished line as it is."""
        line = self.unfinished
        self._bytes.clear()
        self._time = None
        return [] if line is None else [line]


def _visible(raw: bytes) -> str:
    text = raw.decode("utf-8", "backslashreplace").strip("\r")
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def utc_now() -> datetime:
    """The host's clock: console times are for people."""
    return datetime.now(UTC)


class ConsoleLog:
    """One slot's console: its last lines, its log file, and those who wait for a line."""

    def __init__(
        self, path: Path, *, clock: Callable[[], datetime] = utc_now, file_bytes: int = LOG_FILE_BYTES
    ) -> None:
        self._path = path
        self._clock = clock
        self._limit = file_bytes
        self._splitter = LineSplitter()
        self._lines: deque[ConsoleLine] = deque(maxlen=KEPT_LINES)
        self._next = 1
        self._changed = asyncio.Event()
        self._file = path.open("ab")

    @property
    def last_number(self) -> int:
        """The number of the last finished line; 0 when there is none."""
        return self._next - 1

    def receive(self, data: bytes) -> None:
        """Bytes from the card."""
        self._keep(self._splitter.receive(data, self._clock()))

    def note(self, text: str) -> None:
        """A remark of the chassis, such as a power-on, on a line of its own."""
        self._keep([*self._splitter.finish(), SplitLine(self._clock(), NOTE_MARK + text)])

    def tail(self, count: int) -> list[ConsoleLine]:
        """The last `count` lines, oldest first, the unfinished one among them."""
        lines = [*self._lines, *self._unfinished()]
        return lines[-count:] if count else []

    async def wait_for_line(self, text: str, *, after: int, within: float) -> ConsoleLine:
        """The first line numbered over `after` that holds `text`, unfinished or not.

        Raises PeerError when there is none `within` seconds.
        """
        try:
            async with asyncio.timeout(within):
                while True:
                    changed = self._changed
                    for line in (*self._lines, *self._unfinished()):
                        if line.number > after and text in line.text:
                            return line
                    after = max(after, self.last_number)
                    await changed.wait()
        except TimeoutError as e:
            last = self.tail(1)
            raise PeerError(
                "the console did not say it in time",
                where=str(self._path),
                expected=f"{text!r} in {within:g} s",
                found=repr(last[0].text) if last else "silence",
            ) from e

    def close(self) -> None:
        self._keep(self._splitter.finish())
        self._file.close()

    def _unfinished(self) -> list[ConsoleLine]:
        line = self._splitter.unfinished
        return [] if line is None else [ConsoleLine(self._next, line.time, line.text)]

    def _keep(self, lines: list[SplitLine]) -> None:
        for line in lines:
            self._lines.append(ConsoleLine(self._next, line.time, line.text))
            self._next += 1
            self._write(line)
        self._file.flush()
        self._changed.set()
        self._changed = asyncio.Event()

    def _write(self, line: SplitLine) -> None:
        stamp = line.time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        raw = f"{stamp}Z {line.text}\n".encode("utf-8", "backslashreplace")
        if self._file.tell() + len(raw) > self._limit:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("ab")
        self._file.write(raw)
