"""After any change every card is checked: R-2.7 [96, 155], SOFTWARE-SETS C1 to C6."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.model.dependency_check import Checker, check
from firmware_mgr.model.discrepancies import (
    CardSoftware,
    Discrepancy,
    Instead,
    Lack,
    Remedy,
    Report,
    Way,
    compare_reports,
)
from firmware_mgr.model.effective_files import effective_files
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.file_selection import ModuleSelection, Selection
from firmware_mgr.model.ids import CpuArch, SlotId
from firmware_mgr.model.known_packages import KnownPackages
from firmware_mgr.model.package_facts import PackageFacts
from tests.model.software import BOARDS, FEATURES, module, package, packages, unhurried

ARM, X86 = CpuArch.AARCH64, CpuArch.X86_64
ALL = Selection(ModuleSelection(ARM))
NOTHING_KNOWN = KnownPackages()


def card(
    slot: int, *some: PackageFacts, board: str = "virt", present: bool = True, selection: Selection = ALL
) -> CardSoftware:
    return CardSoftware(SlotId(slot), board, selection, some, present)


def lines(report: Report | Iterable[Discrepancy]) -> list[str]:
    found = report.discrepancies if isinstance(report, Report) else report
    return [
        f"{one.slot}: {one.package} {one.lack.value} {one.needs} {one.constraint}".strip() for one in found
    ]


SSL, SSL_3 = package("ssl 1.1"), package("ssl 3.0")
WEB = package("web 1", local=["ssl >= 3"])
PEER = package("sync 2", remote=["sync = 2"])


def test_a_local_dependency_is_reported_with_what_is_there_and_what_would_satisfy_it() -> None:
    known = KnownPackages(
        [SSL, SSL_3, package("ssl 3.1"), package("ssl 3.2", modules=[module("x", cpu=X86)])]
    )
    report = check([card(3, WEB, SSL), card(4, WEB, SSL_3)], known)
    here = (SlotId(3),)
    assert report.discrepancies == (
        Discrepancy(
            SlotId(3),
            True,
            "web",
            "1",
            Lack.LOCAL,
            "ssl",
            ">= 3",
            instead=(Instead("ssl", "1.1", here),),
            # 3.2 has nothing for this card's CPU.
            remedies=(Remedy(Way.ACTIVATE, "ssl", "3.1", here), Remedy(Way.ACTIVATE, "ssl", "3.0", here)),
        ),
    )
    assert report.of(SlotId(3)) == report.discrepancies and report.of(SlotId(4)) == ()


def test_two_cards_that_must_match_versions() -> None:
    """R-2.7: remote dependencies are on other cards, so a card alone does not satisfy its own."""
    assert lines(check([card(1, PEER)], NOTHING_KNOWN)) == ["1: sync remote dependency sync = 2"]
    assert check([card(1, PEER), card(2, PEER)], NOTHING_KNOWN) == Report()
    older = package("sync 1")
    (found,) = check(
        [card(1, PEER), card(2, older), card(5, older)], KnownPackages([PEER, older])
    ).discrepancies
    both = (SlotId(2), SlotId(5))
    assert found.instead == (Instead("sync", "1", both),)
    assert found.remedies == (Remedy(Way.ACTIVATE, "sync", "2", both),)


def test_nobody_has_it_so_any_other_card_would_do() -> None:
    (found,) = check([card(1, PEER), card(2)], KnownPackages([PEER])).discrepancies
    assert found.instead == () and found.remedies == (Remedy(Way.ACTIVATE, "sync", "2"),)


def test_absent_cards_are_checked_and_satisfy_nobody_unless_they_count() -> None:
    cards = [card(1, PEER), card(2, PEER, present=False)]
    report = check(cards, KnownPackages([PEER]))
    (found,) = report.discrepancies  # the absent one is satisfied by the present one
    assert (found.slot, found.present) == (SlotId(1), True)
    assert found.remedies[0] == Remedy(Way.RETURN, "sync", "2", (SlotId(2),))
    assert check(cards, NOTHING_KNOWN, absent_count=True) == Report()
    (absent,) = check([card(2, WEB, present=False)], NOTHING_KNOWN).discrepancies
    assert not absent.present


def test_a_dependency_may_concern_cards_of_one_board_alone() -> None:
    """R-2.3, R-2.7 [29, 96]: dependencies may differ for different types of nodes."""
    app = package("app 1", local=["gpio >= 2 @ pi"], remote=["clock @ pi"])
    cards = [card(1, app, board="virt"), card(2, app, board="pi")]
    assert lines(check(cards, NOTHING_KNOWN)) == [
        "2: app local dependency gpio >= 2",
        "2: app remote dependency clock",
    ]


def test_only_packages_that_are_loaded_count() -> None:
    """R-2.4 [98]: a node can be instructed to load specific software packages."""
    named = Selection(ModuleSelection(ARM), frozenset({"web"}))
    (found,) = check([card(1, WEB, SSL_3, selection=named)], KnownPackages([SSL_3])).discrepancies
    assert found.needs == "ssl" and found.instead == () and found.remedies[0].version == "3.0"
    with pytest.raises(UsageError, match="not in the list"):
        card(1, WEB, selection=Selection(ModuleSelection(ARM), frozenset({"mail"})))


LIB = package(
    "lib 1", modules=[module("usr/lib/libx.so.1", kind="shared-library", provides=["so:libx.so.1"])]
)
USER = package("user 1", modules=[module("usr/bin/u", consumes=["so:libx.so.1", "api:other"])])


def test_a_library_that_no_package_brings_is_reported_with_those_that_would() -> None:
    (found,) = check([card(1, USER)], KnownPackages([LIB, USER])).discrepancies
    assert (found.lack, found.needs, found.path) == (Lack.LIBRARY, "so:libx.so.1", "usr/bin/u")
    assert found.remedies == (Remedy(Way.ACTIVATE, "lib", "1", (SlotId(1),)),)
    assert check([card(1, USER, LIB)], NOTHING_KNOWN) == Report()


def test_a_librarys_file_name_and_links_to_it_count_as_the_loader_opens_them() -> None:
    link = package("lib 1", modules=[module("usr/lib/libx.so.1", kind="symlink")])
    assert check([card(1, USER, link)], NOTHING_KNOWN) == Report()


def test_a_library_that_a_package_in_front_replaced_is_gone() -> None:
    hides = package("hides 1", modules=[module("usr/lib/libx.so.1", "other", kind="config")])
    (found,) = check([card(1, hides, USER, LIB)], KnownPackages([LIB])).discrepancies
    assert found.lack is Lack.LIBRARY and found.remedies == ()


def test_a_library_that_a_card_does_not_ask_for_is_missing_there_alone() -> None:
    edge = package("lib 1", modules=[module("usr/lib/libx.so.1", kind="shared-library", features=["edge"])])
    roles = {
        slot: Selection(ModuleSelection(ARM, features=frozenset({role})))
        for slot, role in ((1, "edge"), (2, "core"))
    }
    cards = [card(slot, USER, edge, selection=selection) for slot, selection in roles.items()]
    assert lines(check(cards, NOTHING_KNOWN)) == ["2: user library so:libx.so.1"]


def test_what_is_wrong_with_a_list_made_elsewhere_is_reported() -> None:
    fix = package("fix 1", upgrades=["ssl >= 3"])
    lost = package("lost 1", upgrades=["mail", "post = 2"])
    file, tree = package("file 1", modules=[module("e/x")]), package("tree 1", modules=[module("e/x/y")])
    report = check([card(1, SSL_3, WEB, lost, file, tree), card(2, fix, SSL)], KnownPackages([SSL_3]))
    assert lines(report) == [
        "1: lost orphaned upgrade mail",
        "1: lost orphaned upgrade post = 2",
        "1: tree clash e/x/y",
        "1: web order ssl",
        "2: fix orphaned upgrade ssl >= 3",
    ]
    assert report.discrepancies[4].instead == (Instead("ssl", "1.1", (SlotId(2),)),)
    assert report.discrepancies[4].remedies == (Remedy(Way.ACTIVATE, "ssl", "3.0", (SlotId(2),)),)
    assert report.discrepancies[2].instead[0].package == "file" and report.discrepancies[2].path == "e/x"


def test_what_no_version_can_satisfy_has_no_remedy() -> None:
    odd = package("odd 1", local=["ssl > 2, < 1"])
    (found,) = check([card(1, odd, SSL)], KnownPackages([SSL, SSL_3])).discrepancies
    assert found.remedies == ()


def test_a_change_is_judged_by_what_it_makes_better_and_worse() -> None:
    before = check([card(1, WEB, SSL), card(2, USER)], NOTHING_KNOWN)
    newer = package("user 2", modules=[module("usr/bin/u", consumes=["so:libx.so.1"])])
    after = check([card(1, WEB, SSL_3, PEER), card(2, newer)], NOTHING_KNOWN)
    found = compare_reports(before, after)
    assert lines(found.worse) == ["1: sync remote dependency sync = 2"]
    assert lines(found.better) == ["1: web local dependency ssl >= 3"]
    assert lines(found.same) == ["2: user library so:libx.so.1"] and found.same[0].version == "2"


def test_a_slot_and_a_package_stand_once() -> None:
    with pytest.raises(UsageError, match="slot is named twice"):
        check([card(1), card(1)], NOTHING_KNOWN)
    with pytest.raises(UsageError, match="slot 1: a package stands twice"):
        card(1, SSL, SSL_3)


# For any cards, against the plainest way to say it.

SELECTIONS = st.builds(
    Selection,
    st.builds(
        ModuleSelection,
        st.sampled_from([ARM, X86]),
        features=st.one_of(st.none(), st.frozensets(st.sampled_from(FEATURES))),
    ),
)
CARDS = st.lists(
    st.builds(
        lambda board, selection, some, present: (board, selection, tuple(some), present),
        st.sampled_from(BOARDS),
        SELECTIONS,
        st.lists(packages("abcd"), max_size=3, unique_by=lambda one: one.name),
        st.booleans(),
    ),
    max_size=4,
).map(lambda rows: [CardSoftware(SlotId(slot), *row) for slot, row in enumerate(rows, 1)])


def everything_missing(cards: list[CardSoftware], absent_count: bool) -> Iterator[tuple[object, ...]]:
    for one in cards:
        others = [other for other in cards if other is not one and (other.present or absent_count)]
        elsewhere = [there for other in others for there in other.packages]
        needs = [(Lack.LOCAL, who, need, one.packages) for who in one.packages for need in who.local]
        needs += [(Lack.REMOTE, who, need, elsewhere) for who in one.packages for need in who.remote]
        for lack, who, need, there in needs:
            name, fits = need.on.name, need.on.constraint.matches
            fitting = [two for two in there if two.name == name and fits(two.order)]
            if not fitting and (not need.boards or one.board in need.boards):
                yield one.slot, who.name, lack, name, need.on.constraint.text
        files = effective_files(one.packages, one.selection.modules)
        offered = {name for placed in files.files.values() for name in placed.module.offers}
        for placed in files.files.values():
            for name in placed.module.consumes:
                if name.startswith("so:") and name not in offered:
                    yield one.slot, placed.package.name, Lack.LIBRARY, name, ""
        for clash in files.clashes:
            yield one.slot, clash.behind.name, Lack.CLASH, clash.path, ""


@unhurried
@given(CARDS, st.booleans(), st.lists(packages("abcd"), max_size=3))
def test_the_report_says_exactly_what_is_missing(
    cards: list[CardSoftware], absent_count: bool, known: list[PackageFacts]
) -> None:
    report = check(cards, KnownPackages(known), absent_count=absent_count)
    asked = {Lack.LOCAL, Lack.REMOTE, Lack.LIBRARY, Lack.CLASH}
    found = [
        (one.slot, one.package, one.lack, one.needs, one.constraint)
        for one in report.discrepancies
        if one.lack in asked
    ]
    assert len(found) == len(set(found))
    assert set(found) == set(everything_missing(cards, absent_count))
    assert [one.key for one in report.discrepancies] == sorted(one.key for one in report.discrepancies)


@unhurried
@given(CARDS, st.lists(packages("abcd"), max_size=4))
def test_every_remedy_for_a_package_that_is_missing_on_a_card_is_one(
    cards: list[CardSoftware], known: list[PackageFacts]
) -> None:
    for one in check(cards, KnownPackages(known)).discrepancies:
        if one.lack is not Lack.LOCAL:
            continue
        sick = next(card for card in cards if card.slot == one.slot)
        for remedy in one.remedies:
            assert remedy.slots == (one.slot,) and remedy.package == one.needs
            cure = next(two for two in known if (two.name, two.version) == (remedy.package, remedy.version))
            if cure.name == one.package:
                continue  # another version of the one that says so, which may not say so any more
            rest = tuple(two for two in sick.packages if two.name != cure.name)
            healed = CardSoftware(sick.slot, sick.board, sick.selection, (*rest, cure), sick.present)
            after = check([healed if two is sick else two for two in cards], KnownPackages())
            assert one.key not in {two.key for two in after.discrepancies}


@unhurried
@given(CARDS, CARDS)
def test_two_reports_compared_lose_nothing(one: list[CardSoftware], other: list[CardSoftware]) -> None:
    before, after = check(one, NOTHING_KNOWN), check(other, NOTHING_KNOWN)
    found = compare_reports(before, after)
    assert sorted([*found.worse, *found.same], key=lambda two: two.key) == list(after.discrepancies)
    assert len(found.better) + len(found.same) == len(before.discrepancies)
    assert compare_reports(before, before).same == before.discrepancies


@unhurried
@given(CARDS, st.randoms())
def test_the_order_of_cards_changes_nothing(cards: list[CardSoftware], random: object) -> None:
    mixed = list(cards)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert check(mixed, NOTHING_KNOWN) == check(cards, NOTHING_KNOWN)


@given(st.lists(CARDS, min_size=2, max_size=3), st.lists(packages("abcd"), max_size=3))
def test_what_was_found_before_does_not_change_what_is_found(
    changes: list[list[CardSoftware]], more: list[PackageFacts]
) -> None:
    known = KnownPackages(more)
    checker = Checker(known)
    for cards in [*changes, changes[0]]:
        assert checker.check(cards) == check(cards, known)
