"""Issue 2, done when 4: damaged flash. A sample; `tools/campaign damage` does more of the same."""

from __future__ import annotations

import random

from tests.scenarios.damage import Case, both_controls, maps, seeded_cases, side_by_side
from tests.scenarios.regions import Area, FlashMap, Flip, Part
from tests.scenarios.stage import Stage

FLIPS = 3


def test_card_with_damaged_flash_comes_back_and_only_what_was_bad_is_burned_again(
    stage: Stage, rng: random.Random
) -> None:
    rig = stage.burned()
    flash = maps(stage, rig)
    cases = {slot: _cases(flash[slot], rng) for slot in rig.one_of_each}
    if stage.starts_cost_nothing:
        for slot in cases:
            cases[slot] += seeded_cases(flash[slot], rng.choice(list(Area)), rng, 1, FLIPS)
    rig.start_master()
    outcomes = side_by_side(stage, rig, cases)
    assert len(outcomes) == sum(map(len, cases.values()))


def _cases(flash: FlashMap, rng: random.Random) -> list[Case]:
    return [
        # What must be seen on every board in every run, wherever the shots of this seed go. Image and store
        # are not hit at once: of either nothing is written when the other was.
        Case("image and unused", (flash.hit(Part.IMAGE, rng), *_unused(flash, rng))),
        Case("store and control", (*_store(flash, rng), *both_controls(flash, rng).flips)),
    ]


def _unused(flash: FlashMap, rng: random.Random) -> tuple[Flip, ...]:
    return flash.hit(Part.BOOT_REST, rng), flash.hit(Part.STORE_REST, rng)


def _store(flash: FlashMap, rng: random.Random) -> tuple[Flip, ...]:
    return tuple(flash.hit(Part.MODULES, rng) for _ in range(FLIPS))
