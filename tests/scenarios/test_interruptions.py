"""Issue 2, done when 3: burn-all with kills and power cuts. `tools/campaign` does ten of each, also later."""

from __future__ import annotations

import random

import pytest

from tests.scenarios.interruptions import Victim, interrupted_burn_alls
from tests.scenarios.stage import Stage


@pytest.mark.parametrize("victim", Victim)
def test_interrupted_burn_all_is_resumed_and_nothing_stored_is_written_again(
    stage: Stage, rng: random.Random, victim: Victim
) -> None:
    burn_alls = interrupted_burn_alls(stage, victim, rng, strikes=4, each=4, tell=print)
    assert sum(len(burn_all.strikes) for burn_all in burn_alls) == 4
