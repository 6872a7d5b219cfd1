"""Cards as things: what moves with them, and what stays when power fails in between."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from firmware_mgr.lab.cards import CARD_FILES, MOVING, Cards
from firmware_mgr.lab.plan import ChassisPaths
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import MacAddress, SlotId

ONE, TWO = SlotId(1), SlotId(2, shelf=2)


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    cards = Cards(ChassisPaths(tmp_path))
    cards.first(ONE, "a", pristine=True)
    cards.first(TWO, "b", pristine=True)
    return cards


def test_flash_and_variables_go_with_the_card(cards: Cards, tmp_path: Path) -> None:
    for name in CARD_FILES[:-1]:
        (tmp_path / "slot-1" / name).write_text(name)
    (tmp_path / "slot-1/console.log").write_text("stays")
    cards.take_out(ONE)
    cards.take_out(TWO)
    card = cards.put_in(TWO, "card-1")
    assert (card.board, str(card.mac), cards.in_slot(TWO)) == ("a", "52:54:00:f7:01:01", card)
    assert (tmp_path / "slot-2-2/flash.img").read_text() == "flash.img"
    assert sorted(path.name for path in (tmp_path / "slot-1").iterdir()) == ["console.log"]
    assert list(cards.in_drawer()) == ["card-2-2"]


@pytest.mark.parametrize("moved", range(len(CARD_FILES) + 1))
def test_a_move_that_was_cut_short_is_finished_when_the_chassis_comes_up(
    moved: int, cards: Cards, tmp_path: Path
) -> None:
    slot, place = tmp_path / "slot-1", tmp_path / "drawer/card-1"
    (slot / "flash.img").write_text("burned")
    (slot / "vars.fd").write_text("variables")
    place.mkdir(parents=True)
    (place / MOVING).write_text("slot-1")
    for name in CARD_FILES[:moved]:
        (slot / name).rename(place / name)
    again = Cards(ChassisPaths(tmp_path))
    assert again.in_slot(ONE) is None
    assert list(again.in_drawer()) == ["card-1"]
    assert sorted(path.name for path in place.iterdir()) == sorted(CARD_FILES)
    assert not list(slot.iterdir())
    again.put_in(ONE, "card-1")
    assert (slot / "flash.img").read_text() == "burned"


def test_new_cards_never_share_an_address(cards: Cards) -> None:
    cards.take_out(ONE)
    first = cards.new(ONE, "a")
    cards.take_out(ONE)
    second = cards.new(ONE, "a")
    assert first.mac != second.mac and first.name != second.name
    cards.take_out(ONE)
    with pytest.raises(UsageError, match="another card has this MAC"):
        cards.new(ONE, "a", MacAddress(str(first.mac)))


def test_a_slot_that_holds_a_card_of_another_board_is_not_taken_for_its_first(cards: Cards) -> None:
    with pytest.raises(UsageError, match=r"another card is in the slot.*expected z, found a.*--pristine"):
        cards.first(ONE, "z", pristine=False)
    assert cards.first(ONE, "z", pristine=True).board == "z"


def test_a_card_that_is_not_there_is_named_with_those_that_are(cards: Cards) -> None:
    cards.take_out(ONE)
    with pytest.raises(UsageError, match=r"expected card-1, found nosuch"):
        cards.put_in(ONE, "nosuch")


@pytest.mark.parametrize("pristine", [False, True])
def test_a_chassis_that_comes_up_with_an_empty_slot_makes_no_second_of_the_card_that_was_in_it(
    cards: Cards, tmp_path: Path, pristine: bool
) -> None:
    (tmp_path / "slot-1/flash.img").write_text("burned")
    taken = cards.take_out(ONE)
    other = cards.first(ONE, "a", pristine=pristine)
    assert other.name != taken.name and other.mac != taken.mac
    cards.take_out(ONE)
    assert (tmp_path / "drawer" / taken.name / "flash.img").read_text() == "burned"
    assert set(cards.in_drawer()) == {taken.name, other.name}


def test_a_pristine_chassis_has_the_cards_that_its_slots_come_with(cards: Cards) -> None:
    before = cards.in_slot(ONE)
    assert cards.first(ONE, "a", pristine=True) == before


def test_a_card_with_an_address_of_its_own_shares_its_name_with_no_other(cards: Cards) -> None:
    cards.take_out(ONE)
    first = cards.new(ONE, "a", MacAddress("52:54:00:aa:00:01"))
    cards.take_out(ONE)
    assert cards.new(ONE, "a").name != first.name


def test_a_card_may_come_back_with_another_network_interface_and_its_own_flash(
    cards: Cards, tmp_path: Path
) -> None:
    (tmp_path / "slot-1/flash.img").write_text("burned")
    cards.take_out(ONE)
    card = cards.put_in(ONE, "card-1", MacAddress("52:54:00:f7:99:01"))
    assert cards.in_slot(ONE) == card and str(card.mac) == "52:54:00:f7:99:01"
    assert (tmp_path / "slot-1/flash.img").read_text() == "burned"


def test_a_slots_first_card_with_another_address_elsewhere_keeps_its_name_and_flash(
    cards: Cards, tmp_path: Path
) -> None:
    (tmp_path / "slot-1/flash.img").write_text("burned")
    cards.take_out(ONE)
    cards.take_out(TWO)
    moved = cards.put_in(TWO, "card-1", MacAddress("52:54:00:f7:99:01"))
    other = cards.first(ONE, "a", pristine=False)
    assert other.name != moved.name
    cards.take_out(ONE)
    cards.take_out(TWO)
    assert (tmp_path / "drawer/card-1/flash.img").read_text() == "burned"
    assert set(cards.in_drawer()) == {"card-1", "card-2-2", other.name}


def test_a_card_is_not_laid_upon_one_of_its_name_in_the_drawer(cards: Cards, tmp_path: Path) -> None:
    (tmp_path / "slot-1/flash.img").write_text("mine")
    place = tmp_path / "drawer/card-1"
    place.mkdir(parents=True)
    (place / "flash.img").write_text("other")
    (place / "card.json").write_text('{"name": "card-1", "board": "a", "mac": "52:54:00:aa:00:01"}')
    with pytest.raises(UsageError, match="lies in the drawer"):
        cards.take_out(ONE)
    assert (tmp_path / "slot-1/flash.img").read_text() == "mine"
    assert (place / "flash.img").read_text() == "other"


def test_a_card_does_not_come_back_with_the_address_of_another(cards: Cards, tmp_path: Path) -> None:
    other = cards.in_slot(TWO)
    taken = cards.take_out(ONE)
    assert other is not None
    with pytest.raises(UsageError, match="another card has this MAC"):
        cards.put_in(ONE, taken.name, other.mac)
    assert cards.in_slot(ONE) is None and cards.in_drawer() == {taken.name: taken}
    assert cards.put_in(ONE, taken.name, taken.mac) == taken, "its own address is no other card's"


def test_a_move_that_was_cut_short_is_finished_where_the_chassis_directory_is_now(tmp_path: Path) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    cards = Cards(ChassisPaths(before))
    cards.first(ONE, "a", pristine=True)
    (before / "slot-1/flash.img").write_text("burned")
    in_the_way = before / "drawer/card-1/flash.img"
    (in_the_way / "flash.img").mkdir(parents=True)
    with pytest.raises(OSError, match="already exists"):
        cards.take_out(ONE)
    shutil.rmtree(in_the_way)
    before.rename(now)
    again = Cards(ChassisPaths(now))
    assert (again.in_slot(ONE), list(again.in_drawer())) == (None, ["card-1"])
    assert (now / "drawer/card-1/flash.img").read_text() == "burned"


@pytest.mark.parametrize("word", ["", "slot-9", "../slot-1", "drawer/card-1", "/tmp/c/slot-1", "\0\n\xff"])
def test_a_move_from_an_unknown_folder_is_refused_and_touches_nothing(
    cards: Cards, tmp_path: Path, word: str
) -> None:
    place = tmp_path / "drawer/card-1"
    place.mkdir(parents=True)
    (place / MOVING).write_text(word)
    (place / "flash.img").write_text("burned")
    with pytest.raises(
        UsageError, match=r"\.moving: .*cut short.*expected .*found .*in neither.*together in one folder"
    ):
        Cards(ChassisPaths(tmp_path))
    assert (place / "flash.img").read_text() == "burned" and (place / MOVING).exists()
    assert cards.in_slot(ONE) is not None


def test_a_move_that_left_a_description_at_both_ends_is_refused(cards: Cards, tmp_path: Path) -> None:
    (tmp_path / "slot-1" / MOVING).write_text("slot-2-2")
    with pytest.raises(UsageError, match="in both"):
        Cards(ChassisPaths(tmp_path))
