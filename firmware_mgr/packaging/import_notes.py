"""What an import has to say: everything that is not in the package as it was in the .debs, one line each.

Knows how notes are gathered: the same one of several CPUs is one line. Refuses to judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from firmware_mgr.model.ids import CpuArch


class NoteKind(Enum):
    """Why it is said. The value heads the group on screen."""

    LEFT_OUT = "left out"
    CHANGED = "changed"
    SCRIPT = "not run"
    HINT = "to know"


@dataclass(frozen=True, slots=True)
class Note:
    """`subject` is a path, a .deb or a library; `count` how many things the line stands for."""

    kind: NoteKind
    subject: str
    text: str
    cpus: tuple[CpuArch, ...]
    count: int

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
        cpus = [cpu.value for cpu in self.cpus]
        return {
            "kind": self.kind.value,
            "subject": self.subject,
            "text": self.text,
            "cpus": cpus,
            "count": self.count,
        }


class Notes:
    """Gathers notes; gives them in an order that does not hang on how they came."""

    def __init__(self) -> None:
        self._gathered: dict[tuple[NoteKind, str, str], dict[CpuArch, int]] = {}

    def add(self, kind: NoteKind, subject: str, text: str, cpu: CpuArch) -> None:
        """Say it for one CPU; said again, it counts."""
        counts = self._gathered.setdefault((kind, subject, text), {})
        counts[cpu] = counts.get(cpu, 0) + 1

    def sorted(self) -> tuple[Note, ...]:
        """By kind, then by subject and text."""
        order = {kind: place for place, kind in enumerate(NoteKind)}
        keys = sorted(self._gathered, key=lambda key: (order[key[0]], key[1], key[2]))
        return tuple(
            Note(*key, tuple(sorted(counts, key=lambda cpu: cpu.value)), max(counts.values()))
            for key in keys
            if (counts := self._gathered[key])
        )
