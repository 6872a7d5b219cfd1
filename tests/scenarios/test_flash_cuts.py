"""Power that fails at any one operation of a card's flash, in burn-all or warm boot: it ends in service."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.flash.device import Cut
from tests.scenarios.flash_cuts import run
from tests.scenarios.single_faults import make_site

PARTS = 4


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_site(tmp_path_factory.mktemp("site") / "m", cards=1)


@pytest.mark.parametrize("part", range(PARTS))
def test_card_comes_into_service_whichever_operation_is_torn(site: Path, part: int) -> None:
    """Cuts before and after an operation are `tools/campaign sim`'s: a torn one may look like either."""
    cut = Cut.TORN
    operations = run(site, None)
    for operation in range(1 + part, operations + 1, PARTS):
        try:
            run(site, operation, cut, seed=operation)
        except AssertionError as e:
            raise AssertionError(f"cut {cut.value} operation {operation} of {operations}: {e}") from e
