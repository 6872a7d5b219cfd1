"""A simulated card's flash in a file: what was not synced is lost, torn or kept when the power goes.

Knows the file and what waits for a sync. Refuses to know what is written.
"""

from __future__ import annotations

import random
import threading
from pathlib import Path

from firmware_mgr.flash.bounds import check_range, check_write
from firmware_mgr.flash.device import FileDevice
from firmware_mgr.flash.memory_device import Cut, PowerCut

#: Of the blocks that survive a cut, so many are torn.
TORN = 0.1


class FileMedium:
    """See card.Medium. Synced is what the host's kernel has: the daemon may die, the host may not."""

    def __init__(self, path: Path) -> None:
        self._file = FileDevice(path)
        self._where = str(path)
        self.size = self._file.size
        self.block_size = self._file.block_size
        self.operations = 0
        self._waiting: list[tuple[int, bytes]] = []
        self._lock = threading.Lock()
        self._closed = False

    def read(self, offset: int, length: int) -> bytes:
        check_range(offset, length, self.size, self._where)
        with self._lock:
            self._need_power()
            found = bytearray(self._file.read(offset, length))
            for start, data in self._waiting:
                low, high = max(start, offset), min(start + len(data), offset + length)
                if low < high:
                    found[low - offset : high - offset] = data[low - start : high - start]
        return bytes(found)

    def write(self, offset: int, data: bytes) -> None:
        check_write(offset, len(data), self.size, self.block_size, self._where)
        with self._lock:
            self._need_power()
            self.operations += 1
            self._waiting.append((offset, bytes(data)))

    def sync(self) -> None:
        with self._lock:
            self._need_power()
            self.operations += 1
            for offset, data in self._waiting:
                self._file.write(offset, data)
            self._waiting.clear()

    def cut_power(self, after: int, cut: Cut = Cut.BEFORE) -> None:
        raise NotImplementedError("planned cuts are for flash in memory")

    def crash(self, rng: random.Random) -> None:
        """Lose power and come back: of what was not synced any part is there, in any order, a block torn."""
        with self._lock:
            if not self._closed:
                rng.shuffle(self._waiting)
                for offset, data in self._waiting:
                    self._settle_part(offset, data, rng)
            self._waiting.clear()

    def _settle_part(self, offset: int, data: bytes, rng: random.Random) -> None:
        share = rng.choice((0.0, 0.5, 1.0))
        for at in range(0, len(data), self.block_size):
            if rng.random() < share:
                new = data[at : at + self.block_size]
                kept = rng.randrange(1, self.block_size) if rng.random() < TORN else self.block_size
                old = self._file.read(offset + at, self.block_size)
                self._file.write(offset + at, new[:kept] + old[kept:])

    def close(self) -> None:
        """Give the file back. Whoever still asks finds that the power is gone."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._file.close()

    def _need_power(self) -> None:
        if self._closed:
            raise PowerCut("this power-on is over")
