"""Burn-all and warm boot of an in-process card whose power fails at one operation of its flash.

Knows how many operations an undisturbed run has. What a cut leaves behind is decided by the seed.
"""

from __future__ import annotations

from pathlib import Path

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.flash.device import Cut
from tests.scenarios.single_faults import FLASH_BYTES, WITHIN


def run(site: Path, operation: int | None, cut: Cut = Cut.BEFORE, *, seed: int = 0) -> int:
    """One burn-all, cut at the card's `operation`th write or sync; how many the card had in all.

    Fails unless the card ends in service.
    """
    system = SimSystem(1, seed=seed, site=site, flash_bytes=FLASH_BYTES)
    try:
        (slot,) = system.slots
        system.start_master()
        card = system.chassis.card(slot)
        flash = card.hardware.flash
        if operation is not None:
            card.hardware.cut = (operation, cut)
        identifier = system.post("/v1/burn-all")["id"]
        ended = system.wait_until(
            "the burn-all is over",
            lambda: seen if (seen := system.get(f"/v1/operations/{identifier}"))["finished"] else None,
            WITHIN,
            describe=lambda: str(system.get("/v1/cards")[0]["reason"]),
            step=2.0,
        )
        assert ended["state"] == "done", system.get("/v1/cards")[0]["reason"]
        assert "This card is in service" in system.page(slot)
        assert card.brownouts == (0 if operation is None else 1), "the power did not fail"
        return flash.operations
    finally:
        system.close()
