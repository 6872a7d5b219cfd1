"""The first burn-all of a rig: what it left behind, and copies of before and after.

Scenarios begin from one of the two copies; the scenario about burn-all itself looks at what was seen here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_mgr.imaging.manifest import PARTITION_FILE, BootImage, read_boot_image
from firmware_mgr.model.ids import SlotId
from tests.scenarios.burned_cache import BurnedCache, burned_key
from tests.scenarios.capture import Packet, read_packets
from tests.scenarios.rig import Rig
from tests.scenarios.snapshots import Snapshot
from tests.scenarios.software import Site, fwmgr
from tests.scenarios.variables import Watch, keep_logs
from tests.scenarios.words import BURN_ALL

#: The burn-all's document, in the folder of a burned rig.
OPERATION = "operation.json"


@dataclass(frozen=True, slots=True)
class Provisioned:
    """`operation` is the burn-all's document; the captures are of each card's two power-ons in it.

    `folder` holds all of it, also what was recorded of the cards' flash.
    """

    rig: Rig
    folder: Path
    site: Site
    fresh: Snapshot
    burned: Snapshot
    operation: dict[str, Any]
    provisioning: dict[SlotId, list[Packet]]
    warm_boot: dict[SlotId, list[Packet]]

    def image(self, slot: SlotId) -> BootImage:
        """The boot image that the slot's card was burned with."""
        return read_boot_image(self.site.image_of(self.rig.board(slot)))

    def image_length(self, slot: SlotId) -> int:
        """Bytes of the boot partition's image."""
        return self.image(slot).manifest.files[PARTITION_FILE].length

    def netboot_length(self, slot: SlotId) -> int:
        """Bytes that a netbooting card fetches at least."""
        return max(summary.length for summary in self.image(slot).manifest.netboot_files.values())

    @property
    def package_length(self) -> int:
        """Bytes of the whole package, for all CPUs; a card fetches no more of it."""
        return self.site.package.stat().st_size

    @property
    def seconds(self) -> float:
        """How long the burn-all took."""
        return float(self.operation["finished_at"]) - float(self.operation["created_at"])


def provision(
    rig: Rig,
    folder: Path,
    cache: BurnedCache | None = None,
    *,
    within: float = BURN_ALL,
    options: Sequence[str] = (),
) -> Provisioned:
    """Bring the rig up with burned cards, without power and master: burned here, or by an earlier run.

    `folder` is empty; it gets the site, the copies, the operation and the captures. `options` are for the
    master.
    """
    cache = cache or BurnedCache()
    key = burned_key(rig.plan.boards, len(rig.slots), record_writes=rig.plan.record_writes)
    rig.up()
    with cache.alone():
        if not cache.take(key, folder):
            _burn(rig, folder, within, options)
            cache.put(key, folder)
    operation = json.loads((folder / OPERATION).read_bytes())
    packets = [
        {slot: read_packets(_capture(folder, slot, number)) for slot in rig.slots} for number in (1, 2)
    ]
    fresh, burned = Snapshot(folder / "fresh"), Snapshot(folder / "burned")
    return Provisioned(rig, folder, Site(folder / "site"), fresh, burned, operation, packets[0], packets[1])


def _burn(rig: Rig, folder: Path, within: float, options: Sequence[str]) -> None:
    site = Site(folder / "site").make(rig.plan.boards)
    shutil.copytree(site.master.directory, rig.master.directory)
    rig.start_master()
    for board in rig.plan.boards:
        fwmgr("image", "add", site.image_of(board), "--dir", rig.master.directory)
    fwmgr("package", "add", site.package, "--dir", rig.master.directory)
    rig.stop_master()
    Snapshot(folder / "fresh").take(rig)
    rig.start_master(*options)
    with Watch([(rig.paths(slot), recorded_folder(folder, slot)) for slot in rig.slots]):
        operation = rig.wait_burned(rig.burn_all(), within)
        for slot in rig.slots:
            rig.wait_in_service(slot, within)
        rig.stop_master()
        rig.all_off()
    Snapshot(folder / "burned").take(rig)
    (folder / OPERATION).write_text(json.dumps(operation))
    for slot in rig.slots:
        for number in (1, 2):
            shutil.copyfile(rig.paths(slot).capture(number), _capture(folder, slot, number))
        keep_logs(rig.paths(slot), recorded_folder(folder, slot), 1)


def recorded_folder(folder: Path, slot: SlotId) -> Path:
    """The logs of all writes to this card's flash, and its firmware's variables, if they were recorded."""
    return folder / f"recorded-{slot.number}"


def _capture(folder: Path, slot: SlotId, number: int) -> Path:
    return folder / f"net-{slot.number}-{number}.pcap"
