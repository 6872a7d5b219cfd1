"""What a card should run: the table of who decides, and refusals that name card, package and next step."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from firmware_mgr.master.board_wish import Preferred
from firmware_mgr.master.card_class import ClassRecord
from firmware_mgr.master.configuration import Configuration, Origin, WantedFrom, read_images
from firmware_mgr.master.documents import PackageRecord
from firmware_mgr.master.wanted import CARRIED_OVER, WHO_DECIDES, Place, provisioning, wanted
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, Digest, SlotId
from firmware_mgr.model.pristine import PristineOrder, Provisioning
from firmware_mgr.model.software import PackageRef
from tests.master.rack_twin import ARM_IMAGE, ARM_PACKAGE, IMAGE, NEW_IMAGE, PACKAGE

IMAGES = (IMAGE, NEW_IMAGE, ARM_IMAGE)
NEW_WEB = PackageRecord("web", "1.1", Digest.of(b"web 1.1"), 20, ("aarch64",), 3.0)
BASE = PackageRecord("base", "1", Digest.of(b"base"), 20, ("any",), 0.5)
PACKAGES = (PACKAGE, ARM_PACKAGE, NEW_WEB, BASE)
AARCH64, ARMV7 = CpuArch.AARCH64, CpuArch.ARMV7


def place(
    own: Configuration | None = None, of_class: Configuration | None = None, *, arm: bool = False
) -> Place:
    return Place(
        SlotId(3),
        "qemu-armv7" if arm else "qemu-aarch64",
        ARMV7 if arm else AARCH64,
        own or Configuration(),
        None if of_class is None else ClassRecord("edge", 0.0, of_class),
    )


def told(where: Place) -> tuple[str, list[str], Origin, Origin]:
    one = wanted(where, IMAGES, PACKAGES)
    packages = [f"{package.name} {package.version}" for package in one.software.packages]
    return one.software.boot_image.version, packages, one.origin.boot_image, one.origin.packages


def test_where_nobody_decides_the_newest_of_everything_that_fits_is_wanted() -> None:
    assert told(place()) == ("2", ["web 1.1", "base 1"], Origin.DEFAULT, Origin.DEFAULT)
    assert told(place(arm=True)) == ("1", ["web 1.0", "base 1"], Origin.DEFAULT, Origin.DEFAULT)


def test_a_class_goes_before_the_newest_and_a_cards_own_before_its_class() -> None:
    of_class = Configuration(("base", "web=1.0"), {"qemu-aarch64": "1"})
    assert told(place(None, of_class)) == ("1", ["base 1", "web 1.0"], Origin.CLASS, Origin.CLASS)
    own = Configuration(("web",), {"qemu-aarch64": "2"})
    assert told(place(own, of_class)) == ("2", ["web 1.1"], Origin.CARD, Origin.CARD)
    assert told(place(Configuration(()), of_class)) == ("1", [], Origin.CLASS, Origin.CARD)


def test_each_card_of_a_class_takes_the_files_of_its_own_cpu() -> None:
    of_class = Configuration(("web=1.0", "base"), {"qemu-aarch64": "1"})
    one, other = (wanted(place(None, of_class, arm=arm), IMAGES, PACKAGES).software for arm in (False, True))
    assert [p.digest for p in one.packages] == [PACKAGE.digest, BASE.digest]
    assert [p.digest for p in other.packages] == [ARM_PACKAGE.digest, BASE.digest]
    assert other.boot_image == ARM_IMAGE.ref  # the class names no image for this board: the newest


def test_a_package_without_files_for_the_cpu_is_refused_with_card_package_and_next_step() -> None:
    with pytest.raises(UsageError) as caught:
        wanted(place(None, Configuration(("web",)), arm=True), IMAGES, PACKAGES)
    error = caught.value
    assert (error.where, error.expected, error.found) == ("slot 3, package web 1.1", "armv7", "aarch64")
    assert "built for armv7" in error.hint and "fwmgr card set 3" in error.hint


@pytest.mark.parametrize(
    ("own", "of_class", "hint"),
    [
        (Configuration(("mail",)), None, "fwmgr card 3"),
        (None, Configuration(("web=9",)), "fwmgr class show edge"),
        (None, Configuration(images={"qemu-aarch64": "9"}), "fwmgr class show edge"),
    ],
)
def test_what_is_not_in_the_catalogue_is_refused_with_who_names_it(
    own: Configuration | None, of_class: Configuration | None, hint: str
) -> None:
    with pytest.raises(UsageError, match=r"slot 3.*no such") as caught:
        wanted(place(own, of_class), IMAGES, PACKAGES)
    assert hint in caught.value.hint


@pytest.mark.parametrize("speaks", list(itertools.product((False, True), repeat=3)))
def test_the_first_of_card_class_and_board_that_says_something_decides_each_part(
    speaks: tuple[bool, bool, bool],
) -> None:
    own, of_class, of_board = (
        Configuration(("base",), {"qemu-aarch64": "1"}, features=(name,)) if said else Configuration()
        for said, name in zip(speaks, ("own", "of-class", "of-board"), strict=True)
    )
    one = wanted(replace(place(own, of_class), of_board=of_board), IMAGES, PACKAGES)
    first = next((origin for said, origin in zip(speaks, WHO_DECIDES, strict=True) if said), Origin.DEFAULT)
    assert one.origin == WantedFrom(first, first, first)
    name = {Origin.CARD: "own", Origin.CLASS: "of-class", Origin.BOARD: "of-board"}.get(first)
    assert one.software.features == (None if name is None else (name,))
    expected = ("2", ["web", "base"]) if first is Origin.DEFAULT else ("1", ["base"])
    found = (one.software.boot_image.version, [package.name for package in one.software.packages])
    assert found == expected


def test_the_parts_are_decided_each_for_itself() -> None:
    where = replace(
        place(Configuration(features=()), Configuration(("base",))),
        of_board=Configuration(images={"qemu-aarch64": "1"}),
    )
    one = wanted(where, IMAGES, PACKAGES)
    assert one.origin == WantedFrom(Origin.BOARD, Origin.CLASS, Origin.CARD)
    assert one.software.features == ()


def test_a_preferred_version_is_meant_where_none_is_named() -> None:
    preferred = Preferred({"qemu-aarch64": "1"}, {"web": "1.0"})
    where = replace(place(), preferred=preferred)
    assert told(where) == ("1", ["web 1.0", "base 1"], Origin.DEFAULT, Origin.DEFAULT)
    of_class = replace(place(None, Configuration(("web", "base"))), preferred=preferred)
    assert told(of_class)[1] == ["web 1.0", "base 1"]
    named = replace(place(None, Configuration(("web=1.1",))), preferred=preferred)
    assert told(named)[1] == ["web 1.1"]


def test_what_a_swapped_card_takes_over_is_told_for_every_case() -> None:
    assert set(CARRIED_OVER) == set(itertools.product((False, True), repeat=2))


def test_a_card_of_another_board_than_the_slot_is_pinned_to_is_of_a_wrong_type() -> None:
    own = Configuration(images={"qemu-aarch64": "1"})
    with pytest.raises(UsageError, match="card of a wrong type") as caught:
        wanted(place(own, arm=True), IMAGES, PACKAGES)
    assert caught.value.found == "qemu-armv7" and "fwmgr card clear 3" in caught.value.hint
    with pytest.raises(UsageError, match=r"no boot image for this board.*fwmgr image add"):
        wanted(place(arm=True), (IMAGE,), PACKAGES)


def test_what_nobody_decides_stays_as_it_was_until_it_is_looked_up_anew() -> None:
    before = wanted(place(), (IMAGE,), (PACKAGE,))
    kept = replace(place(), kept=before.software, kept_from=before.origin)
    assert wanted(kept, IMAGES, PACKAGES).software == before.software
    own = replace(kept, own=Configuration(images={"qemu-aarch64": "2"}))
    after = wanted(own, IMAGES, PACKAGES)
    assert (after.software.boot_image, after.software.packages) == (NEW_IMAGE.ref, before.software.packages)
    # What a user had decided, and decides no more, is looked up.
    cleared = replace(place(), kept=after.software, kept_from=WantedFrom(Origin.CARD, Origin.DEFAULT))
    assert wanted(cleared, (IMAGE,), PACKAGES).software.boot_image == IMAGE.ref


def test_order_and_saving_are_chosen_by_card_then_class_then_board() -> None:
    ram = Configuration(order=PristineOrder.FROM_RAM)
    unsaved = Configuration(save_image=False)
    board = Provisioning(PristineOrder.IMAGE_FIRST, True)
    nothing = Configuration()
    assert provisioning(nothing, nothing, nothing, board) == (board, Origin.BOARD)
    unsaved_from_ram = Provisioning(PristineOrder.FROM_RAM, False)
    assert provisioning(unsaved, ram, nothing, board) == (unsaved_from_ram, Origin.CLASS)
    assert provisioning(nothing, unsaved, ram, board) == (unsaved_from_ram, Origin.BOARD)
    assert provisioning(ram, unsaved, nothing, board)[1] is Origin.CARD


@pytest.mark.parametrize(
    "make",
    [
        lambda: Configuration(("web", "web=1")),
        lambda: Configuration(("Web",)),
        lambda: Configuration(("web=",)),
        lambda: Configuration(images={"qemu": "/"}),
        lambda: read_images(["1.0"]),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(make: object) -> None:
    with pytest.raises(UsageError):
        make()  # type: ignore[operator]


def test_only_a_list_that_nobody_named_is_put_into_another_order() -> None:
    def turned(refs: tuple[PackageRef, ...], board: str) -> tuple[PackageRef, ...]:
        assert board == "qemu-aarch64"
        return refs[::-1]

    def names(where: Place) -> list[str]:
        return [one.name for one in wanted(where, IMAGES, PACKAGES, turned).software.packages]

    assert names(place()) == ["base", "web"]
    assert names(place(Configuration(("web", "base")))) == ["web", "base"]
    assert names(place(None, Configuration(("web", "base")))) == ["web", "base"]
    kept = replace(place(), kept=wanted(place(), IMAGES, PACKAGES).software)
    assert names(kept) == ["web", "base"]
