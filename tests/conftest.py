"""Tests with real machines run in three parts side by side: those on the rig that scenarios share, those that
mostly wait for cards that hang (on a copy of that rig), and others.

Most of their time they wait for guests' clocks, so that all take little more than the longest one.
"""

from __future__ import annotations

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("fwmgr", deadline=None)
settings.load_profile("fwmgr")

#: Fixtures that need the shared rig of burned cards.
RIG = {"provisioned", "burned", "fresh", "stage", "cards"}


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("qemu") and RIG & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.rig)
