"""Issue 2, done when 4: a new boot image that hangs and one that panics each end on the old one."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.failing_images import MASTER_OPTIONS, Trial, offer, try_out
from tests.scenarios.software import Breakage
from tests.scenarios.stage import Stage

TRIES = 2


def test_image_that_hangs_and_image_that_panics_end_on_the_old_one(stage: Stage, tmp_path: Path) -> None:
    burned, old = stage.burned(), stage.undisturbed.version
    burned.start_master(*MASTER_OPTIONS)
    images = {
        slot: offer(stage, burned, tmp_path, slot, breakage)
        for slot, breakage in zip(burned.slots, Breakage, strict=True)
    }
    hung, panicked = burned.side_by_side(
        lambda slot: try_out(burned, images[slot], slot, booted=old), burned.slots
    )
    for trial in (hung, panicked):
        _assert_back_on_the_old_one(trial)
        version = trial.image.manifest.version
        assert f"boot image {version} failed its trial" in burned.log_tail(1000)
        assert "failed trials" in burned.show(trial.slot)
    # The loader alone brings the one back; the other needs the master's hand on the power.
    assert any("Kernel panic" in line for line in panicked.console)
    assert not any("Kernel panic" in line for line in hung.console)
    assert all("This card is in service" in burned.page(slot) for slot in burned.slots)


def _assert_back_on_the_old_one(trial: Trial) -> None:
    assert trial.starts == TRIES, "\n".join(line for line in trial.console if "FW:" in line)
    assert trial.card["record"]["rejected"] == [trial.image.reference.digest.hex]


def test_good_image_is_tried_once_and_kept(stage: Stage, tmp_path: Path) -> None:
    burned = stage.burned()
    slot = burned.slots[0]
    burned.start_master(*MASTER_OPTIONS)
    image = offer(stage, burned, tmp_path, slot, None)
    trial = try_out(burned, image, slot, booted=image.manifest.version)
    control = trial.card["record"]["actual"]["control"]
    assert (trial.card["booted_from"], control["boot"], control["trial"]) == ("b", "b", "-")
    assert trial.starts == 1
    assert trial.card["record"]["rejected"] == []
