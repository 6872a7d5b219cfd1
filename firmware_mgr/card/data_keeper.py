"""When the file system that processes keep their own in is made, checked and mounted; what is said of it.

Knows the rules of docs/SPEC-flash-layout.md, "Data". It never keeps a card from starting: without it
processes keep what they have in RAM.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from firmware_mgr.card.areas import Areas
from firmware_mgr.card.data_volume import Opened
from firmware_mgr.flash.gpt import DATA
from firmware_mgr.link.messages import AreaState, DataReport
from firmware_mgr.model.errors import DeviceError

#: The document in the state area that says that there is a file system: none is made over it unasked.
MADE = "data/made"
NO_PLACE = "flash was laid out without it, RAM is used; to have it, losing what is in flash: burn-all --erase"

log = logging.getLogger("agent")


class DataVolume(Protocol):
    """The file system itself. A seam."""

    async def open(self, made: bool) -> Opened:
        """Make it unless it was `made`, check it, mount it. Raises DeviceError; it is not mounted then."""
        ...

    async def close(self) -> None:
        """Unmount it. Raises DeviceError when it is in use."""
        ...

    def space(self) -> tuple[int, int]:
        """Bytes in all, and free."""
        ...


class DataKeeper:
    """`areas` is the flash as it is now. Without a volume there is nothing to say, and nothing is done."""

    def __init__(self, volume: DataVolume | None, areas: Callable[[], Areas]) -> None:
        self._volume = volume
        self._areas = areas
        self._mounted = False
        self._detail = ""
        self._state = AreaState.EMPTY

    async def open(self) -> None:
        """At start, and after a burn. What goes wrong is in the report."""
        areas = self._areas()
        if self._volume is None or self._mounted or areas.partitions is None:
            return
        if not areas.has(DATA):
            self._state, self._detail = AreaState.EMPTY, NO_PLACE
            return
        made = areas.state is not None and areas.state.document(MADE) is not None
        try:
            opened = await self._volume.open(made)
            if not made and areas.state is not None:
                areas.state.commit({MADE: b"1"})
        except (DeviceError, OSError) as e:
            log.error("what processes keep is in RAM: %s", e)
            self._state, self._detail = AreaState.BAD, f"{e}; RAM is used"
            return
        self._mounted, self._state, self._detail = True, AreaState.GOOD, opened.detail
        if opened.detail:
            log.warning("file system of the processes: %s", opened.detail)

    async def close(self) -> None:
        """Before flash is laid out anew, and before a reset. Raises DeviceError when it is in use."""
        if self._mounted and self._volume is not None:
            await self._volume.close()
            self._mounted = False

    def report(self) -> DataReport | None:
        """As it is now; None when flash has no table yet, or the card is of a kind that has no volume."""
        if self._volume is None or self._areas().partitions is None:
            return None
        if not self._mounted:
            return DataReport(self._state, self._detail)
        return DataReport(self._state, self._detail, *self._volume.space())
