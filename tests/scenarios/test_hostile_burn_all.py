"""Issue 3, done when 6: a burn-all of 32 cards with everything going wrong at once, in process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.cli.cards import card_notes
from firmware_mgr.lab.sim.chassis import Bay
from firmware_mgr.model.ids import MacAddress, SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.conftest import SEED

CARDS = 32
DEAD, DIES_BURNING, DIES_BOOTING = SlotId(5), SlotId(12), SlotId(20)
FULL, WRONG, SWAPPED = SlotId(8), SlotId(16), SlotId(24)
#: Leaves two MiB for the store: less than the package needs with what the store itself takes.
SMALL_FLASH = 13 << 20
PROGRAM_BYTES = 1_900_000
WITHIN = 3000.0


@pytest.fixture
def system() -> Iterator[SimSystem]:
    """Pristine cards of three CPUs; one is dead, one has small flash, one is of a board that nobody knows."""
    system = SimSystem(CARDS, seed=SEED, boards=None)
    try:
        system.make_site()
        system.chassis.card(DEAD).hardware.dead = True
        full = system.chassis.remove(FULL)
        system.chassis.insert(FULL, system.hardware(full.board.name, full.mac, SMALL_FLASH))
        wrong = system.chassis.card(WRONG).hardware
        about = wrong.board.board.model_copy(update={"name": "sim-other"})
        wrong.board = wrong.board.model_copy(update={"board": about})
        system.start_master()
        for board in system.boards:
            system.post("/v1/images", {"path": str(system.build_image(board, "1.0").folder)})
        system.post("/v1/packages", {"path": str(system.build_package(program_bytes=PROGRAM_BYTES))})
        yield system
    finally:
        system.close()


def wait_over(system: SimSystem, identifier: str) -> str:
    operation = system.wait_until(
        f"{identifier} is over",
        lambda: seen if (seen := system.get(f"/v1/operations/{identifier}"))["finished"] else None,
        WITHIN,
        step=2.0,
    )
    return str(operation["state"])


def wait_state(system: SimSystem, slot: SlotId, *wanted: str) -> None:
    system.wait_until(f"slot {slot} is {wanted}", lambda: system.state(slot) in wanted, WITHIN, step=0.02)


def die(bay: Bay) -> None:
    """The card breaks for good, between two instructions; its slot goes on giving it power."""
    assert bay.card is not None
    bay.card.hardware.dead = True
    bay.card.restart("it breaks")


def swap(system: SimSystem, slot: SlotId) -> None:
    """Another card of the same type, which makes a key of its own."""
    old = system.chassis.remove(slot)
    system.pass_time(5.0)
    system.chassis.insert(slot, system.hardware(old.board.name, MacAddress("52:54:00:f7:ff:18")))
    system.run(system.chassis.power(slot, PowerAction.ON))


def kill_master_within_commits(system: SimSystem, commits: int) -> None:
    """kill -9 right after so many more commits; a new one four seconds later."""
    assert system.master is not None
    system.kill_after_commit = system.master.commits + commits
    system.wait_until("the master is dead", lambda: system.master is None, WITHIN, step=0.05)
    system.pass_time(4.0)
    system.start_master()


def test_the_others_come_into_service_and_each_of_these_is_reported_with_its_reason_and_next_step(
    system: SimSystem,
) -> None:
    # The slot of the card that will be swapped knows its key from an earlier burn-all.
    first = system.post("/v1/burn-all", {"slots": [str(SWAPPED)]})["id"]
    assert wait_over(system, first) == "done"

    identifier = system.post("/v1/burn-all")["id"]
    kill_master_within_commits(system, 40)
    wait_state(system, DIES_BURNING, "burning")
    die(system.chassis.bay(DIES_BURNING))
    wait_state(system, SWAPPED, "burning", "stored")
    swap(system, SWAPPED)
    kill_master_within_commits(system, 5)
    wait_state(system, DIES_BOOTING, "booting")
    die(system.chassis.bay(DIES_BOOTING))
    assert wait_over(system, identifier) == "failed"

    cards = {SlotId.parse(card["slot"]): card for card in system.get("/v1/cards")}
    six = {DEAD, DIES_BURNING, DIES_BOOTING, FULL, WRONG, SWAPPED}
    assert {slot for slot, card in cards.items() if not card["in_service"]} == six
    assert all("This card is in service" in system.page(slot) for slot in cards if slot not in six)
    operation = system.get(f"/v1/operations/{identifier}")
    assert operation["masters"] == 3
    assert any("not ready for use" in event for event in operation["events"])

    reasons = {
        DEAD: ("nothing heard", "given up after 6 power cycles"),
        DIES_BURNING: ("nothing heard", "given up after 6 power cycles"),
        DIES_BOOTING: ("nothing heard", "given up after 6 power cycles"),
        FULL: ("the set does not fit in the store", "a smaller set, fewer modules, or a larger store"),
        WRONG: ("no boot image for this board", "sim-other", "fwmgr image add"),
        SWAPPED: ("another key than the one pinned",),
    }
    steps = {
        **dict.fromkeys(
            (DEAD, DIES_BURNING, DIES_BOOTING, FULL), "mend or replace the card, then: fwmgr burn-all"
        ),
        WRONG: "give it something to run (fwmgr image add",
        SWAPPED: f"if the card was swapped on purpose: fwmgr card approve {SWAPPED}",
    }
    shown = "\n".join(card_notes(list(cards.values())))
    for slot in six:
        told = [line for line in shown.splitlines() if line.startswith(f"slot {slot}: ")]
        assert len(told) == 1, shown
        assert all(words in told[0] for words in reasons[slot]), told
        assert steps[slot] in cards[slot]["next_step"]
        assert steps[slot] in shown

    # What is said to be next helps: once let in, the card is burned and comes into service.
    system.post("/v1/card/approve", {"slot": str(SWAPPED)})
    wait_state(system, SWAPPED, "in service")
    assert "This card is in service" in system.page(SWAPPED)
