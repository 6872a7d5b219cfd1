"""The seconds of a burn-all, put together by phase and by board."""

from __future__ import annotations

from typing import Any

from firmware_mgr.app.demo_seconds import OTHER, PHASES, seconds_by_phase, seconds_table
from firmware_mgr.model.lifecycle import CardState

BOARDS = {"1": "one", "2": "two", "2/1": "two", "2/2": "two"}


def card(**seconds: float) -> dict[str, Any]:
    return {"phases": [[state.replace("_", " "), took] for state, took in seconds.items()]}


def cells(operation: dict[str, Any]) -> dict[str, list[str]]:
    table = seconds_table(operation, BOARDS)
    columns = [list(column.cells) for column in table.columns]
    heads = [str(column.header) for column in table.columns]
    return {heads[0]: heads[1:]} | {row[0]: list(row[1:]) for row in zip(*columns, strict=True)}


def test_every_state_on_the_way_to_service_belongs_to_one_phase() -> None:
    states = [state for phase in PHASES.values() for state in phase]
    assert len(states) == len(set(states))
    out_of_the_ordinary = {CardState.ABSENT, CardState.HELD, CardState.LOST, CardState.FAILED}
    assert set(states) == set(CardState) - out_of_the_ordinary - {CardState.IN_SERVICE}


def test_phase_that_was_entered_twice_is_added_up_and_service_is_left_out() -> None:
    twice = {"phases": [["burning", 2.0], ["lost", 1.0], ["burning", 3.0], ["in service", 99.0]]}
    seconds = seconds_by_phase(twice)
    assert seconds["burn"] == 5.0
    assert seconds[OTHER] == 1.0
    assert sum(seconds.values()) == 6.0


def test_each_board_has_a_column_with_the_middle_of_its_cards_and_the_slowest_stands_last() -> None:
    cards = {
        "1": card(booting=4.0),
        "2": card(booting=5.0),
        "2/1": card(booting=30.0),
        "2/2": card(booting=7.0),
    }
    shown = cells({"cards": cards})
    assert shown[""] == ["one", "two", "slowest card"]
    assert shown["warm boot"] == ["4.0", "7.0", "30.0"]
    assert shown["sum"] == ["4.0", "7.0", "30.0"]
    assert OTHER not in shown


def test_what_was_out_of_the_ordinary_has_a_line() -> None:
    assert cells({"cards": {"1": card(lost=3.5)}})[OTHER] == ["3.5", "3.5"]
