"""How tests with real machines are dealt out to two workers: one has the rig that scenarios share.

The other has all else. Most of their time they wait for guests' clocks, so that two at once take little
more than the longer one.
"""

from __future__ import annotations

import pytest

#: Fixtures that need the shared rig of burned cards.
RIG = {"provisioned", "burned", "fresh", "stage"}


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in its own hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("qemu") is not None:
            group = "rig" if _needs_rig(item) else item.nodeid.partition("::")[0]
            item.add_marker(pytest.mark.xdist_group(group))
    # The rig's group is the longest: it begins first.
    items.sort(key=lambda item: not _needs_rig(item))


def _needs_rig(item: pytest.Item) -> bool:
    return bool(RIG & set(getattr(item, "fixturenames", ())))
