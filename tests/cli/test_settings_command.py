"""`fwmgr settings` and `fwmgr card logs`: what is asked of the master, what is printed, what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from firmware_mgr.cli.main import app
from tests.cli.answering import Answering

FILE = {"path": "web/key", "mode": "0600", "owner": "0:0", "secret": True, "length": 7, "digest": "ab" * 32}
VARIABLE = {"name": "LEVEL", "secret": False, "length": 5, "digest": "cd" * 32, "value": "debug"}
RECORD = {
    "owner": "slot/1",
    "updated_at": 1.0,
    "hostname": "web-1",
    "addresses": ["10.1.2.3/24"],
    "files": [FILE],
    "variables": [VARIABLE],
}
KEPT = {"logs": [{"name": "web"}], "cores": [], "note": ""}
LOG = "line 1\nline 2 \x1b[31mred\nüber\n".encode()


class Master(Answering):
    """Has one owner's settings and one card's log, and takes changes."""

    def __init__(self, directory: Path) -> None:
        self.posted: list[dict[str, Any]] = []
        super().__init__(directory)

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/settings/one", self._always(RECORD))
        router.add_get("/v1/settings", self._always([RECORD]))
        router.add_post("/v1/settings", self._change)
        router.add_get("/v1/card/log", self._log)
        router.add_get("/v1/card/kept", self._always(KEPT))

    def _always(self, document: Any) -> Callable[[web.Request], Any]:
        async def answer(_: web.Request) -> web.Response:
            return web.json_response(document)

        return answer

    async def _change(self, request: web.Request) -> web.Response:
        self.posted.append(await request.json())
        return web.json_response(RECORD)

    async def _log(self, request: web.Request) -> web.Response:
        start = max(0, int(request.query["start"]))
        data = LOG[start : start + 23]  # in the middle of a letter
        document = {"start": start, "end": len(LOG), "data": base64.b64encode(data).decode()}
        return web.json_response(document)


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    master = Master(tmp_path)
    yield master
    master.close()


def run(master: Master, *arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [*arguments, "--dir", str(master.directory)], input=given)


def test_a_secret_is_read_from_standard_input_and_sent_and_not_printed(master: Master) -> None:
    options = ["--env", "PASSWORD", "--from", "-", "--secret"]
    done = run(master, "settings", "set", "class:edge", *options, given=b"pw\n")
    assert done.exit_code == 0 and "pw" not in done.output
    variable = {"name": "PASSWORD", "value": "pw", "secret": True}
    assert master.posted == [{"owner": "class/edge", "variables": [variable]}]


def test_a_files_content_mode_and_owner_are_sent(master: Master, tmp_path: Path) -> None:
    source = tmp_path / "key"
    source.write_bytes(b"\0\xff")
    options = ["--file", "web/key", "--from", str(source), "--mode", "0440", "--owner", "0:33"]
    assert run(master, "settings", "set", "2/3", *options).exit_code == 0
    (body,) = master.posted
    assert body["owner"] == "slot/2/3"
    assert body["files"] == [
        {"path": "web/key", "mode": 0o440, "uid": 0, "gid": 33, "secret": False, "content": "AP8="}
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["set", "1"],
        ["set", "1", "--env", "PASSWORD=pw", "--secret"],
        ["set", "1", "--file", "a"],
        ["set", "1", "--env", "A"],
        ["set", "1", "--file", "a", "--env", "B", "--from", "-"],
        ["set", "1", "--file", "a", "--from", "-", "--mode", "9"],
        ["set", "1", "--file", "a", "--from", "-", "--owner", "root"],
        ["unset", "1"],
    ],
)
def test_wrong_usage_ends_with_2_and_asks_nothing(master: Master, arguments: list[str]) -> None:
    assert run(master, "settings", *arguments, given=b"").exit_code == 2
    assert master.posted == []


def test_what_is_shown_has_no_secret_but_its_length_and_mark(master: Master) -> None:
    shown = run(master, "settings", "show", "1").output
    assert "secret" in shown and "7 bytes" in shown and "debug" in shown and "web-1" in shown
    assert json.loads(run(master, "settings", "show", "1", "--json").output) == RECORD
    assert "LEVEL" in run(master, "settings", "list").output


def test_taking_away_names_what_goes(master: Master) -> None:
    assert run(master, "settings", "unset", "1", "--file", "a", "--hostname", "--addresses").exit_code == 0
    (body,) = master.posted
    assert body["without_files"] == ["a"] and body["hostname"] == "" and body["addresses"] == []


def test_a_log_is_put_together_and_cannot_steer_the_terminal(master: Master) -> None:
    shown = run(master, "card", "logs", "1", "web").output
    assert "\x1b" not in shown and "line 2 " in shown and shown.startswith("line 1\n")
    assert "über" in shown
    assert run(master, "card", "logs", "1").output.startswith("==> web <==\nline 1\n")
    assert run(master, "card", "logs", "1", "--follow").exit_code == 2
