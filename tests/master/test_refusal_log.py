"""Who is refused again and again, or for ever new reasons, does not fill the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.master.log_guard import AGAIN_SECONDS, MOST_LINES, LogGuard, Saying
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


def test_refusals_for_ever_new_reasons_are_bounded_and_the_last_line_says_so() -> None:
    guard = LogGuard()
    heard = [guard.judge(number, now=number / 1000) for number in range(3 * MOST_LINES)]
    assert heard.count(Saying.SAY) == MOST_LINES - 1
    assert heard[MOST_LINES - 1] is Saying.LAST
    assert heard[MOST_LINES:] == [Saying.BE_SILENT] * 2 * MOST_LINES
    assert guard.judge("later", now=AGAIN_SECONDS + 1) is Saying.SAY
