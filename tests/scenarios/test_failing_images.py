"""Issue 2, done when 4: a new boot image that hangs and one that panics each end on the old one."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.model.ids import SlotId
from tests.scenarios.conftest import SEED
from tests.scenarios.failing_images import (
    COMMITTED_TRIES,
    TRIES,
    Trial,
    bring_back,
    build,
    give,
    master_options,
    offer,
    try_out,
)
from tests.scenarios.software import Breakage
from tests.scenarios.stage import SimStage, Stage
from tests.scenarios.words import Words

pytestmark = pytest.mark.waits


def test_image_that_hangs_and_image_that_panics_end_on_the_old_one(stage: Stage, tmp_path: Path) -> None:
    """On each card, the cards side by side: while one stands still another one starts."""
    burned = stage.burned()
    slots, breakages = burned.one_of_each, list(Breakage)
    burned.start_master(*master_options(stage))
    # By turns: another seed gives each board the other one. Where starts cost nothing, both.
    cases = {}
    for place, slot in enumerate(slots):
        first = (SEED + place) % len(breakages)
        cases[slot] = [*breakages[first:], *breakages[:first]][: None if stage.starts_cost_nothing else 1]
    images = {
        (slot, breakage): build(stage, tmp_path, slot, breakage)
        for slot, mine in cases.items()
        for breakage in mine
    }

    def each_in_its_turn(slot: SlotId) -> None:
        for breakage in cases[slot]:
            image = images[slot, breakage]
            give(burned, slot, image)
            booted = stage.undisturbed[slot].version
            _assert_back_on_the_old_one(burned, try_out(stage, burned, image, slot, booted=booted), breakage)
            burned.take_out(slot)

    burned.side_by_side(each_in_its_turn, slots)


def _assert_back_on_the_old_one(rig: Words, trial: Trial, breakage: Breakage) -> None:
    assert trial.starts == TRIES, "\n".join(line for line in trial.console if "FW:" in line)
    assert trial.image.reference.digest.hex in trial.card["record"]["rejected"]
    assert f"boot image {trial.image.manifest.version} failed its trial" in rig.log_tail(1000)
    assert "failed trials" in rig.show(trial.slot)
    # The card alone comes back from a panic; one that hangs needs the master's hand on the power.
    assert trial.panicked is (breakage is Breakage.PANICS)
    assert "This card is in service" in rig.page(trial.slot)


def test_good_image_is_tried_once_and_kept(sim_stage: SimStage, tmp_path: Path) -> None:
    """On QEMU each board's own image has its trial below, where it is burned again."""
    stage = sim_stage
    burned = stage.burned()
    slots = burned.one_of_each
    burned.start_master(*master_options(stage))
    images = {slot: offer(stage, burned, tmp_path, slot, None) for slot in slots}
    for trial in burned.side_by_side(
        lambda slot: try_out(stage, burned, images[slot], slot, booted=images[slot].manifest.version), slots
    ):
        control = trial.card["record"]["actual"]["control"]
        assert (trial.card["booted_from"], control["boot"], control["trial"]) == ("b", "b", "-")
        assert trial.starts == 1
        assert trial.card["record"]["rejected"] == []


def test_committed_image_that_fails_at_every_start_is_burned_again(stage: Stage, tmp_path: Path) -> None:
    """The loader's own counter leads to netboot: there is no other partition to go back to."""
    burned = stage.burned()
    slots, breakages = burned.one_of_each, list(Breakage)
    burned.start_master(*master_options(stage))
    mine = {slot: breakages[place % 2] for place, slot in enumerate(slots)}
    images = {
        slot: stage.build_image(tmp_path, f"3.{slot.number}", breakage, slot)
        for slot, breakage in mine.items()
    }
    for trial in burned.side_by_side(lambda slot: bring_back(stage, burned, slot, images[slot]), slots):
        assert trial.starts_because("boot") == COMMITTED_TRIES, "\n".join(trial.console)
        assert trial.starts == 1  # of its own image, burned again
        assert trial.panicked is (mine[trial.slot] is Breakage.PANICS)
        control = trial.card["record"]["actual"]["control"]
        assert (trial.card["booted_from"], control["boot"], control["trial"]) == ("a", "a", "-")
        assert trial.card["record"]["rejected"] == []
        assert "This card is in service" in burned.page(trial.slot)
