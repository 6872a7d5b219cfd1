"""How many transfers may run, for one card and in all, TFTP and HTTP together.

Knows slots and counts only.
"""

from __future__ import annotations

from collections import Counter

from firmware_mgr.model.ids import SlotId

PER_CARD = 8
IN_ALL = 512


class TransferBounds:
    def __init__(self, per_card: int = PER_CARD, in_all: int = IN_ALL) -> None:
        self._per_card = per_card
        self._in_all = in_all
        self._running: Counter[SlotId] = Counter()

    @property
    def running(self) -> int:
        return self._running.total()

    def enter(self, slot: SlotId) -> str | None:
        """Take a place and return None, or the reason why there is none. `leave` gives a place back."""
        if self._running[slot] >= self._per_card:
            return f"slot {slot} has {self._per_card} transfers running already"
        if self.running >= self._in_all:
            return f"{self._in_all} transfers are running already"
        self._running[slot] += 1
        return None

    def leave(self, slot: SlotId) -> None:
        assert self._running[slot] > 0
        self._running[slot] -= 1
        if not self._running[slot]:
            del self._running[slot]
