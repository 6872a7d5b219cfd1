"""A simulated card's flash: memory whose unsynced writes a power cut tears, as seen by one power-on.

Knows when power goes. Refuses to know what is written.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from firmware_mgr.flash.device import FlashDevice
from firmware_mgr.flash.volatile import Cut, PowerCut


class Medium(FlashDevice, Protocol):
    """What a card's flash is made of: in memory, or in a file. A seam."""

    operations: int

    def cut_power(self, after: int, cut: Cut) -> None:
        """Let the power fail at the `after`-th write or sync from now on."""
        ...

    def crash(self, rng: random.Random) -> None:
        """The power has gone, and comes back: what was not synced may be lost."""
        ...


class PoweredFlash:
    """The device as one boot of the card has it. After the power has gone it answers nothing more."""

    def __init__(self, medium: Medium, on_cut: Callable[[], None]) -> None:
        self._medium = medium
        self._on_cut = on_cut
        self._gone = False
        self.size = medium.size
        self.block_size = medium.block_size

    def read(self, offset: int, length: int) -> bytes:
        self._need_power()
        return self._medium.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self._need_power()
        try:
            self._medium.write(offset, data)
        except PowerCut:
            self._cut()

    def sync(self) -> None:
        self._need_power()
        try:
            self._medium.sync()
        except PowerCut:
            self._cut()

    def end(self) -> None:
        """This boot is over."""
        self._gone = True

    def _cut(self) -> None:
        self._gone = True
        self._on_cut()
        raise PowerCut("at this operation")

    def _need_power(self) -> None:
        if self._gone:
            raise PowerCut("this boot is over")
