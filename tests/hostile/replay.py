"""Plays a corpus to its server and says which lines of the parsers were reached, as JSON.

`python -m tests.hostile.replay dhcp`. A process of its own: lines of imports and tables count too.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path

import coverage

from .targets import CORPUS, ROOMS, TARGETS


def inputs(name: str) -> list[Path]:
    return sorted((CORPUS / name).iterdir())


def replay(name: str) -> dict[str, tuple[float, list[int]]]:
    """File → percent of its lines reached, and the lines that were not."""
    target = TARGETS[name]
    measure = coverage.Coverage(data_file=None, include=[str(ROOMS / file) for file in target.parsers])
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        measure.start()
        play = target.open(Path(folder))
        for path in inputs(name):
            play(path.read_bytes())
        measure.stop()
    reached = {}
    for file in target.parsers:
        _, lines, _, missing, _ = measure.analysis2(str(ROOMS / file))
        reached[file] = (round(100 * (1 - len(missing) / len(lines)), 1), missing)
    return reached


if __name__ == "__main__":
    sys.stdout.write(json.dumps(replay(sys.argv[1])) + "\n")
