"""Where a scenario plays: cards of either kind, burned or pristine, made once and put back each time.

Knows how either kind is provisioned and how its boot images are built. Scenarios know neither.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.flash.device import FileDevice, FlashDevice
from firmware_mgr.imaging.board import load_board
from firmware_mgr.imaging.manifest import PARTITION_FILE, BootImage
from firmware_mgr.lab.sim.image import Behaviour
from firmware_mgr.model.ids import SlotId
from firmware_mgr.packaging.keys import load_key
from tests.scenarios.key_desk import KeyDesk
from tests.scenarios.provisioned import Provisioned
from tests.scenarios.sim_rig import SimRig
from tests.scenarios.software import Breakage, fwmgr_here
from tests.scenarios.words import Words

SIM_BOARD = "sim-aarch64"
#: Several pieces, so that a burn has a middle.
SIM_IMAGE_BYTES = (5 << 19) + 12_345
#: Cards side by side, each started three times in a row where an image panics.
BOOTING_SHARE = 3
LEAST_BOOTING = 60
#: A busy host's burn-all says more than a start takes later. A card that is cut off in its third start
#: in a row starts once more, and ends where it would have ended.
MOST_BOOTING = 150
BEHAVIOURS = {
    None: Behaviour.GOOD,
    Breakage.HANGS: Behaviour.HANG,
    Breakage.PANICS: Behaviour.PANIC,
}


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """What a card took in the first burn-all: its image, bytes that travel at most, and those written."""

    version: str
    image_length: int
    travels: int
    boot_written: int
    package_written: int


class Stage(ABC):
    undisturbed: dict[SlotId, Undisturbed]
    #: How long the first burn-all took.
    seconds: float
    starts_cost_nothing = False
    #: Seconds within which a card that starts from flash is surely up: so many times what the slowest took.
    booting: int

    @abstractmethod
    def burned(self) -> Words:
        """Cards in their burned state, without power; no master runs."""

    @abstractmethod
    def fresh(self) -> Words:
        """Pristine cards, and a master's directory that has image and package; neither runs."""

    @abstractmethod
    def desk(self) -> KeyDesk:
        """Where the keepers of this beginning's root of trust work."""

    @abstractmethod
    def clocks(self) -> dict[SlotId, int]:
        """What clocks of cards show when their power comes, where they have clocks of their own."""

    @abstractmethod
    def flash(self, slot: SlotId) -> AbstractContextManager[FlashDevice]:
        """The flash of a card without power."""

    @abstractmethod
    def put_back_flash(self, slot: SlotId, of: SlotId | None = None) -> None:
        """The flash of a card without power is as it was burned; nothing else of the stage changes.

        `of` another slot: that slot's card is put in here, of the same board.
        """

    @abstractmethod
    def two_of_one_board(self) -> tuple[SlotId, SlotId]:
        """Two slots whose cards could change places."""

    @abstractmethod
    def build_image(self, folder: Path, version: str, breakage: Breakage | None, slot: SlotId) -> BootImage:
        """A boot image for the board in that slot."""


def _undisturbed(work: dict[str, Any], image: BootImage, package: Path) -> Undisturbed:
    length = image.manifest.files[PARTITION_FILE].length
    return Undisturbed(
        image.manifest.version,
        length,
        length + package.stat().st_size,
        int(work["boot_written"]),
        int(work["package_written"]),
    )


def _seconds(operation: dict[str, Any]) -> float:
    return float(operation["finished_at"]) - float(operation["created_at"])


def _booting(operation: dict[str, Any]) -> int:
    phases = (phase for work in operation["cards"].values() for phase in work["phases"])
    slowest = max(took for state, took in phases if state == "booting")
    return min(MOST_BOOTING, max(LEAST_BOOTING, ceil(BOOTING_SHARE * slowest)))


class QemuStage(Stage):
    def __init__(self, provisioned: Provisioned) -> None:
        self._provisioned = provisioned
        works = provisioned.operation["cards"]
        self.undisturbed = {
            slot: _undisturbed(works[str(slot)], provisioned.image(slot), provisioned.site.package)
            for slot in provisioned.rig.slots
        }
        self.seconds = _seconds(provisioned.operation)
        # The master allows a board at least what its file says.
        needs = [load_board(board).deadlines.booting or 0 for board in provisioned.rig.plan.boards]
        self.booting = max(_booting(provisioned.operation), *(ceil(seconds) for seconds in needs))

    def burned(self) -> Words:
        return self._begin(fresh=False)

    def fresh(self) -> Words:
        return self._begin(fresh=True)

    def _begin(self, *, fresh: bool) -> Words:
        provisioned = self._provisioned
        provisioned.rig.stop_master()
        provisioned.rig.all_off()
        (provisioned.fresh if fresh else provisioned.burned).put_back(provisioned.rig)
        return provisioned.rig

    def desk(self) -> KeyDesk:
        return replace(self._provisioned.site.desk, master=self._provisioned.rig.master)

    def clocks(self) -> dict[SlotId, int]:
        plan = self._provisioned.rig.plan
        return {slot: plan.clock_of(slot) for slot in plan.slots}

    def flash(self, slot: SlotId) -> AbstractContextManager[FlashDevice]:
        return FileDevice(self._provisioned.rig.paths(slot).flash)

    def put_back_flash(self, slot: SlotId, of: SlotId | None = None) -> None:
        self._provisioned.burned.put_back_flash(self._provisioned.rig, slot, of)

    def two_of_one_board(self) -> tuple[SlotId, SlotId]:
        rig = self._provisioned.rig
        one, two = rig.slots[0], rig.slots[-1]
        assert rig.board(one) == rig.board(two)
        return one, two

    def build_image(self, folder: Path, version: str, breakage: Breakage | None, slot: SlotId) -> BootImage:
        site, board = self._provisioned.site, self._provisioned.rig.board(slot)
        return site.build_image(folder / version, version=version, breakage=breakage, board=board)


class SimStage(Stage):
    """Every beginning is a chassis of its own; `close` ends the last one."""

    starts_cost_nothing = True

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._system = SimSystem(2, seed=seed, boards=(SIM_BOARD,))
        system = self._system
        desk = self.desk()
        desk.begin()
        system.key = load_key(desk.private("site"))
        rig = SimRig(system)
        rig.start_master()
        image = system.build_image(SIM_BOARD, "1.0", size=SIM_IMAGE_BYTES)
        package = system.build_package(others=[load_key(desk.private("second"))])
        rig.add_image(str(image.folder))
        system.post("/v1/packages", {"path": str(package)})
        system.stop_master()
        shutil.copytree(system.paths.directory, folder / "fresh")
        rig.start_master()
        operation = rig.wait_burned(rig.burn_all())
        works = operation["cards"]
        self.undisturbed = {slot: _undisturbed(works[str(slot)], image, package) for slot in rig.slots}
        self.seconds = _seconds(operation)
        self.booting = _booting(operation)
        system.stop_master()
        rig.all_off()
        shutil.copytree(system.paths.directory, folder / "burned")
        self._flash = {slot: system.chassis.card(slot).hardware.flash.contents() for slot in rig.slots}

    def burned(self) -> Words:
        rig = self._begin(self._folder / "burned")
        for slot in rig.slots:
            self.put_back_flash(slot)
        return rig

    def fresh(self) -> Words:
        return self._begin(self._folder / "fresh")

    def _begin(self, site: Path) -> SimRig:
        self.close()
        self._system = SimSystem(2, seed=self._seed, boards=(SIM_BOARD,), site=site)
        return SimRig(self._system)

    def desk(self) -> KeyDesk:
        return KeyDesk(self._folder / "keys", self._system.paths, fwmgr_here)

    def clocks(self) -> dict[SlotId, int]:
        return {}

    def flash(self, slot: SlotId) -> AbstractContextManager[FlashDevice]:
        return nullcontext(self._system.chassis.card(slot).hardware.flash)

    def put_back_flash(self, slot: SlotId, of: SlotId | None = None) -> None:
        self._system.chassis.card(slot).hardware.flash.load(self._flash[of or slot])

    def two_of_one_board(self) -> tuple[SlotId, SlotId]:
        one, two = self._system.slots
        return one, two

    def build_image(self, folder: Path, version: str, breakage: Breakage | None, slot: SlotId) -> BootImage:
        return self._system.build_image(
            SIM_BOARD, version, behaviour=BEHAVIOURS[breakage], size=SIM_IMAGE_BYTES
        )

    def close(self) -> None:
        self._system.close()
