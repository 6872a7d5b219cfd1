"""A package that was only built again, on real cards: its table is written; what was there runs (R-4.7)."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.provisioned import Provisioned
from tests.scenarios.rebuilt import rebuild
from tests.scenarios.rig import Rig
from tests.scenarios.software import fwmgr

pytestmark = [pytest.mark.qemu, pytest.mark.waits]

VERSION = "9.9.9"
#: Of each card's CPU: server, plug-in, loader, and most of their libraries.
FEWEST = 5


def test_only_the_table_of_a_package_that_was_built_again_is_written(
    provisioned: Provisioned, burned: Rig, tmp_path: Path
) -> None:
    rig, package = burned, tmp_path / "again.fwp"
    changed = rebuild(provisioned.site.package, provisioned.site.key, VERSION, package)
    assert changed >= FEWEST * len(rig.one_of_each), "next to nothing was built again"
    slots = (rig.one_of_each[0], rig.one_of_each[-1])  # two CPUs: starts are dear
    rig.start_master()
    fwmgr("package", "add", package, "--dir", rig.master.directory)
    before = {slot: len(rig.burns(slot)) for slot in slots}
    for slot in slots:
        image = provisioned.image(slot).manifest.version
        wish = {"slot": str(slot), "image": image, "packages": [f"lighttpd={VERSION}"]}
        rig.post("/v1/card/want", wish)
        rig.power(slot, PowerAction.ON)
    for slot in slots:
        rig.wait_in_service(slot)
        (burn,) = rig.burns(slot)[before[slot] :]
        assert burn["boot_bytes_written"] == 0
        first = provisioned.operation["cards"][str(slot)]["package_written"]
        assert 0 < burn["package_bytes_written"] < first / 20, f"slot {slot}: {burn}"
        check_serves(rig, slot)
    # What only the old set needed was collected meanwhile; and a start finds it all right again.
    for slot in slots:
        rig.take_out(slot)
        rig.power(slot, PowerAction.ON)
    for slot in slots:
        rig.wait_in_service(slot)
        assert len(rig.burns(slot)) == before[slot] + 1, f"slot {slot} was burned once more"
        check_serves(rig, slot)


def check_serves(rig: Rig, slot: SlotId) -> None:
    packages = rig.card(slot)["record"]["actual"]["packages"]
    (one,) = [package for package in packages if package["version"] == VERSION]
    assert one["modules"] > FEWEST and one["bad_modules"] == 0, f"slot {slot}: {packages}"
    assert "This card is in service" in rig.page(slot)
