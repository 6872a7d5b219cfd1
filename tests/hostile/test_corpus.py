"""The fuzzer's corpus: it is survived, and it reaches the parsers' lines."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .replay import inputs
from .targets import CORPUS, ROOMS, TARGETS

MIN_PERCENT = 95.0
MAX_BYTES = 300_000  # of one corpus


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_survived_and_reaches_nearly_every_line(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.replay", name],
        cwd=ROOMS.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reached = json.loads(done.stdout)
    short = {file: found for file, found in reached.items() if found[0] < MIN_PERCENT}
    assert not short, f"lines not reached: {short}; tools/fuzz {name} --seconds 60 --minimise"


def test_each_target_has_its_corpus_and_it_is_small() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    for name in TARGETS:
        assert 0 < sum(path.stat().st_size for path in inputs(name)) <= MAX_BYTES
