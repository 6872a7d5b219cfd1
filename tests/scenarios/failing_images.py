"""A new boot image that does not come up: the card ends on the old one, and the record says why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_mgr.flash.control import read_control
from firmware_mgr.flash.control_layout import Target
from firmware_mgr.flash.gpt import find, read_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.imaging.manifest import PARTITION_FILE, BootImage
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.software import Breakage
from tests.scenarios.stage import Stage
from tests.scenarios.words import Words

TRIES = 2
#: SPEC-control: so many starts a committed partition has.
COMMITTED_TRIES = 3


def master_options(stage: Stage) -> tuple[str, str]:
    """The master cycles a card that is not up within the stage's limit: not the default's two minutes."""
    return ("--deadlines", f'{{"booting": {stage.booting}}}')


def way_back(stage: Stage) -> float:
    """Two tries of a new image, each until the master's hand comes, and the way back."""
    return 4 * stage.booting + 180.0


def burned_again(stage: Stage) -> float:
    """Three starts of a committed image, the netboot, the burn and the way back."""
    return 5 * stage.booting + 300.0


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
        return self.starts_because("trial")

    def starts_because(self, why: str) -> int:
        """How often the loader started an image from flash for this reason (SPEC-control)."""
        return sum("FW: start" in line and f"why={why} " in line for line in self.console)

    @property
    def panicked(self) -> bool:
        return any("Kernel panic" in line for line in self.console)


def build(
    stage: Stage, folder: Path, slot: SlotId, breakage: Breakage | None, *, number: int = 0
) -> BootImage:
    name = f"2.{number}-{slot.number}-{'good' if breakage is None else breakage.name.lower()}"
    return stage.build_image(folder, name, breakage, slot)


def give(rig: Words, slot: SlotId, image: BootImage) -> None:
    """Tell the master of the image, and that this slot should run it."""
    rig.add_image(str(image.folder))
    rig.want(slot, image.manifest.version)


def offer(
    stage: Stage, rig: Words, folder: Path, slot: SlotId, breakage: Breakage | None, *, number: int = 0
) -> BootImage:
    """Build an image, tell the master of it, and that this slot should run it."""
    image = build(stage, folder, slot, breakage, number=number)
    give(rig, slot, image)
    return image


def try_out(stage: Stage, rig: Words, image: BootImage, slot: SlotId, *, booted: str) -> Trial:
    """Give the card power and wait until it is in service, having `booted` this version."""
    before = rig.console_number(slot)
    rig.power(slot, PowerAction.ON)
    rig.wait_for_line(slot, "why=trial", after=before, within=way_back(stage))
    rig.wait_booted(slot, booted, way_back(stage))
    return Trial(slot, image, rig.card(slot), _said_since(rig, slot, before))


def overwrite_committed(stage: Stage, slot: SlotId, image: BootImage) -> None:
    """From now on the partition that the card starts from holds `image`, as if its own had gone bad so."""
    with stage.flash(slot) as device:
        table = read_table(device)
        boot = read_control(find(table, "control").window(device)).effective.boot
        (partition,) = (letter.partition for letter in Letter if Target.of(letter) is boot)
        content = (image.folder / PARTITION_FILE).read_bytes()
        window = find(table, partition).window(device)
        window.write(0, content + bytes(-len(content) % window.block_size))
        window.sync()


def bring_back(stage: Stage, rig: Words, slot: SlotId, image: BootImage) -> Trial:
    """Give power to a card whose committed image became `image`; wait for its own one, burned again."""
    rig.take_out(slot)
    before = rig.console_number(slot)
    overwrite_committed(stage, slot, image)
    rig.power(slot, PowerAction.ON)
    rig.wait_for_line(slot, "FW: netboot ", after=before, within=burned_again(stage))
    rig.wait_booted(slot, stage.undisturbed[slot].version, burned_again(stage))
    return Trial(slot, image, rig.card(slot), _said_since(rig, slot, before))


def _said_since(rig: Words, slot: SlotId, number: int) -> list[str]:
    return [line.text for line in rig.console(slot, 6000) if line.number > number]
