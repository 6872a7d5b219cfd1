"""UEFI variables beside the record of a flash's writes: what they were when so much had been written.

A card's variables lie in a flash chip of their own, so no log has both in one order. They are looked at all
the time: each content that was seen is kept, with the length of the log before and after it was read. Knows
files. Refuses to know what the variables say.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from firmware_mgr.lab.plan import SlotPaths
from firmware_mgr.model.ids import Digest

#: Seconds between two looks.
PACE = 0.1
_LOG = re.compile(r"writes-(\d+)\.log")
_SPANS = "spans.json"


@dataclass(frozen=True, slots=True)
class Span:
    """In this power-on, from one length of the log to another, the variables had this digest."""

    power_on: int
    start: int
    end: int
    digest: str


class Watched:
    """The variables that were seen, in a folder: one file for each content, and when it was seen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.spans: list[Span] = []
        if (folder / _SPANS).exists():
            self.spans = [Span(**span) for span in json.loads((folder / _SPANS).read_text())]

    def see(self, power_on: int, start: int, end: int, content: bytes) -> None:
        digest = Digest.of(content).hex
        last = self.spans[-1] if self.spans else None
        if last is not None and (last.power_on, last.digest) == (power_on, digest):
            self.spans[-1] = Span(power_on, last.start, end, digest)
            return
        if last is not None and (last.power_on, last.end, end) == (power_on, 0, 0):
            # Firmware at work, and nothing written to flash yet: no cut is there, but at what it ends with.
            self.spans.pop()
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{digest}.fd").write_bytes(content)
        self.spans.append(Span(power_on, start, end, digest))

    def keep(self) -> None:
        if self.spans:
            (self._folder / _SPANS).write_text(json.dumps([asdict(span) for span in self.spans]))
            needed = {f"{span.digest}.fd" for span in self.spans}
            for path in self._folder.glob("*.fd"):
                if path.name not in needed:
                    path.unlink()

    def at(self, power_on: int, position: int, rng: random.Random) -> Path | None:
        """Those of a cut at this length of the log: of a change that was just then, before or after it.

        None when the card has no such variables.
        """
        own = [span for span in self.spans if span.power_on == power_on]
        if not own:
            return None
        earlier = [span for span in own if span.start <= position] or own[:1]
        later = [span for span in own if span.end >= position] or own[-1:]
        return self._folder / f"{rng.choice([earlier[-1], later[0]]).digest}.fd"


class Watch:
    """Looks at the variables of all these slots until its block ends."""

    def __init__(self, slots: Sequence[tuple[SlotPaths, Path]]) -> None:
        self._slots = [(paths, Watched(folder)) for paths, folder in slots]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for _, watched in self._slots:
            watched.keep()

    def _run(self) -> None:
        while not self._over.wait(PACE):
            for paths, watched in self._slots:
                seen = _look(paths)
                if seen is not None:
                    watched.see(*seen)


def _look(paths: SlotPaths) -> tuple[int, int, int, bytes] | None:
    """Power-on, length of its log before and after, variables; None when just then something changed."""
    log = newest_log(paths)
    if log is None or not paths.variables.exists():
        return None
    start = log.stat().st_size
    first = paths.variables.read_bytes()
    end = log.stat().st_size
    if newest_log(paths) != log or paths.variables.read_bytes() != first:
        return None
    return power_on_of(log), start, end, first


def newest_log(paths: SlotPaths) -> Path | None:
    return max(logs_in(paths.directory), key=power_on_of, default=None)


def logs_in(folder: Path) -> list[Path]:
    """The logs of all power-ons, in their order."""
    found = [path for path in folder.glob("writes-*.log") if _LOG.fullmatch(path.name)]
    return sorted(found, key=power_on_of)


def power_on_of(log: Path) -> int:
    match = _LOG.fullmatch(log.name)
    assert match is not None
    return int(match[1])


def keep_logs(paths: SlotPaths, folder: Path, first: int) -> None:
    """Copy the logs from that power-on on."""
    for log in logs_in(paths.directory):
        if power_on_of(log) >= first:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(log, folder / log.name)
