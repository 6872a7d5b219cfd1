"""What is refused again and again, and much that is refused, does not fill the log. Pure: time is handed in.

Knows subjects and seconds. Refuses to know what is refused.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum

#: The same subject stands in the log again after so many seconds.
AGAIN_SECONDS = 60.0
#: So many lines within such a time, whatever they are about: a peer chooses what it is refused for.
MOST_LINES = 100


class Saying(Enum):
    SAY = "say it"
    LAST = "say it, and that others are not said for a while"
    BE_SILENT = "it was said just now, or too much was"


class LogGuard:
    def __init__(self) -> None:
        self._said: dict[Hashable, float] = {}

    def judge(self, subject: Hashable, now: float) -> Saying:
        """`now` is of a clock that never goes back, in seconds."""
        self._said = {known: when for known, when in self._said.items() if now - when < AGAIN_SECONDS}
        if subject in self._said or len(self._said) >= MOST_LINES:
            return Saying.BE_SILENT
        self._said[subject] = now
        return Saying.SAY if len(self._said) < MOST_LINES else Saying.LAST
