"""Card information: strict, bounded JSON that says nothing by accident."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.package.bundle import MAX_INFORMATION
from firmware_mgr.package.card_information import parse_card_information
from firmware_mgr.package.errors import PackageFormatError

from .samples_bundle import INFORMATION


def parse(document: Any) -> object:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return parse_card_information(raw, "cards.json")


def test_what_was_said_is_read_back() -> None:
    assert parse(INFORMATION.document()) == INFORMATION
    assert parse({"format": 1}) == parse(b'\n{ "format" : 1 , "cards" : [ ] }')


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not an object"),
        (b'{"format":1}x', "not JSON"),
        (b'{"format":1,"format":1}', "a name stands twice"),
        (b'{"format":1.0}', "not a whole number"),
        (b'{"format":1e0}', "not a whole number"),
        (b'{"format":NaN}', "not a whole number"),
        (b'{"format":' + b"1" * 5000 + b"}", "not a whole number"),
        (b'{"format":true}', "unknown format"),
        ({}, "unknown format"),
        ({"format": 2}, "unknown format"),
        (b'{"format":1,"cards":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
        ({"format": 1, "more": 1}, "unknown name"),
        ({"format": 1, "cards": {}}, "not a list"),
        ({"format": 1, "cards": [{}]}, "a slot or a board"),
        ({"format": 1, "cards": [{"slot": "1", "board": "b"}]}, "a slot or a board"),
        ({"format": 1, "cards": [{"slot": 1}]}, "not a text"),
        ({"format": 1, "cards": [{"slot": "1/0"}]}, "not a slot"),
        ({"format": 1, "cards": [{"slot": "3"}, {"slot": "1/3"}]}, "stands twice"),
        ({"format": 1, "cards": [{"slot": "3", "mac": "x"}]}, "unknown name"),
        ({"format": 1, "cards": [{"slot": "3", "location": "a\nb"}]}, "not a location"),
        ({"format": 1, "cards": [{"slot": "3", "location": "x" * 257}]}, "not a location"),
        ({"format": 1, "cards": [{"slot": "3", "class": "../x"}]}, "not a card class name"),
        ({"format": 1, "cards": [{"slot": "3", "packages": ["a", "a=1"]}]}, "named twice"),
        ({"format": 1, "cards": [{"slot": "3", "packages": "a"}]}, "not a list"),
        ({"format": 1, "cards": [{"slot": "3", "packages": ["a="]}]}, "not a version"),
        ({"format": 1, "cards": [{"slot": "3", "features": ["b", "a"]}]}, "not sorted and unique"),
        ({"format": 1, "cards": [{"slot": "3", "images": {"b": 1}}]}, "not a text"),
        ({"format": 1, "classes": {"Bad Name": {}}}, "not a card class name"),
        ({"format": 1, "classes": {"a": {"slot": "1"}}}, "unknown name"),
        ({"format": 1, "classes": []}, "not an object"),
        ({"format": 1, "preferred": {"packages": {"a": "1 2"}}}, "not a version"),
        ({"format": 1, "preferred": {"cards": {}}}, "unknown name"),
        ({"format": 1, "cards": [{"board": f"b{n}"} for n in range(10_001)]}, "too long"),
        (b" " * (MAX_INFORMATION + 1), "too long"),
    ],
)
def test_anything_else_is_refused_and_named(document: Any, complaint: str) -> None:
    with pytest.raises(PackageFormatError, match=complaint):
        parse(document)


@given(st.one_of(st.binary(max_size=200), st.text(alphabet='{}[]":,1e.a\\ \n', max_size=60).map(str.encode)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        parse(data)
    except PackageFormatError:
        pass
