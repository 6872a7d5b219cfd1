"""Watching cards: told when something has changed and not before; through a master that goes and comes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from firmware_mgr.link import messages as m
from firmware_mgr.master.api import Api
from firmware_mgr.master.client import MasterClient
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.model.errors import UsageError
from tests.master.rack_twin import Rack, TwinCard

PATIENCE = 30.0


@pytest.fixture
def short() -> Iterator[Path]:
    """A socket's path is short."""
    with tempfile.TemporaryDirectory(prefix="fww-") as folder:
        yield Path(folder)


@asynccontextmanager
async def serving(rack: Rack, path: Path) -> AsyncIterator[None]:
    api = Api(rack.master, path)
    await api.start()
    try:
        yield
    finally:
        await api.stop()


async def watch(client: MasterClient, after: str, within: float) -> dict[str, Any]:
    answer: dict[str, Any] = await client.ask(
        "GET", "/v1/watch", query={"after": after, "within": str(within)}
    )
    return answer


async def test_the_situation_is_told_at_once_and_then_when_it_is_another(tmp_path: Path, short: Path) -> None:
    path = short / "api.sock"
    async with Rack(tmp_path, slots=1) as rack, serving(rack, path):
        client = MasterClient(path)
        first = await watch(client, "", PATIENCE)
        assert [card["slot"] for card in first["cards"]] == ["1"]
        waiting = asyncio.create_task(watch(client, first["revision"], PATIENCE))
        await rack.settle()
        await asyncio.sleep(0)
        await rack.master.burn_all(None, False)
        second = await waiting
        assert second["changed"] and second["revision"] != first["revision"]
        assert second["cards"][0]["state"] != first["cards"][0]["state"]


async def test_what_is_no_change_does_not_answer_before_its_time(tmp_path: Path, short: Path) -> None:
    path = short / "api.sock"
    async with Rack(tmp_path, slots=1) as rack, serving(rack, path):
        client = MasterClient(path)
        first = await watch(client, "", PATIENCE)
        answer = await watch(client, first["revision"], 0.3)
        assert answer == {"revision": first["revision"], "changed": False}


@pytest.mark.parametrize("within", ["x", "-1", "61", "nan"])
async def test_a_time_that_is_none_is_refused(within: str, tmp_path: Path, short: Path) -> None:
    path = short / "api.sock"
    async with Rack(tmp_path, slots=1) as rack, serving(rack, path):
        with pytest.raises(UsageError, match="within"):
            await MasterClient(path).ask("GET", "/v1/watch", query={"within": within})


async def test_lines_of_json_follow_a_card_and_a_master_that_goes_and_comes_back(
    tmp_path: Path, short: Path
) -> None:
    path = MasterPaths(short).api
    command = ["-m", "firmware_mgr.app.fwmgr", "cards", "--watch", "--json", "--dir", str(short)]
    async with Rack(tmp_path, slots=1) as rack:
        async with serving(rack, path):
            # Whoever runs the tests in the background has Ctrl-C ignored, and children inherit that.
            process = await asyncio.create_subprocess_exec(
                "env",
                "--default-signal=INT",
                sys.executable,
                *command,
                stdout=asyncio.subprocess.PIPE,
                limit=1 << 20,
            )
            assert process.stdout is not None
            try:
                async with asyncio.timeout(PATIENCE):
                    first = json.loads(await process.stdout.readline())
                    assert first["cards"][0]["slot"] == "1"
                    card = TwinCard(rack, 1)
                    card.source = m.BootSource.NETBOOT
                    await rack.master.burn_all(None, False)
                    await card.hello()
                    while json.loads(await process.stdout.readline())["cards"][0]["state"] != "burning":
                        pass
            except BaseException:
                process.kill()
                raise
        async with asyncio.timeout(PATIENCE):
            while "error" not in (line := json.loads(await process.stdout.readline())):
                pass
            assert line["error"]["kind"] == "PeerError"
            async with serving(rack, path):
                assert "cards" in json.loads(await process.stdout.readline())
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 0
