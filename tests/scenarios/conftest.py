"""The rig that all scenarios of a run share, and what is kept when one of them fails."""

from __future__ import annotations

import os
import random
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.provisioned import Provisioned, provision
from tests.scenarios.rig import Rig
from tests.scenarios.software import TOP
from tests.scenarios.stage import QemuStage, SimStage, Stage

SEED_VARIABLE = "FWMGR_SEED"
SEED = int(os.environ.get(SEED_VARIABLE, "1"))
_OUTCOME = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def provisioned() -> Iterator[Provisioned]:
    """A rig of cards that were burned once, all recorded; what came of it, and copies to start from."""
    with tempfile.TemporaryDirectory(prefix="fws-") as folder:
        rig = Rig(record_writes=True)
        try:
            yield provision(rig, Path(folder))
        except BaseException:
            rig.keep_evidence(TOP / "var" / "scenarios" / "provisioning")
            raise
        finally:
            rig.down()


@pytest.fixture
def burned(provisioned: Provisioned, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The rig with burned cards that have no power yet; no master runs yet."""
    yield from _used(provisioned, request, fresh=False)


@pytest.fixture
def fresh(provisioned: Provisioned, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The rig with pristine cards and a master's directory that has image and package; neither runs."""
    yield from _used(provisioned, request, fresh=True)


def _used(provisioned: Provisioned, request: pytest.FixtureRequest, *, fresh: bool) -> Iterator[Rig]:
    rig = provisioned.rig
    (provisioned.fresh if fresh else provisioned.burned).put_back(rig)
    yield rig
    _clear(rig, request)


def _clear(rig: Rig, request: pytest.FixtureRequest) -> None:
    if not request.node.stash.get(_OUTCOME, False):
        name = re.sub(r"\W+", "-", request.node.name).strip("-")
        rig.keep_evidence(TOP / "var" / "scenarios" / name)
    rig.stop_master()
    rig.all_off()


@pytest.fixture(scope="session")
def sim_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimStage]:
    stage = SimStage(tmp_path_factory.mktemp("sim"), SEED)
    yield stage
    stage.close()


@pytest.fixture(params=["sim", pytest.param("qemu", marks=pytest.mark.qemu)])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Two cards, in process and under QEMU: scenarios that are about neither play on both."""
    if request.param == "sim":
        yield request.getfixturevalue("sim_stage")
        return
    provisioned: Provisioned = request.getfixturevalue("provisioned")
    yield QemuStage(provisioned)
    _clear(provisioned.rig, request)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """The same numbers for the same test and the same seed."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "call":
        item.stash[_OUTCOME] = report.passed
        if report.failed:
            again = f"{SEED_VARIABLE}={SEED} tools/test {item.nodeid}"
            report.sections.append(("run again", f"{again}\nlogs: var/scenarios/"))
