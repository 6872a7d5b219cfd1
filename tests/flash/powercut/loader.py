"""The loader as boot control sees it: one start, decided and counted as by the selector (SPEC-control).

Like the selector it writes one copy and does not read it back. Where no partition holds an image there is no
selector either: the firmware goes to the network.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from firmware_mgr.flash.control_layout import COPY_OFFSETS
from tests.flash.powercut.house import House


def start(house: House, window: Any, whole: Collection[Any]) -> Any:
    """Where this start ends (`BootDecision`), when just the partitions `whole` hold an image that starts."""
    control = house.flash("control")
    state = control.read_control(window)
    decision = control.decide_boot(state, whole)
    if whole and decision.record != state.effective:
        raw = decision.record.encode()
        window.write(COPY_OFFSETS[state.next_copy], raw + bytes(-len(raw) % window.block_size))
        window.sync()
    return decision
