"""In-process cards within the daemon: how many may work at once."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_mgr.lab.plan import ChassisPaths
from firmware_mgr.lab.sim.machines import SimMachines

#: Longest time for all threads to have started.
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """As they were before."""
    both = [logging.getLogger(name) for name in ("agent", "firmware_mgr.card")]
    before = [(logger, list(logger.handlers), logger.propagate) for logger in both]
    yield
    for logger, handlers, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate


@pytest.mark.parametrize(("slots", "at_once"), [(1, 16), (100, 200)])
def test_every_card_of_the_chassis_may_block_at_once(slots: int, at_once: int, tmp_path: Path) -> None:
    together = threading.Barrier(at_once)

    async def block_all() -> None:
        SimMachines(ChassisPaths(tmp_path).slot, "lo", slots=slots, seed="1").begin()
        async with asyncio.timeout(2 * PATIENCE):
            await asyncio.gather(*(asyncio.to_thread(together.wait, PATIENCE) for _ in range(at_once)))

    asyncio.run(block_all())
