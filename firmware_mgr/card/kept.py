"""What a card keeps for people: the output of its processes, its agent's own log, core dumps. Gives pieces.

Answers in bounded pieces, one for each question, so that nothing else on the link waits. Refuses to know
links; whoever asks counts on.
"""

from __future__ import annotations

import logging
from pathlib import Path

from firmware_mgr.card.cores import CoreShelf
from firmware_mgr.card.process_log import kept_span, read_kept
from firmware_mgr.link.service import KEPT_PIECE, Kept, KeptLog, ListKept, Piece, ReadKept
from firmware_mgr.model.errors import FwmgrError, UsageError

#: The name under which the agent's own log is asked for; a process cannot have it (package/process.py).
AGENT = "agent:"
#: Bytes of the agent's log in memory.
AGENT_BYTES = 256 * 1024
#: Lines are counted in so many bytes before the end, not further back.
_TAIL_BYTES = 256 * 1024


class AgentLog(logging.Handler):
    """The agent's log of this boot: the newest bytes, in memory."""

    def __init__(self, max_bytes: int = AGENT_BYTES) -> None:
        super().__init__()
        self._max = max_bytes
        self._text = bytearray()
        self._dropped = 0
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._text += self.format(record).encode(errors="replace")[:8192] + b"\n"
        if len(self._text) > self._max:
            cut = len(self._text) - self._max // 2
            self._dropped += cut
            del self._text[:cut]

    def span(self) -> tuple[int, int]:
        return self._dropped, self._dropped + len(self._text)

    def read(self, start: int, length: int) -> tuple[int, bytes]:
        """Where the bytes begin, and the bytes."""
        start = min(max(start, self._dropped), self._dropped + len(self._text))
        return start, bytes(self._text[start - self._dropped :][:length])


class KeptDesk:
    """`logs` is the folder of the processes' logs (runner.py)."""

    def __init__(self, logs: Path, agent: AgentLog, cores: CoreShelf) -> None:
        self._logs = logs
        self._agent = agent
        self.cores = cores

    def answer(self, question: ListKept | ReadKept) -> Kept | Piece:
        """Never raises: what cannot be given is in the answer."""
        try:
            if isinstance(question, ListKept):
                return self._list(question)
            return self._read(question)
        except (OSError, ValueError) as e:
            error = {"what": "cannot be read on the card", "found": getattr(e, "strerror", None) or str(e)}
        except FwmgrError as e:
            error = e.document()
        if isinstance(question, ListKept):
            return Kept(question.request, note=": ".join(error.values()))
        return Piece(question.request, error=error)

    def _list(self, question: ListKept) -> Kept:
        logs = [KeptLog(name, *kept_span(path)) for name, path in self._files().items()]
        own = KeptLog(AGENT, *self._agent.span())
        return Kept(question.request, (own, *logs), self.cores.cores())

    def _files(self) -> dict[str, Path]:
        return {path.name.removesuffix(".log"): path for path in sorted(self._logs.glob("*.log"))}

    def _read(self, question: ReadKept) -> Piece:
        if question.what == "core":
            data, length = self.cores.read(question.name, question.start, KEPT_PIECE)
            return Piece(question.request, max(0, question.start), length, data)
        if question.what != "log":
            raise UsageError("nothing of this kind is kept", expected="log or core", found=question.what)
        files = self._files()
        if question.name != AGENT and question.name not in files:
            known = ", ".join((AGENT, *files))
            raise UsageError("no such log", where="card", expected=known, found=question.name)
        first, end = self._agent.span() if question.name == AGENT else kept_span(files[question.name])
        start = question.start
        if start < 0:
            begin, tail = self._bytes(question.name, files, max(first, end - _TAIL_BYTES), _TAIL_BYTES)
            start = begin + _line_start(tail, -start)
        begin, data = self._bytes(question.name, files, start, KEPT_PIECE)
        return Piece(question.request, begin, end, data)

    def _bytes(self, name: str, files: dict[str, Path], start: int, length: int) -> tuple[int, bytes]:
        if name == AGENT:
            return self._agent.read(start, length)
        return read_kept(files[name], start, length)


def _line_start(text: bytes, lines: int) -> int:
    """Where the last `lines` lines begin; a last line without its end counts."""
    place = len(text) - (1 if text.endswith(b"\n") else 0)
    for _ in range(lines):
        place = text.rfind(b"\n", 0, place)
        if place < 0:
            return 0
    return place + 1
