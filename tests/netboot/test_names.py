from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.model.ids import Digest
from firmware_mgr.netboot.names import MAX_NAME, NameFault, NameRefused, find_file, printable
from firmware_mgr.netboot.served import Blob

from .rack import card

BLOB = Blob(Digest.of(b""), 0, Path("image"))
TRICKS = [
    "",
    "..",
    "../boot.scr",
    "a/../../etc/passwd",
    "a/./b",
    "/boot.scr",
    "//boot.scr",
    "\\boot.scr",
    "..\\boot.scr",
    "boot.scr\0.txt",
    "boot\nscr",
    "boot\x7fscr",
    "boot\u202escr",
    "n" * (MAX_NAME + 1),
]


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_refused_even_when_the_mapping_holds_it(name: str) -> None:
    found = find_file(card({name: BLOB}), name)
    assert isinstance(found, NameRefused)
    assert found.fault is NameFault.TRICK


def test_a_name_that_is_not_in_the_mapping_is_absent() -> None:
    found = find_file(card({"boot.scr": BLOB}), "boot.SCR")
    assert found == NameRefused(NameFault.ABSENT, "slot 3 (qemu-aarch64) is served no 'boot.SCR'")


def test_an_empty_part_is_no_trick_only_absent() -> None:
    for name in ("dtb/", "a//b"):  # U-Boot 2023.01 asks for "dtb/" when it has no device tree's name
        found = find_file(card({"dtb": BLOB, "a/b": BLOB}), name)
        assert isinstance(found, NameRefused)
        assert found.fault is NameFault.ABSENT


def test_a_name_in_the_mapping_is_found_slashes_and_all() -> None:
    assert find_file(card({"9ffefdef/start4.elf": BLOB}), "9ffefdef/start4.elf") is BLOB


@given(st.text())
def test_any_text_is_refused_or_absent_and_can_be_shown(name: str) -> None:
    assert isinstance(find_file(card(), name), NameRefused)
    assert printable(name).isprintable()
    assert len(printable(name)) <= MAX_NAME
