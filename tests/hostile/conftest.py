"""Hostile packets by the thousand, the same ones in every run unless FWMGR_SEED asks for others.

FWMGR_HOSTILE multiplies their number.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings

from .dhcp_house import DhcpHouse
from .http_house import HttpHouse

TIMES = int(os.environ.get("FWMGR_HOSTILE", "1"))
SEED = os.environ.get("FWMGR_SEED")


def many(examples: int) -> Callable[[Any], Any]:
    """Settings of a test over that many generated cases."""
    chosen = settings(
        max_examples=examples * TIMES,
        derandomize=SEED is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: chosen(test if SEED is None else seed(int(SEED))(test))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blobs")


@pytest.fixture(scope="module")
def dhcp(folder: Path) -> DhcpHouse:
    """One server for all packets of a module: what one leaves behind, the next one meets."""
    return DhcpHouse(folder)


@pytest.fixture(scope="module")
def http(folder: Path) -> Iterator[HttpHouse]:
    house = HttpHouse(folder)
    yield house
    house.close()
