"""Issue 3, done when 4: no single message of a burn-all with warm boot matters, whatever befalls it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from firmware_mgr.lab.sim.faults import Fault
from tests.scenarios.single_faults import Outcome, cases, check, make_site, run

#: The cases are dealt out over so many tests, which may run side by side.
PARTS = 16
#: What an undisturbed run sends at the least: fewer would mean that something is not counted any more.
LEAST_MESSAGES = 100


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_site(tmp_path_factory.mktemp("site") / "m")


@pytest.fixture(scope="module")
def undisturbed(site: Path) -> Outcome:
    return run(site, {}, record=True)


def test_every_kind_of_message_is_in_the_undisturbed_run(undisturbed: Outcome) -> None:
    assert len(undisturbed.messages) >= LEAST_MESSAGES
    labels = {message.label for message in undisturbed.messages}
    assert {"hello", "welcome", "burn", "stored", "run", "running"} <= labels
    ports = {message.flow.rpartition(":")[2].split()[0] for message in undisturbed.messages}
    assert {"67", "68", "69", "7400", "7401", "7402"} <= ports


@pytest.mark.parametrize("part", range(PARTS))
def test_all_cards_come_into_service_whatever_befalls_one_message(
    site: Path, undisturbed: Outcome, part: int
) -> None:
    mine = cases(undisturbed)[part::PARTS]
    for number, fault in mine:
        try:
            check(run(site, {number: fault}), undisturbed)
        except AssertionError as e:
            raise AssertionError(f"{undisturbed.messages[number - 1]} {fault.value}: {e}") from e
    sys.stdout.write(f"{len(mine)} of {len(cases(undisturbed))} single faults, {len(Fault)} kinds\n")
