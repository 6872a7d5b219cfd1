from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.netboot.ranges import Part, Selection, Unsatisfiable, Whole, select

TAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "selection"),
    [
        (None, Whole()),
        ("bytes=0-0", Part(0, 0)),
        ("bytes=0-99", Part(0, 99)),
        ("bytes=0-100", Part(0, 99)),
        ("bytes=99-", Part(99, 99)),
        ("bytes=100-", Unsatisfiable()),
        ("bytes=100-200", Unsatisfiable()),
        ("bytes=-1", Part(99, 99)),
        ("bytes=-100", Part(0, 99)),
        ("bytes=-1000", Part(0, 99)),
        ("bytes=-0", Unsatisfiable()),
        ("BYTES=5-6", Part(5, 6)),
        ("bytes=5-4", Whole()),
        ("bytes=", Whole()),
        ("bytes=-", Whole()),
        ("bytes=a-b", Whole()),
        ("bytes=0-1,5-6", Whole()),
        ("lines=0-1", Whole()),
        ("bytes=٣-٤", Whole()),
        ("bytes=99999999999999999999-", Whole()),
    ],
)
def test_a_range_selects_what_rfc_9110_says(header: str | None, selection: Selection) -> None:
    assert select(header, None, length=100, etag=TAG) == selection


@pytest.mark.parametrize(
    ("condition", "selection"),
    [
        (TAG, Part(0, 9)),
        ('"other"', Whole()),
        ('W/"abc"', Whole()),
        ("Sat, 29 Oct 1994 19:43:31 GMT", Whole()),
    ],
)
def test_if_range_holds_only_for_the_same_strong_tag(condition: str, selection: Selection) -> None:
    assert select("bytes=0-9", condition, length=100, etag=TAG) == selection


def test_nothing_of_an_empty_file_can_be_selected() -> None:
    for header in ("bytes=0-", "bytes=-5", "bytes=0-0"):
        assert select(header, None, length=0, etag=TAG) == Unsatisfiable()


@given(st.text(max_size=30) | st.from_regex(r"bytes=\d*-\d*", fullmatch=True), st.integers(0, 1000))
def test_a_part_lies_within_the_file(header: str, length: int) -> None:
    selection = select(header, None, length=length, etag=TAG)
    if isinstance(selection, Part):
        assert 0 <= selection.first <= selection.last < length
