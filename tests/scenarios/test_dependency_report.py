"""A whole chassis in process whose cards need each other: what answers and reports say, over the API."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.cli.cards import card_table
from firmware_mgr.cli.check import check_table
from firmware_mgr.model.ids import Digest
from tests.master.stocked_rack import package_file


@pytest.fixture
def system() -> Iterator[SimSystem]:
    """Two cards in service, one with a package that needs another card's."""
    system = SimSystem(2)
    system.make_site()
    system.start_master()
    boards = {bay.card.hardware.board.name for bay in system.chassis.bays.values() if bay.card}
    for board in sorted(boards):
        system.post("/v1/images", {"path": str(system.build_image(board, "1.0").folder)})
    system.post("/v1/packages", {"path": str(system.build_package())})
    add(system, "peer 1")
    add(system, "peer 2")
    add(system, "sync 2", remote=["peer = 2"])
    system.post("/v1/card/set", {"cards": ["1"], "packages": ["web", "sync"]})
    system.post("/v1/card/set", {"cards": ["2"], "packages": ["web", "peer=2"]})
    yield system
    system.close()


def add(system: SimSystem, title: str, **needs: Any) -> Path:
    path = system.directory / f"{title.replace(' ', '-')}.fwp"
    path.write_bytes(package_file(title, key=system.key, **needs))
    system.post("/v1/packages", {"path": str(path)})
    return path


def burn_all(system: SimSystem) -> Any:
    """All cards are present afterwards; what was answered when it began."""
    operation = system.post("/v1/burn-all")
    path = f"/v1/operations/{operation['id']}"
    system.wait_until("it is over", lambda: system.get(path)["finished"], 900.0)
    return operation


def shown(renderable: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=140).print(renderable)
    return out.getvalue()


def test_breaking_another_cards_dependency_is_told_at_once_and_remembered(system: SimSystem) -> None:
    assert burn_all(system)["check"] == {"discrepancies": [], "count": 0}
    assert system.get("/v1/check") == {"cards": 2, "lacking": 0, "discrepancies": []}

    (answer,) = system.post("/v1/card/set", {"cards": ["2"], "packages": ["web", "peer=1"]})
    assert answer["check"]["counts"] == {"worse": 1, "better": 0}
    (worse,) = answer["check"]["worse"]
    assert (worse["slot"], worse["package"], worse["lack"]) == ("1", "sync", "remote dependency")
    assert worse["remedies"][0]["command"] == "fwmgr card set 2 --package web --package peer=2"

    report = system.get("/v1/check")
    assert report == {"cards": 2, "lacking": 1, "discrepancies": [worse]}
    assert system.get("/v1/check", cards="2")["discrepancies"] == []
    table = shown(check_table(report["discrepancies"]))
    assert "needs peer (= 2) on another card" in table and "peer 1 on slot 2" in table
    system.kill_master()
    system.start_master()
    assert system.get("/v1/check") == report
    system.wait_until("cards are told of", lambda: system.get("/v1/cards")[0]["lacks"] == 1, 5.0)
    assert [card["lacks"] for card in system.get("/v1/cards")] == [1, 0]
    assert "fwmgr card set 2 --package web --package peer=2" in shown(
        card_table(system.get("/v1/card", slot="1"))
    )

    assert system.post("/v1/burn-all")["check"]["count"] == 1


def test_a_package_whose_file_is_lost_is_told_and_found_again(system: SimSystem) -> None:
    file = add(system, "base 1")
    system.post("/v1/card/set", {"cards": ["2"], "packages": ["base", "peer=2"]})
    (record,) = [one for one in system.get("/v1/packages") if one["name"] == "base"]
    assert system.master is not None
    blob = system.master.master.find_blob(Digest(record["digest"]))
    assert blob is not None
    system.kill_master()
    blob.unlink()
    system.start_master()
    (lost,) = system.get("/v1/check")["discrepancies"]
    assert (lost["slot"], lost["package"], lost["lack"]) == ("2", "base", "unreadable package")
    system.post("/v1/packages", {"path": str(file)})
    assert system.get("/v1/check")["discrepancies"] == []


def test_what_nobody_refers_to_is_collected_and_the_rest_is_not(system: SimSystem) -> None:
    dry = system.post("/v1/packages/collect", {"keep": 1, "dry_run": True})
    assert [f"{one['name']} {one['version']}" for one in dry["packages"]] == ["peer 1"]
    assert dry["freed"] > 0 and len(system.get("/v1/packages")) == 4
    assert system.post("/v1/packages/collect", {"keep": 1}) == {**dry, "dry_run": False}
    assert len(system.get("/v1/packages")) == 3
    system.post("/v1/card/set", {"cards": ["2"], "packages": []})
    assert system.post("/v1/packages/collect", {"keep": 1})["packages"] == []


def test_what_is_said_of_a_board_and_breaks_another_card_is_told_as_well(system: SimSystem) -> None:
    burn_all(system)
    board = system.get("/v1/card", slot="2")["board"]
    answer = system.post(f"/v1/boards/{board}", {"packages": ["web", "peer=2"]})
    assert answer["check"]["counts"] == {"worse": 0, "better": 0}
    system.post("/v1/card/clear", {"cards": ["2"]})
    answer = system.post(f"/v1/boards/{board}", {"packages": ["web"]})
    assert (answer["board"], answer["check"]["counts"]) == (board, {"worse": 1, "better": 0})
    answer = system.post(f"/v1/boards/{board}/clear")
    assert [one["slot"] for one in answer["check"]["better"]] == ["1"]
    # All of everything on slot 2: its own sync needs a peer elsewhere.
    assert [(one["slot"], one["package"]) for one in answer["check"]["worse"]] == [("2", "sync")]
