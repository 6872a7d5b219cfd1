"""A new boot image that does not come up: the card ends on the old one, and the record says why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_mgr.imaging.manifest import BootImage
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.software import Breakage
from tests.scenarios.stage import Stage
from tests.scenarios.words import Words

TRIES = 2
#: A card is up within a fifth of this, three side by side within half; the master cycles one that is not.
BOOTING = 60
#: Two tries of a new image, each until the master's hand comes, and the way back.
WAY_BACK = 4 * BOOTING + 180.0
MASTER_OPTIONS = ("--deadlines", f'{{"booting": {BOOTING}}}')


@dataclass(frozen=True, slots=True)
class Trial:
    """How a card that was told to take an image ended."""

    slot: SlotId
    image: BootImage
    card: dict[str, Any]
    console: list[str]

    @property
    def starts(self) -> int:
        """How often the loader started the image on trial."""
        return sum("FW: start" in line and "why=trial" in line for line in self.console)


def offer(
    stage: Stage, rig: Words, folder: Path, slot: SlotId, breakage: Breakage | None, *, number: int = 0
) -> BootImage:
    """Build an image, tell the master of it, and that this slot should run it."""
    name = f"2.{number}-{slot.number}-{'good' if breakage is None else breakage.name.lower()}"
    image = stage.build_image(folder, name, breakage, slot)
    rig.add_image(str(image.folder))
    rig.want(slot, name)
    return image


def try_out(rig: Words, image: BootImage, slot: SlotId, *, booted: str) -> Trial:
    """Give the card power and wait until it is in service, having `booted` this version."""
    before = rig.console_number(slot)
    rig.power(slot, PowerAction.ON)
    rig.wait_for_line(slot, "why=trial", after=before, within=WAY_BACK)
    rig.wait_booted(slot, booted, WAY_BACK)
    lines = [line.text for line in rig.console(slot, 3000) if line.number > before]
    return Trial(slot, image, rig.card(slot), lines)
