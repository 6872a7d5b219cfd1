"""Back to the set before, boot image and package, after the newer one was validated (issue 4).

Also below a minimum version that came meanwhile: what is stored stays the user's right, with a warning.
"""

from __future__ import annotations

from pathlib import Path

from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.package_desk import PackageDesk, accepted, refused, wish
from tests.scenarios.stage import SimStage
from tests.scenarios.words import IN_SERVICE, Words

NAME = "note"
#: Bytes that may travel: heads of packages, and one small file. A boot image is many times that.
FEW = 1 << 20


def test_a_card_goes_back_to_image_and_package_of_before(sim_stage: SimStage, tmp_path: Path) -> None:
    """In process: five starts that show nothing of a board that others do not."""
    stage = sim_stage
    rig = stage.burned()
    slot = rig.slots[0]
    old = stage.undisturbed[slot].version
    office = PackageDesk(stage.desk(), tmp_path)
    first, second, never = (
        office.build(NAME, version, ["site", "second"]) for version in ("1.0", "2.0", "0.9")
    )
    image = stage.build_image(tmp_path / "newer", "2.0", None, slot)
    rig.start_master()
    for package in (first, second):
        accepted(rig.says("package", "add", package))
    page = "=".join(rig.card(slot)["packages"][0].split())

    accepted(wish(rig, slot, page, f"{NAME}=1.0"))
    assert runs(rig, slot, old, "1.0") == "a"

    rig.add_image(str(image.folder))
    rig.take_out(slot)
    rig.want(slot, "2.0")
    assert not accepted(wish(rig, slot, page, f"{NAME}=2.0"))
    assert runs(rig, slot, "2.0", "2.0") == "b"

    # From now on nothing below 2.0 is let in; what is held may be gone back to.
    office.desk.change(2, ("minimum", NAME, "2.0"))
    refused(rig.says("package", "add", never), "older than what is let in from outside", "note 2.0 or later")
    rig.take_out(slot)
    rig.want(slot, old)
    said = accepted(wish(rig, slot, page, f"{NAME}=1.0"))
    assert "below the minimum 2.0" in said and "it is stored, so it may be gone back to" in said, said
    burns, started = len(rig.burns(slot)), rig.power_ons(slot) + 1
    assert runs(rig, slot, old, "1.0") == "a"
    # The other boot partition has held the old image all the while.
    assert sum(burn["boot_bytes_written"] for burn in rig.burns(slot)[burns:]) == 0
    assert rig.bulk_bytes(slot, started) < FEW
    assert "This card is in service" in rig.page(slot)
    assert rig.card(slot)["record"]["rejected"] == []


def runs(rig: Words, slot: SlotId, version: str, note: str) -> str:
    """Give the card power where it has none, and wait for image and package; where it booted from."""
    if rig.card(slot)["state"] == "absent":
        rig.power(slot, PowerAction.ON)
    card = rig.wait_booted(slot, version, 2 * IN_SERVICE)
    rig.wait_until(
        f"slot {slot} runs {NAME} {note}",
        lambda: (card := rig.card(slot))["in_service"] and card["packages"][1:] == [f"{NAME} {note}"],
        IN_SERVICE,
        describe=rig.situation,
    )
    return str(card["booted_from"])
