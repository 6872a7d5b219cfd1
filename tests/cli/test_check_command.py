"""`fwmgr check`, what commands say of dependencies, `fwmgr package collect`: words, and exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from firmware_mgr.cli import check, check_words
from firmware_mgr.cli.cards import card_notes
from firmware_mgr.cli.main import app
from firmware_mgr.model.discrepancies import Lack
from tests.cli.answering import Answering


def one(lack: str, needs: str, **other: Any) -> dict[str, Any]:
    return {
        "slot": "3",
        "present": True,
        "package": "web",
        "version": "2.1",
        "lack": lack,
        "needs": needs,
        "constraint": "",
        "path": "",
        "instead": [],
        "remedies": [],
        "command": "",
        **other,
    }


def there(package: str, version: str, *slots: str) -> dict[str, Any]:
    return {"package": package, "version": version, "slots": list(slots), "cards": len(slots)}


def remedy(version: str, *slots: str, way: str = "activate") -> dict[str, Any]:
    return {"way": way, "command": "", **there("ssl", version, *slots)}


LOCAL = one(
    "local dependency",
    "ssl",
    constraint=">= 3",
    instead=[there("ssl", "1.1", "3")],
    remedies=[remedy("3.1", "3"), remedy("3.0", "3")],
    command="fwmgr card set 3 --package web --package ssl=3.1",
)
SAID = [
    (
        LOCAL,
        [
            "slot 3: web 2.1 needs ssl (>= 3); there is ssl 1.1",
            "ssl 3.1",
            "ssl 3.0",
            "fwmgr card set 3 --package web --package ssl=3.1",
        ],
    ),
    (
        one(
            "remote dependency",
            "ssl",
            present=False,
            constraint="= 2",
            instead=[there("ssl", "1", "4", "5"), there("ssl", "2", "6")],
            remedies=[remedy("2", "6", way="return"), remedy("2", "4", "5"), remedy("2")],
        ),
        [
            "slot 3, absent: web 2.1 needs ssl (= 2) on another card; "
            "there is ssl 1 on slot 4, 5, ssl 2 on slot 6",
            "ssl 2, when the card of slot 6 is back",
            "ssl 2 on slot 4, 5",
            "ssl 2 on any other card",
        ],
    ),
    (
        one("library", "so:libx.so.1", path="usr/bin/x"),
        [
            "slot 3: web 2.1 needs library libx.so.1 (for usr/bin/x); there is nothing",
            "add a package with libx.so.1: fwmgr package add FILE",
        ],
    ),
    (
        one("orphaned upgrade", "ssl", constraint="= 3.0.2", instead=[there("ssl", "3.0.1", "3")]),
        [
            "slot 3: web 2.1 upgrades ssl (= 3.0.2); there is ssl 3.0.1",
            "leave web out, or add ssl (= 3.0.2)",
        ],
    ),
    (
        one("order", "ssl", instead=[there("ssl", "3", "3")]),
        [
            "slot 3: web 2.1 must stand before ssl, and it stands behind ssl",
            "dependencies run in a circle: leave one of these out, or build it without that dependency",
        ],
    ),
    (
        one("order", "ssl", instead=[there("ssl", "3", "3")], command="fwmgr card set 3 --package web"),
        [
            "slot 3: web 2.1 must stand before ssl, and it stands behind ssl",
            "name web before ssl",
            "fwmgr card set 3 --package web",
        ],
    ),
    (
        one("clash", "srv/a/b", path="srv/a", instead=[there("other", "1", "3")]),
        [
            "slot 3: web 2.1 has srv/a/b; there is srv/a of other",
            "leave out web, or what is there instead",
        ],
    ),
    (
        one("unreadable package", "file 0123"),
        [
            "slot 3: web 2.1 needs its file 0123; there is no file that can be read",
            "add its file again: fwmgr package add FILE",
        ],
    ),
]


@pytest.mark.parametrize(("found", "lines"), SAID, ids=[found["lack"] for found, _ in SAID])
def test_every_discrepancy_is_told_in_plain_words(found: dict[str, Any], lines: list[str]) -> None:
    assert [check_words.sentence(found), *(text for _, text in check_words.help_lines(found))] == lines


def test_there_are_words_for_everything_that_the_check_finds() -> None:
    assert {lack.value for lack in Lack} == {found["lack"] for found, _ in SAID}
    assert {lack.value for lack in Lack} == check_words._NEEDS.keys() == check_words._ADVICE.keys()


def test_many_cards_are_counted_and_packages_cannot_move_the_cursor() -> None:
    many = {**there("ssl", "1", "4", "5"), "cards": 900}
    text = check_words.instead(one("remote dependency", "ssl", instead=[many]))
    assert text == "ssl 1 on slot 4, 5 and 898 more"
    assert "\x1b" not in check_words.sentence(one("library", "so:\x1b[31mred", path="\x1b[2J"))


def test_a_command_is_told_once_and_not_in_the_table() -> None:
    assert check.commands([LOCAL, LOCAL, one("order", "ssl")]) == [
        "slot 3, web: fwmgr card set 3 --package web --package ssl=3.1"
    ]


def test_cards_are_followed_by_how_many_lack_something() -> None:
    cards = [{"lacks": 0}, {"lacks": 3}, {"lacks": 1}]
    assert check_words.cards_note(cards) == "2 cards lack something: fwmgr check"
    assert check_words.cards_note(cards[:2]) == "1 card lacks something: fwmgr check"
    assert check_words.cards_note(cards[:1]) == ""
    assert card_notes([]) == []


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Answering]:
    answering = Answering(tmp_path)
    yield answering
    answering.close()


def run(master: Answering, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--dir", str(master.directory)])


def test_check_shows_a_table_and_the_commands_and_ends_with_1(master: Answering) -> None:
    answer = {"cards": 7, "lacking": 1, "discrepancies": [LOCAL]}
    master.answers["/v1/check"] = answer
    done = run(master, "check", "--cards", "edge", "--cards", "2/*")
    assert done.exit_code == 1
    assert master.asked == [("/v1/check", {"cards": "edge,2/*"})]
    for text in ("web 2.1", "needs ssl (>= 3)", "ssl 1.1", "ssl 3.0", "1 of 7 cards lack something"):
        assert text in done.stdout
    assert "slot 3, web: fwmgr card set 3 --package web --package ssl=3.1\n" in done.stdout
    again = run(master, "check", "--json")
    assert again.exit_code == 1 and json.loads(again.stdout) == answer


def test_check_ends_with_0_when_nothing_is_missing(master: Answering) -> None:
    master.answers["/v1/check"] = {"cards": 7, "lacking": 0, "discrepancies": []}
    done = run(master, "check")
    assert (done.exit_code, done.stdout) == (0, "7 cards looked at: nothing is missing\n")


CHECK = {"worse": [LOCAL], "better": [one("order", "ssl")], "counts": {"worse": 30, "better": 1}}
TOLD = (
    "warning: slot 3: web 2.1 needs ssl (>= 3); there is ssl 1.1\n"
    "  would do: ssl 3.1\n"
    "  would do: ssl 3.0\n"
    "  next: fwmgr card set 3 --package web --package ssl=3.1\n"
    "warning: 20 more: fwmgr check\n"
    "put right: slot 3: web 2.1 must stand before ssl\n"
)


def test_a_change_is_followed_by_what_it_made_worse_and_better_on_standard_error(master: Answering) -> None:
    cards = [
        {"slot": slot, "warnings": [], "check": check, "wanted": None}
        for slot, check in (("3", CHECK), ("4", None))
    ]
    master.answers["/v1/card/set"] = cards
    done = run(master, "card", "set", "3,4", "--package", "web")
    assert done.exit_code == 0 and done.stderr == TOLD
    master.answers["/v1/assign"] = {"slots": ["3"], "warnings": [], "check": CHECK}
    assert run(master, "class", "assign", "edge", "3").stderr == TOLD
    record = {"name": "edge", "cards": [], "packages": None, "images": {}, "order": None, "save_image": None}
    master.answers["/v1/classes/edge"] = {**record, "warnings": [], "check": CHECK}
    assert run(master, "class", "set", "edge", "--package", "web").stderr == TOLD


def test_a_burn_all_says_first_what_its_cards_lack(master: Answering) -> None:
    check = {"discrepancies": [LOCAL], "count": 1}
    master.answers["/v1/burn-all"] = {"id": "burn-1", "check": check}
    done = run(master, "burn-all", "--no-wait")
    assert done.exit_code == 0 and done.stderr == "".join(TOLD.splitlines(keepends=True)[:4])
    assert "burn-1 started" in done.stdout


def test_collect_asks_for_what_was_said_and_shows_what_goes(master: Answering) -> None:
    package = {"name": "web", "version": "1", "digest": "ab" * 32, "length": 2_000_000, "cpus": ["armv7"]}
    image = {"board": "virt", "version": "7", "digest": "cd" * 32, "length": 1_000_000}
    answer = {"images": [image], "packages": [package], "freed": 3_000_000, "dry_run": True}
    path = "/v1/packages/collect"
    master.answers[path] = answer
    done = run(master, "package", "collect", "--keep", "3", "--dry-run")
    assert done.exit_code == 0 and master.asked == [(path, {"keep": 3, "dry_run": True})]
    assert "armv7" in done.stdout and "virt" in done.stdout and "3.0 MB would be freed" in done.stdout
    assert json.loads(run(master, "package", "collect", "--json").stdout) == answer
    assert master.asked[-1] == (path, {"keep": 2, "dry_run": False})
    master.answers[path] = {"images": [], "packages": [], "freed": 0, "dry_run": False}
    assert "nothing to remove" in run(master, "package", "collect").stdout
    assert run(master, "package", "collect", "--keep", "0").exit_code == 2


BOARD = {
    "board": "virt",
    "class": None,
    "location": "",
    "packages": ["web"],
    "images": {},
    "features": None,
    "order": None,
    "save_image": None,
    "cards": ["3"],
    "warnings": [],
}


@pytest.mark.parametrize("arguments", [("set", "virt", "--package", "web"), ("clear", "virt")])
def test_what_is_said_of_a_board_is_followed_by_what_it_made_worse(
    master: Answering, arguments: tuple[str, ...]
) -> None:
    for path in ("/v1/boards/virt", "/v1/boards/virt/clear"):
        master.answers[path] = {**BOARD, "check": CHECK}
    done = run(master, "board", *arguments)
    assert (done.exit_code, done.stderr) == (0, TOLD) and "board virt" in done.stdout
    again = run(master, "board", *arguments, "--json")
    assert json.loads(again.stdout)["check"] == CHECK and not again.stderr


def test_a_board_that_is_only_shown_warns_of_nothing(master: Answering) -> None:
    master.answers["/v1/boards/virt"] = BOARD
    done = run(master, "board", "show", "virt")
    assert (done.exit_code, done.stderr) == (0, "") and "web (newest)" in done.stdout
