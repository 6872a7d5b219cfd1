"""A directory whose path leaves room for socket names."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="fwmgr-"))
    yield path
    shutil.rmtree(path)
