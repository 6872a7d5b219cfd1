"""The harness finds bugs that were planted in a copy of the code, each within some thousand states."""

import sys

import pytest

from tests.flash.powercut.bench import Bench
from tests.flash.powercut.house import planted
from tests.flash.powercut.order import every_state
from tests.flash.powercut.planted import PLANTED, Planted

#: So many states a bug may stay hidden.
STATES = 3000


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.bugs[0].name)
def test_a_planted_bug_is_found(plant: Planted, capsys: pytest.CaptureFixture[str]) -> None:
    with planted(*plant.bugs) as house:
        operation = next(op for op in plant.operations(house) if op.name == plant.on)
        bench = Bench(operation, seed=1)
        sites = {site for site in operation.sites() if plant.at in site}
        for cuts in every_state(bench, sites):
            bench.try_state(cuts)
            if bench.failures or len(bench.seen) >= STATES:
                break
    assert bench.failures, f"not found in {len(bench.seen)} states"
    found = f"found after {len(bench.seen)} states: {bench.failures[0]}"
    with capsys.disabled():
        sys.stdout.write(f"\n{plant.bugs[0].name}: {found}\n")
