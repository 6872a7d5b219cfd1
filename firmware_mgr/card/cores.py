"""Core dumps of processes: tells the kernel who takes them, and gives them out. `core_catcher` keeps them.

Knows /proc/sys/kernel and the files of dumps. Refuses to know who asks.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

from firmware_mgr.card import core_catcher
from firmware_mgr.link.service import KeptCore
from firmware_mgr.model.errors import DeviceError, UsageError

#: core(5): a longer pattern is cut by the kernel.
MAX_PATTERN = 127
#: Dumps written at once; more are not taken. Not 0, so that the kernel keeps /proc/PID until we are done.
PIPE_LIMIT = "4"
_ID = re.compile(r"\d{10}-\d{1,10}")
#: Of names of processes by pid, so many are kept.
_MAX_NAMES = 512


def core_pattern(place: Path, program: tuple[str, ...]) -> str:
    """What the kernel is told: `program` takes each dump and keeps it below `place`, which this process sees.

    Raises DeviceError when the kernel would cut it.
    """
    root = f"/proc/{os.getpid()}/root{place}"
    pattern = f"|{' '.join(program)} %P %s %t {root} %e"
    if len(pattern) > MAX_PATTERN:
        raise DeviceError(
            "pattern is too long for the kernel",
            where=f"core_pattern {pattern}",
            expected=f"at most {MAX_PATTERN} characters",
            found=len(pattern),
        )
    return pattern


#: This interpreter, without site packages, and the program that keeps dumps.
CATCHER = (sys.executable, "-IS", core_catcher.__file__)


def catch_cores(
    place: Path, program: tuple[str, ...] = CATCHER, kernel: Path = Path("/proc/sys/kernel")
) -> None:
    """From here on each process that dies of a signal leaves its dump below `place`. Raises DeviceError."""
    pattern = core_pattern(place, program)
    try:
        (kernel / "core_pipe_limit").write_text(PIPE_LIMIT)
        (kernel / "core_pattern").write_text(pattern)
    except OSError as e:
        raise DeviceError("core dumps cannot be taken", where=str(e.filename), found=e.strerror) from e


class CoreShelf:
    """The dumps below `place`, and the names of processes for those to come."""

    def __init__(self, place: Path) -> None:
        self._folder = place / "data" / "cores"
        self._names = place / "names"
        self._named: dict[int, str] = {}

    def started(self, pid: int, process: str) -> None:
        """A process of this name has this pid: its dump and those of its children will bear the name."""
        if self._named.pop(pid, None) != process:
            self._names.mkdir(parents=True, exist_ok=True)
            (self._names / str(pid)).write_text(process)
        self._named[pid] = process
        if len(self._named) > _MAX_NAMES:
            oldest = next(iter(self._named))
            del self._named[oldest]
            (self._names / str(oldest)).unlink(missing_ok=True)

    def cores(self) -> tuple[KeptCore, ...]:
        """All dumps, oldest first. One whose description cannot be read is not among them."""
        found = []
        for path in sorted(self._folder.glob("*.core.gz")):
            identifier = path.name.removesuffix(".core.gz")
            try:
                document = json.loads((self._folder / f"{identifier}.json").read_text())
                found.append(
                    KeptCore(
                        identifier,
                        str(document["process"])[:256],
                        int(document["pid"]),
                        int(document["signal"]),
                        float(document["time"]),
                        path.stat().st_size,
                        bool(document["cut"]),
                    )
                )
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return tuple(found)

    def read(self, identifier: str, start: int, length: int) -> tuple[bytes, int]:
        """Bytes of a dump from `start` on, and the dump's length. Raises UsageError when it is not there."""
        path = self._folder / f"{identifier}.core.gz"
        try:
            if not _ID.fullmatch(identifier):
                raise FileNotFoundError
            with path.open("rb") as file:
                file.seek(max(0, start))
                return file.read(length), os.fstat(file.fileno()).st_size
        except FileNotFoundError as e:
            known = ", ".join(core.id for core in self.cores()) or "none"
            raise UsageError("no such core dump", where="card", expected=known, found=identifier) from e
