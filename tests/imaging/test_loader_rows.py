"""The decision table on the loaders of U-Boot boards: a seeded sample; `tools/campaign rows` runs all."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from firmware_mgr.imaging.board import load_board
from tests.imaging.loader_rows import LoaderBench, every_row

#: Of the 196 rows; a power-on takes one to two seconds.
SAMPLE = 12


def test_rows_are_all_that_the_decision_record_counts() -> None:
    rows = every_row()
    assert len(rows) == len(set(rows)) == 196


@pytest.mark.qemu
@pytest.mark.parametrize("board", ["qemu-aarch64", "qemu-armv7"])
def test_loader_does_what_the_model_says(board: str, tmp_path: Path) -> None:
    bench = LoaderBench(load_board(board), tmp_path)
    rng = random.Random(f"{os.environ.get('FWMGR_SEED', '1')} {board}")
    wrong = {str(row): found for row in rng.sample(every_row(), SAMPLE) if (found := bench.differences(row))}
    assert not wrong
