"""Tests with real machines run in two halves side by side: those on the rig that scenarios share, and others.

Most of their time they wait for guests' clocks, so that both take little more than the longer one.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("fwmgr", deadline=None)
settings.load_profile("fwmgr")

#: Fixtures that need the shared rig of burned cards.
RIG = {"provisioned", "burned", "fresh", "stage"}


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("qemu") and RIG & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.rig)
