"""Waits for a condition with a deadline: the only place in the scenarios that lets time pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two looks.
PACE = 0.2


class TooLate(AssertionError):
    """A condition did not come true in time. Says which, and what was seen last."""


def wait_until(
    what: str, look: Callable[[], T], within: float, *, describe: Callable[[], str] = lambda: ""
) -> T:
    """The first true answer of `look`. Raises TooLate after `within` seconds, with what `describe` says."""
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() >= deadline:
            raise TooLate(f"not within {within:g} s: {what}. {describe()}")
        time.sleep(PACE)


def wait_moment(moment: float, over: Callable[[], bool]) -> bool:
    """Wait for `time.monotonic()` to be `moment`; False when `over` came true before."""
    while time.monotonic() < moment:
        if over():
            return False
        time.sleep(min(PACE, max(0.0, moment - time.monotonic())))
    return not over()
