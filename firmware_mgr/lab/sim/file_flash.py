"""A simulated card's flash in a file. What was not synced is lost, torn or kept with the power, as in memory.

Knows the file. Refuses to know what is written, and what of it a power cut leaves (`flash.volatile`).
"""

from __future__ import annotations

import logging
import random
import threading
from pathlib import Path

from firmware_mgr.flash.device import FileDevice
from firmware_mgr.flash.volatile import Cut, PowerCut, VolatileDevice
from firmware_mgr.model.errors import DeviceError

LOG = logging.getLogger(__name__)


class FileMedium(VolatileDevice):
    """See card.Medium. Synced is what the host's kernel has: the daemon may die, the host may not.

    For several threads: a burn may be at work in one when the power goes.
    """

    def __init__(self, path: Path) -> None:
        self._file = FileDevice(path)
        super().__init__(self._file.size, self._file.block_size, str(path))
        self._lock = threading.Lock()
        self._closed = False

    def read(self, offset: int, length: int) -> bytes:
        with self._lock:
            return super().read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        with self._lock:
            super().write(offset, data)

    def sync(self) -> None:
        with self._lock:
            super().sync()

    def cut_power(self, after: int, cut: Cut = Cut.BEFORE) -> None:
        with self._lock:
            super().cut_power(after, cut)

    def crash(self, rng: random.Random) -> None:
        with self._lock:
            try:
                super().crash(rng)
            except DeviceError as e:  # such as a full disk: the power is gone nevertheless
                LOG.warning("what waited for a sync is lost: %s", e)
                self._restore_power()

    def close(self) -> None:
        """Give the file back. Whoever still asks finds that the power is gone."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._file.close()

    def _stored(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def _settle(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        self._file.write(offset, data + self._file.read(end, -end % self.block_size))

    def _need_power(self) -> None:
        if self._closed:
            raise PowerCut("this power-on is over")
        super()._need_power()
