"""The first burn-all of a rig: what it left behind, and copies of before and after.

Scenarios begin from one of the two copies; the scenario about burn-all itself looks at what was seen here.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_mgr.imaging.manifest import PARTITION_FILE, BootImage, read_boot_image
from firmware_mgr.model.ids import SlotId
from tests.scenarios.capture import Packet, read_packets
from tests.scenarios.rig import Rig
from tests.scenarios.snapshots import Snapshot
from tests.scenarios.software import Site, fwmgr


@dataclass(frozen=True, slots=True)
class Provisioned:
    """`operation` is the burn-all's document; the captures are of each card's two power-ons in it."""

    rig: Rig
    site: Site
    fresh: Snapshot
    burned: Snapshot
    operation: dict[str, Any]
    provisioning: dict[SlotId, list[Packet]]
    warm_boot: dict[SlotId, list[Packet]]

    @property
    def image(self) -> BootImage:
        return read_boot_image(self.site.image)

    @property
    def image_length(self) -> int:
        """Bytes of the boot partition's image."""
        return self.image.manifest.files[PARTITION_FILE].length

    @property
    def netboot_length(self) -> int:
        """Bytes that a netbooting card fetches at least."""
        return max(summary.length for summary in self.image.manifest.netboot_files.values())

    @property
    def package_length(self) -> int:
        """Bytes of the package as it travels."""
        return self.site.package.stat().st_size

    @property
    def boot_written(self) -> int:
        """Bytes that a pristine card writes for its boot image: pieces of zeros are there already."""
        return max(int(card["boot_written"]) for card in self.operation["cards"].values())

    @property
    def package_written(self) -> int:
        """Bytes that a pristine card writes for its packages."""
        return max(int(card["package_written"]) for card in self.operation["cards"].values())

    @property
    def seconds(self) -> float:
        """How long the burn-all took."""
        return float(self.operation["finished_at"]) - float(self.operation["created_at"])


def provision(rig: Rig, folder: Path) -> Provisioned:
    """Bring the rig up, burn all its cards, and leave it without power and master."""
    site = Site(folder / "site").make()
    shutil.copytree(site.master.directory, rig.master.directory)
    rig.up()
    rig.start_master()
    fwmgr("image", "add", site.image, "--dir", rig.master.directory)
    fwmgr("package", "add", site.package, "--dir", rig.master.directory)
    rig.stop_master()
    fresh = Snapshot(folder / "fresh").take(rig)
    rig.start_master()
    operation = rig.wait_burned(rig.burn_all())
    for slot in rig.slots:
        rig.wait_in_service(slot)
    rig.stop_master()
    rig.all_off()
    burned = Snapshot(folder / "burned").take(rig)
    packets = [
        {slot: read_packets(rig.paths(slot).capture(number)) for slot in rig.slots} for number in (1, 2)
    ]
    return Provisioned(rig, site, fresh, burned, operation, packets[0], packets[1])
