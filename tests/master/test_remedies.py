"""The command for a remedy names a whole list: the algebra's, in the words that were used so far."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.master.check_desk import Checked, Placed
from firmware_mgr.master.package_tables import Tables
from firmware_mgr.master.remedies import Commands, NamedBy, command
from firmware_mgr.model.dependency_check import Checker
from firmware_mgr.model.discrepancies import Remedy, Report, Way
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, SlotId
from firmware_mgr.model.known_packages import KnownPackages
from firmware_mgr.model.package_facts import PackageFacts
from firmware_mgr.model.package_list import PackageList, activate
from firmware_mgr.model.software import PackageRef
from tests.model.software import layered_packages, module, package, unhurried

ARM, X86 = CpuArch.AARCH64, CpuArch.X86_64
BASE, SSL, SSL_3 = package("base 12"), package("ssl 1.1"), package("ssl 3.0")
WEB = package("web 2", local=["ssl >= 3", "base"])
LOOSE = package("web 2", local=["base"])
FIX = package("fix 1", upgrades=["ssl = 1.1"])


@pytest.mark.parametrize(
    ("wishes", "current", "added", "expected"),
    [
        ((), (WEB, SSL, BASE), SSL_3, "web=2 ssl=3.0 base=12"),
        (("web", "ssl=1.1", "base"), (WEB, SSL, BASE), SSL_3, "web ssl=3.0 base"),
        (("web", "base"), (WEB, BASE), SSL_3, "web base ssl=3.0"),
        (("fix", "ssl", "base"), (FIX, SSL, BASE), SSL_3, "ssl=3.0 base"),
        (("base", "web"), (BASE, LOOSE), None, "web base"),
    ],
    ids=["nobody named it", "another version", "it was not there", "an upgrade falls", "only the order"],
)
def test_a_command_keeps_the_words_that_still_hold(
    wishes: tuple[str, ...], current: tuple[PackageFacts, ...], added: PackageFacts | None, expected: str
) -> None:
    said = command(NamedBy("class set edge", wishes), PackageList(current), added)
    assert said == "fwmgr class set edge " + " ".join(f"--package {wish}" for wish in expected.split())


def test_there_is_no_command_for_what_the_list_cannot_take() -> None:
    circle = PackageList((package("a 1", local=["b"]), package("b 1", local=["a"])))
    assert command(NamedBy("card set 1"), circle) == ""
    assert command(NamedBy("card set 1"), PackageList((SSL_3,)), FIX) == ""


@unhurried
@given(st.lists(layered_packages(), max_size=4, unique_by=lambda one: one.name), layered_packages())
def test_what_a_command_names_is_what_the_algebra_gives(
    some: list[PackageFacts], added: PackageFacts
) -> None:
    current = PackageList(tuple(some))
    words = shlex.split(command(NamedBy("card set 3"), current, added))
    try:
        expected = [f"{one.name}={one.version}" for one in activate(current, added).packages.packages]
    except UsageError:
        assert words == []
        return
    assert words[:4] == ["fwmgr", "card", "set", "3"] and words[5::2] == expected
    assert set(words[4::2]) == {"--package"}


def placed(slot: int, *packages: PackageFacts, cpu: CpuArch = ARM, present: bool = True) -> Placed:
    refs = tuple(PackageRef(one.name, one.version, one.digest, 1) for one in packages)
    return Placed(SlotId(slot), "virt", cpu, refs, None, present)


def commands(*cards: Placed, stock: tuple[PackageFacts, ...]) -> Commands:
    known = KnownPackages(stock)
    tables = Tables({one.digest: one for one in stock}, {}, known, Checker(known))
    named = {card.slot: NamedBy(f"card set {card.slot}") for card in cards}
    return Commands(Checked(cards, tables, Report(), {}), named)


def test_a_command_is_for_a_card_that_is_there_and_has_the_cpu() -> None:
    for_x86 = package("peer 2", modules=[module("x", cpu=X86)])
    cards = (placed(1), placed(2, cpu=X86, present=False), placed(3), placed(4, BASE, cpu=X86))
    made = commands(*cards, stock=(for_x86, BASE))
    anywhere = Remedy(Way.ACTIVATE, "peer", "2")
    assert made.of(anywhere, SlotId(1)) == "fwmgr card set 4 --package peer=2 --package base=12"
    assert made.of(anywhere, SlotId(4)) == "fwmgr card set 2 --package peer=2"
    assert made.of(Remedy(Way.ACTIVATE, "peer", "2", (SlotId(2),)), SlotId(1)).startswith("fwmgr card set 2 ")
    assert made.of(Remedy(Way.ACTIVATE, "peer", "3"), SlotId(1)) == ""
    assert made.of(Remedy(Way.RETURN, "peer", "2", (SlotId(2),)), SlotId(1)) == ""


def test_what_is_no_longer_there_has_no_command() -> None:
    made = commands(placed(1, BASE, LOOSE), stock=(BASE, LOOSE))
    assert made.in_order(SlotId(1)) == "fwmgr card set 1 --package web=2 --package base=12"
    assert made.in_order(SlotId(9)) == ""
