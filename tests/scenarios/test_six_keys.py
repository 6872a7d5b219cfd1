"""Rotation, threshold, revoked key, expired key and wrong clock, downgrade, test key: on the chassis.

By the command line, and all in one life of the cards, whose boots are dear. Each is refused by the master,
and by a card alone that is only restarted: with what the user sees, and with flash as it was.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.card.believed_root import ROOT_DOCUMENT
from firmware_mgr.model.ids import SlotId
from firmware_mgr.package.root_chain import RootChain
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.package_desk import BUILT, IN_TIME, PackageDesk, accepted, refused, wish
from tests.scenarios.regions import digests_of, state_of
from tests.scenarios.stage import Stage
from tests.scenarios.words import IN_SERVICE, Words

ACCEPTED = "note"


@dataclass(frozen=True, slots=True)
class Case:
    """A package that root version 1 lets in and version 2 does not: its name, who signed it, what is said."""

    name: str
    signers: tuple[str, ...]
    words: tuple[str, ...]


CASES = (
    Case("threshold", ("site",), ("not signed by enough keys", "2 of role release", "site")),
    Case("revoked", ("lost", "site"), ("signed by a revoked key", "lost", "laptop stolen")),
    Case(
        "downgrade", ("site", "second"), ("older than what is let in from outside", "downgrade 2.0 or later")
    ),
    Case("expired", ("old", "site"), ("signed outside the time of its key", "old", f"until {BUILT}")),
)
#: The loader counts starts in one, the other is looked at by its documents.
WRITTEN = ("control", "state")
TEST_WORDS = ("TEST package, and no test packages are taken here", "tester", "expected", "found")
#: Version 2 of the root.
CHANGES: tuple[tuple[str, ...], ...] = (
    ("threshold", "release", "2"),
    ("revoke", "lost", "--reason", "laptop stolen"),
    ("minimum", "downgrade", "2.0"),
    ("window", "old", "--until", BUILT),
)


def test_six_ways_in_which_a_key_is_no_good_or_is_replaced(stage: Stage, tmp_path: Path) -> None:
    rig = stage.burned()
    office = PackageDesk(stage.desk(), tmp_path)
    office.desk.say("key", "new", "new", "--dir", office.desk.keys)
    with ThreadPoolExecutor(2 if stage.clocks() else 1) as pool:
        first, late = (
            list(pool.map(lambda case: office.build(case.name, version, case.signers), CASES))  # noqa: B023
            for version in ("1.0", "1.1")
        )
    tested = office.build("tested", "1.0", ["tester"])
    note = office.build(ACCEPTED, "3.0", ["new", "old"], "--signed-at", IN_TIME)

    rig.start_master()
    for package in first:
        accepted(rig.says("package", "add", package))
    refused(rig.says("package", "add", tested), *TEST_WORDS, "--accept-test")
    refused(rig.says("package", "add", note), "unknown key", "version 1")
    office.desk.change(2, ("add-key", str(office.desk.public("new")), "--role", "release"), *CHANGES)
    packages = rig.get("/v1/packages")
    for case, package in zip(CASES, late, strict=True):
        refused(rig.says("package", "add", package), *case.words, "expected", "found")
    assert [one["digest"] for one in rig.get("/v1/packages")] == [one["digest"] for one in packages]
    accepted(rig.says("package", "add", note))

    # Now the cards by themselves. Of those without power the master knows no more than their image's root.
    rig.kill_master()
    rig.start_master("--accept-test")
    accepted(rig.says("package", "add", tested))
    page = "=".join(rig.card(rig.slots[0])["packages"][0].split())
    for cases in batched_over(rig.slots, CASES):
        refused_by_cards(stage, rig, page, cases)
    refused_while_heard(rig, page)
    rotated(stage, rig, page)


def batched_over(slots: Sequence[SlotId], cases: Sequence[Case]) -> list[dict[SlotId, Case]]:
    """As many at once as there are cards; the last card gets the last one, and with it the odd clock."""
    size = len(slots)
    groups = [cases[at : at + size] for at in range(0, len(cases), size)]
    return [dict(zip(slots, group, strict=False)) for group in groups]


def content(stage: Stage, slot: SlotId) -> tuple[dict[str, str], dict[str, bytes]]:
    """All of flash but where the loader counts; the state area by its documents, without the root."""
    with stage.flash(slot) as device:
        parts = {name: one for name, one in digests_of(device).items() if name not in WRITTEN}
        documents = {name: one for name, one in state_of(device).items() if name != ROOT_DOCUMENT}
        return parts, documents


def kept(stage: Stage, slot: SlotId) -> RootChain:
    with stage.flash(slot) as device:
        return RootChain.decode(state_of(device)[ROOT_DOCUMENT][32:])


def refused_by_cards(stage: Stage, rig: Words, page: str, cases: dict[SlotId, Case]) -> None:
    """Each is told to run one of the packages while it has no power, and restarted."""
    slots = tuple(cases)
    for slot in slots:
        rig.take_out(slot)
    for warnings in rig.side_by_side(lambda slot: accepted(wish(rig, slot, page, cases[slot].name)), slots):
        assert "warning" in warnings, warnings
    before = rig.side_by_side(lambda slot: content(stage, slot), slots)
    since = {slot: rig.console_number(slot) for slot in slots}
    for slot in slots:
        rig.power(slot, PowerAction.ON)
    reasons = rig.side_by_side(lambda slot: rig.wait_reason(slot, cases[slot].words[0]), slots)
    after = rig.side_by_side(lambda slot: content(stage, slot), slots)
    assert after == before, "a card has written something"
    for slot, reason in zip(slots, reasons, strict=True):
        for word in (*cases[slot].words, "expected", "found", f"package {cases[slot].name} 1.0"):
            assert word in reason, f"slot {slot}: no “{word}” in: {reason}"
        assert kept(stage, slot) == stage.desk().master.read_root()
    for slot, clock in stage.clocks().items():
        said = "".join(line.text for line in rig.console(slot, 2000) if line.number > since[slot])
        # A PC's clock keeps two digits of the year: what is 1970 elsewhere is 2070 there.
        years = {time.gmtime(clock).tm_year, 2000 + time.gmtime(clock).tm_year % 100} - {2000}
        assert any(f"clock at start: {year}-01-01" in said for year in years), f"slot {slot}: not {years}"


def refused_while_heard(rig: Words, page: str) -> None:
    """What a card would refuse that the master hears is refused before anything is done."""
    wanted = [card["record"]["wanted"] for card in map(rig.card, rig.slots)]
    tested = Case("tested", ("tester",), TEST_WORDS[:2])
    for cases in batched_over(rig.slots, (*CASES, tested)):
        answers = rig.side_by_side(lambda slot: wish(rig, slot, page, cases[slot].name), tuple(cases))  # noqa: B023
        for said, case in zip(answers, cases.values(), strict=True):
            refused(said, "the card would refuse a package", case.words[0], "expected", "found")
    refused(rig.says("burn-all"), "the card would refuse a package")
    assert rig.get("/v1/operations")[1:] == [], "a burn-all has begun"
    assert [card["record"]["wanted"] for card in map(rig.card, rig.slots)] == wanted


def rotated(stage: Stage, rig: Words, page: str) -> None:
    """By a key that came with the rotation, and by one that expired since: in time, whatever clocks say."""
    said = rig.side_by_side(lambda slot: accepted(wish(rig, slot, page, ACCEPTED)), rig.slots)
    assert not any(said), said
    cards = rig.side_by_side(lambda slot: rig.wait_in_service(slot, IN_SERVICE), rig.slots)
    for slot, card in zip(rig.slots, cards, strict=True):
        assert card["packages"][1:] == [f"{ACCEPTED} 3.0"] and card["boot_version"] == (
            stage.undisturbed[slot].version
        )
        assert "This card is in service" in rig.page(slot)
        assert "the card judges by version 2" in rig.show(slot)
