"""Selectors: one parser for all commands; what names nobody is refused with what there is."""

from __future__ import annotations

import pytest

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.selection import Candidate, check_class_name, select

CARDS = [
    Candidate(SlotId(number, shelf), "pi" if number == 1 else "virt", "edge" if shelf == 2 else None)
    for shelf in (1, 2, 10)
    for number in (1, 2, 3)
]
CLASSES = ("edge", "core")


def chosen(*terms: str) -> list[str]:
    return [str(slot) for slot in select(terms, reversed(CARDS), CLASSES)]


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (("3",), ["3"]),
        (("1/3",), ["3"]),
        (("2/3",), ["2/3"]),
        (("1-2",), ["1", "2"]),
        (("2/2-9",), ["2/2", "2/3"]),
        (("1/*",), ["1", "2", "3"]),
        (("10/*",), ["10/1", "10/2", "10/3"]),
        (("edge",), ["2/1", "2/2", "2/3"]),
        (("board:pi",), ["1", "2/1", "10/1"]),
        (("10/1,3", " 2 ,3"), ["2", "3", "10/1"]),
        (("all",), ["1", "2", "3", "2/1", "2/2", "2/3", "10/1", "10/2", "10/3"]),
    ],
)
def test_a_selector_names_slots_in_order_of_shelves_each_once(
    terms: tuple[str, ...], expected: list[str]
) -> None:
    assert chosen(*terms) == expected


@pytest.mark.parametrize(
    "term", ["4", "3/1", "3/*", "7-9", "core", "board:none", "nobody", "", "*", "2-1", "1//2"]
)
def test_what_names_nobody_is_refused(term: str) -> None:
    with pytest.raises(UsageError):
        chosen("1", term)


def test_no_term_at_all_is_refused() -> None:
    with pytest.raises(UsageError, match="no cards are named"):
        chosen()


@pytest.mark.parametrize("name", ["3", "1-2", "all", "", "Edge", "2/1", "board:x"])
def test_a_class_cannot_have_a_name_that_reads_as_slots(name: str) -> None:
    with pytest.raises(UsageError):
        check_class_name(name)
