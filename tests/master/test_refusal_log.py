"""Who is refused again and again does not fill the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.model.errors import PeerError
from tests.master.rack_twin import Rack


async def test_the_same_refusal_stands_in_the_log_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        for _ in range(3):
            for _ in range(5):
                rack.master.conversation.refused("10.77.0.99", PeerError("no card", where="10.77.0.99"))
            rack.clock.now += 61.0
        assert caplog.text.count("refused: 10.77.0.99: no card") == 3
