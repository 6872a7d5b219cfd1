"""The two clocks of the shells: unix seconds for leases, monotonic seconds for deadlines.

The only place of the room that asks the machine for the time; pure code is handed `now`.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def unix(self) -> float:
        """Seconds since 1970; may jump."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""


class SystemClock:
    def unix(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
