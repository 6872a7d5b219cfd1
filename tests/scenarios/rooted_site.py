"""A simulated site with a root of trust and one card, and what must hold when it refuses something.

Knows what scenarios about keys ask of it. Knows no scenario.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.imaging.manifest import MANIFEST_NAME
from firmware_mgr.lab.sim.loop import UNIX_START
from firmware_mgr.model.errors import FwmgrError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.keepers import Keepers
from tests.scenarios.sim_rig import SimRig

BOARD = "sim-aarch64"
SLOT = SlotId(1)


class Site(SimRig):
    """One card, and a site with a root of trust."""

    def __init__(self, unix_start: float = UNIX_START) -> None:
        super().__init__(SimSystem(1, boards=(BOARD,), unix_start=unix_start))
        self.keepers = Keepers(self.system)
        self.system.make_site()
        self.keepers.begin()

    def add_new_image(self, version: str, *, takes_test: bool = False) -> list[str]:
        """A boot image with today's root; the warnings."""
        folder = self.system.build_image(BOARD, version, takes_test=takes_test).folder
        warnings: list[str] = self.post("/v1/images", {"path": str(folder)})["warnings"]
        return warnings

    def add_mute_image(self, version: str) -> None:
        """One that does not say whom it trusts, as older versions made them: then the card alone judges."""
        folder = self.system.build_image(BOARD, version).folder
        manifest = folder / MANIFEST_NAME
        document = json.loads(manifest.read_text())
        del document["trust"]
        manifest.write_text(json.dumps(document))
        self.post("/v1/images", {"path": str(folder)})

    def flash(self) -> str:
        """A digest of every byte of the card's flash."""
        contents = self.system.chassis.card(SLOT).hardware.flash.contents()
        return hashlib.sha256(contents).hexdigest()

    def burned(self) -> None:
        """Burn all, and wait for service."""
        self.wait_burned(self.burn_all())
        self.wait_in_service(SLOT)

    def set(self, **wish: Any) -> dict[str, Any]:
        (answer,) = self.post("/v1/card/set", {"cards": ["1"], **wish})
        document: dict[str, Any] = answer
        return document

    def restart(self, version: str) -> None:
        """Power off and on; wait until it serves again with that boot image."""
        self.take_out(SLOT)
        self.power(SLOT, PowerAction.ON)
        self.wait_booted(SLOT, version, 300.0)


def running_site() -> Site:
    """A running card: boot image 1.0 with root version 1, web 1.0 signed by `release`."""
    made = Site()
    made.system.start_master()
    assert made.add_new_image("1.0") == []
    made.keepers.add_package("1.0")
    made.burned()
    return made


def assert_refused(site: Site, path: str, body: dict[str, Any], *words: str) -> None:
    """Refused with these words; catalogue, wanted set and every byte of flash are as they were."""

    def state() -> tuple[object, ...]:
        packages = [package["digest"] for package in site.get("/v1/packages")]
        return packages, site.card(SLOT)["record"]["wanted"], site.get("/v1/operations"), site.flash()

    before = state()
    with pytest.raises(FwmgrError) as refused:
        site.post(path, body)
    error = refused.value
    assert error.where and error.expected and error.found and error.hint, f"says too little: {error}"
    for word in words:
        assert word in str(error), f"no “{word}” in: {error}"
    assert state() == before


def add(path: Path) -> dict[str, Any]:
    return {"path": str(path)}
