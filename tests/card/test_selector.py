"""UEFI boards: whatever firmware starts and whatever dies, a card ends where the control table says."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from firmware_mgr.app.agent_select import words_for
from firmware_mgr.card.boot_variables import BOOT_CURRENT, BOOT_NEXT, BOOT_ORDER, Option, shadow
from firmware_mgr.card.efi_layout import decode_numbers, encode_numbers, option_name
from firmware_mgr.card.loader import LoaderWords
from firmware_mgr.card.selector import select
from firmware_mgr.flash.control import (
    CANDIDATES,
    COPY_OFFSETS,
    ControlCopy,
    ControlState,
    decide_boot,
    read_control,
    write_control,
)
from firmware_mgr.flash.control_layout import ControlRecord, Maker, Target
from firmware_mgr.flash.device import Window
from firmware_mgr.flash.gpt import CONTROL, find, read_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.link.messages import BootSource
from tests.card.efi_twin import DISK, NETWORK, SHELL, Cut, Image, TwinCard

RECORDS = [
    ControlRecord(boot, trial, left_a, left_b, Maker.AGENT, 1)
    for (trial, boot) in CANDIDATES
    for left_a, left_b in itertools.product((0, 1, 3), repeat=2)
]
CARDS = list(itertools.product(Image, repeat=2))


def control(card: TwinCard) -> Window:
    return find(read_table(card.device), CONTROL).window(card.device)


def card_with(record: ControlRecord | None, images: tuple[Image, Image], *, told: bool = True) -> TwinCard:
    """A card whose agent has written this record and, when `told`, let the firmware follow it."""
    card = TwinCard(dict(zip(Letter, images, strict=True)))
    if record is not None:
        write_control(control(card), record)
    if told:
        card.follow()
    return card


def expected(record: ControlRecord, images: tuple[Image, Image]) -> str:
    """The first candidate that has starts left and comes up; a dead one uses up all it has."""
    good = {letter for letter, image in zip(Letter, images, strict=True) if image is Image.GOOD}
    return decide_boot(state_of(record), good).target.value


def state_of(record: ControlRecord) -> ControlState:
    return ControlState((ControlCopy(record, ""), ControlCopy(None, "")), 0)


def masters_hand_is_needed(images: tuple[Image, Image]) -> bool:
    """A kernel that dies before it can count, and nothing beside it that comes up so far."""
    return Image.DEAD in images and Image.GOOD not in images


@pytest.mark.parametrize("images", CARDS, ids=lambda pair: "-".join(i.name.lower() for i in pair))
def test_every_record_ends_where_the_table_says(images: tuple[Image, Image]) -> None:
    for record in RECORDS:
        card = card_with(record, images)
        wanted = expected(record, images)
        ended = card.start()
        if ended != wanted:
            # A dead kernel is not counted by itself: the network may come before its starts are used up.
            assert Image.DEAD in images, f"{record}: {card.starts}"
            assert ended == "n" or masters_hand_is_needed(images), f"{record}: {card.starts}"


@pytest.mark.parametrize("images", CARDS, ids=lambda pair: "-".join(i.name.lower() for i in pair))
def test_firmware_that_lost_its_variables_ends_the_same(images: tuple[Image, Image]) -> None:
    for record in RECORDS:
        card = card_with(record, images, told=False)
        ended = card.start()
        if images[0] in (Image.GOOD, Image.PANICS):
            # Its selector is reached: it is the first that firmware finds by itself.
            # What gives up leaves its mark for what firmware finds by itself then: a runs, counted for b.
            others_dead = images[1] in (Image.DEAD, Image.RETURNS)
            assert ended == expected(record, images) or (others_dead and ended in "an"), (
                f"{record}: {card.starts}"
            )
        elif images[0] is Image.SPOILT:
            assert ended == "n", f"{record}: {card.starts}"


def test_variables_of_any_other_record_end_the_same() -> None:
    """Power failed between control and variables: they still say what was so before."""
    images = (Image.GOOD, Image.GOOD)
    for old, new in itertools.product(RECORDS[::7], RECORDS[::2]):
        card = card_with(old, images)
        write_control(control(card), new)
        first = shadow(old).next or shadow(old).order[0]
        ended = card.start()
        # What old variables netboot stays on the network: there is a master.
        assert ended == ("n" if first is Option.NETWORK else expected(new, images)), f"{old} {new}"


@pytest.mark.parametrize(
    "images", [(Image.GOOD, Image.GOOD), (Image.PANICS, Image.GOOD), (Image.DEAD, Image.GOOD)]
)
def test_power_that_fails_before_any_write_leaves_a_card_that_comes_up(images: tuple[Image, Image]) -> None:
    for record in RECORDS[::3]:
        for moment in range(1, 8):
            card = card_with(record, images)
            left = [moment]

            def fail(left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] == 0:
                    raise Cut

            card.variables.before_write = fail
            try:
                card.start()
            except Cut:
                pass
            card.variables.before_write = lambda: None
            ended = card.start()
            good = {letter.value for letter in Letter if card.images[letter] is Image.GOOD}
            # A cut just when a start was taken from BootNext, and the other kernel dead: the master's hand.
            allowed = good | {"n"} | ({"stuck"} if Image.DEAD in images else set())
            assert ended in allowed, f"{record}, cut before write {moment}: {card.starts}"


def test_a_trial_that_dies_early_ends_on_the_committed_image_alone() -> None:
    record = ControlRecord(Target.A, Target.B, 3, 3, Maker.AGENT, 1)
    card = card_with(record, (Image.GOOD, Image.DEAD))
    assert card.start() == "a"
    left = read_control(control(card)).effective
    assert left.left_b == 0 and left.boot is Target.A
    assert card.starts.count("b") == 1 + record.left_b


def test_a_committed_image_that_panics_for_ever_ends_on_the_other_after_its_starts() -> None:
    record = ControlRecord(Target.A, None, 3, 3, Maker.AGENT, 1)
    card = card_with(record, (Image.PANICS, Image.GOOD))
    assert card.start() == "b"
    assert card.starts == ["a", "a", "a", "b"]


def test_a_committed_image_that_panics_for_ever_and_is_alone_ends_on_the_network() -> None:
    record = ControlRecord(Target.A, None, 3, 0, Maker.AGENT, 1)
    card = card_with(record, (Image.PANICS, Image.SPOILT))
    assert card.start() == "n"
    assert card.starts == ["a", "a", "a", "n"]


def test_a_committed_kernel_that_dies_early_and_is_alone_ends_on_the_network() -> None:
    card = card_with(ControlRecord(Target.A, None, 3, 0, Maker.AGENT, 1), (Image.DEAD, Image.SPOILT))
    assert card.start() == "n"
    assert card.starts == ["a", "n"]


def test_a_netboot_after_a_start_that_gave_up_is_a_netboot() -> None:
    """Seen: the kernel in a could not be unpacked, and what systemd's stub had left still said a."""
    record = ControlRecord(Target.A, None, 3, 0, Maker.AGENT, 1)
    card = card_with(record, (Image.RETURNS, Image.SPOILT))
    assert card.start() == "n"
    assert read_control(control(card)).effective.left_a == 3, "what did not run was not counted"


def test_the_other_partition_after_a_start_that_gave_up_is_the_other() -> None:
    card = card_with(ControlRecord(Target.A, None, 3, 3, Maker.AGENT, 1), (Image.RETURNS, Image.GOOD))
    assert card.start() == "b"
    assert card.boot.started_from(read_table(card.device)) is Letter.B


def test_both_copies_bad_start_a_and_write_the_default() -> None:
    card = card_with(ControlRecord(Target.B, None, 3, 3, Maker.AGENT, 1), (Image.GOOD, Image.GOOD))
    for offset in COPY_OFFSETS:
        control(card).write(offset, b"\xff" * 512)
    assert card.start() == "a"
    record = read_control(control(card)).record
    assert record is not None and record.made is Maker.LOADER and record.left_a == 2


def test_a_good_card_is_counted_once_and_its_variables_are_written_once() -> None:
    card = card_with(ControlRecord(Target.A, None, 3, 3, Maker.AGENT, 1), (Image.GOOD, Image.GOOD))
    before = card.variables.writes
    assert card.start() == "a" and card.starts == ["a"]
    # BootNext, which firmware deleted.
    assert card.variables.writes == before + 1
    assert read_control(control(card)).effective.left_a == 2


def test_a_netboot_stays_and_takes_the_wish_for_one_netboot_away() -> None:
    card = card_with(ControlRecord(Target.A, Target.NETBOOT, 3, 3, Maker.AGENT, 1), (Image.GOOD, Image.GOOD))
    assert card.start() == "n" and card.starts == ["n"]
    assert read_control(control(card)).effective.trial is None
    assert card.start() == "a"


def test_a_card_without_control_is_netbooted_and_nothing_is_decided() -> None:
    empty = ControlState((ControlCopy(None, "empty"), ControlCopy(None, "empty")), None)
    selection = select(empty, None, counted=False)
    assert (selection.record, selection.goes, selection.why) == (None, None, "netboot")


def test_options_of_the_firmware_stay_behind_ours_and_ours_are_no_firmwares() -> None:
    card = card_with(ControlRecord(Target.A, None, 3, 3, Maker.AGENT, 1), (Image.GOOD, Image.GOOD))
    order = decode_numbers(card.variables.values[BOOT_ORDER])
    assert order == (Option.B.value, NETWORK, Option.A.value, DISK, SHELL)
    assert card.variables.values[BOOT_NEXT] == encode_numbers([Option.A.value])


def test_variables_that_follow_already_are_not_written_again() -> None:
    card = card_with(ControlRecord(Target.B, Target.A, 2, 3, Maker.AGENT, 1), (Image.GOOD, Image.GOOD))
    before = card.variables.writes
    card.follow()
    assert card.variables.writes == before


@pytest.mark.parametrize("raw", [b"", b"\1", bytes(6), b"\1\0\0\0\xff\xffA\0\0\0"])
def test_an_option_of_others_that_is_none_is_passed_over_and_left_in_the_order(raw: bytes) -> None:
    card = card_with(ControlRecord(Target.A, None, 3, 3, Maker.AGENT, 1), (Image.GOOD, Image.GOOD))
    card.variables.values[option_name(SHELL)] = raw
    card.follow()
    order = decode_numbers(card.variables.values[BOOT_ORDER])
    assert order == (Option.B.value, NETWORK, Option.A.value, DISK, SHELL)
    assert card.variables.values[option_name(SHELL)] == raw


@pytest.mark.parametrize("raw", [b"", b"\1", bytes(6), b"\1\0\0\0\xff\xffA\0\0\0"])
def test_a_card_that_an_odd_option_started_goes_by_the_stubs_mark(raw: bytes) -> None:
    card = card_with(ControlRecord(Target.A, None, 3, 3, Maker.AGENT, 1), (Image.GOOD, Image.GOOD))
    table = read_table(card.device)
    card.variables.values[option_name(SHELL)] = raw
    card.variables.values[BOOT_CURRENT] = encode_numbers([SHELL])
    guid = find(table, Letter.B.partition).guid
    card.variables.stub_left = f"{guid}\0".encode("utf-16-le")
    assert card.boot.started_from(table) is Letter.B


def test_what_runs_is_told_before_the_selector_can_fail() -> None:
    for running, source in ((Letter.A, BootSource.A), (Letter.B, BootSource.B), (None, BootSource.NETBOOT)):
        assert LoaderWords.read(words_for(running)).source is source


def test_firmware_that_dropped_a_spoilt_entry_gets_it_back() -> None:
    """Seen: OVMF takes an entry out of its order when it cannot load it."""
    card = card_with(ControlRecord(Target.A, None, 3, 3, Maker.AGENT, 1), (Image.GOOD, Image.GOOD))
    card.variables.values[BOOT_ORDER] = encode_numbers([NETWORK])
    del card.variables.values[option_name(Option.B.value)]
    card.follow()
    assert decode_numbers(card.variables.values[BOOT_ORDER])[0] == Option.B.value


def test_a_partition_that_may_not_be_started_is_nowhere() -> None:
    """What is being overwritten has no starts left: firmware must not find half an image."""
    for record in RECORDS:
        for letter in Letter:
            if record.left(letter) == 0:
                seen = shadow(record)
                assert Option.of(letter) not in (seen.next, *seen.order), record


def test_every_shadow_ends_behind_the_network_and_starts_what_the_table_starts() -> None:
    for record in RECORDS:
        seen = shadow(record)
        assert Option.NETWORK in seen.order
        head = decide_boot(state_of(record), frozenset(Letter)).target
        first = seen.next or seen.order[0]
        assert first.letter is head.letter and not first.counted


def test_a_counted_start_stays_whatever_control_says() -> None:
    for record, letter in itertools.product(RECORDS, Letter):
        selection = select(state_of(record), letter, counted=True)
        assert (selection.record, selection.goes, selection.left) == (None, None, record.left(letter))


def test_who_gives_way_has_counted_the_start_it_orders() -> None:
    for record, letter in itertools.product(RECORDS, Letter):
        selection = select(state_of(record), letter, counted=False)
        if selection.goes is not None and selection.goes.letter is not None:
            assert selection.goes.counted
            assert selection.record is not None
            other = selection.goes.letter
            assert selection.record.left(other) == record.left(other) - 1
            assert replace(selection.record, seq=1) != replace(record, seq=1)
