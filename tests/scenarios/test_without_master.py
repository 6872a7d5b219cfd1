"""A card that no master answers: it waits, or runs its last validated set after a time, as the user said."""

from __future__ import annotations

from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.stage import Stage
from tests.scenarios.words import Words

#: What the user sets. The cards are told while there is a master and keep it in their flash.
ALONE_SECONDS = 8
UP = 120.0


def _told_and_left_alone(rig: Words, policy: str, slot: SlotId) -> int:
    """A card in service that knows the policy loses its master, then its power, which comes back.

    The number of the newest console line before that power-on.
    """
    rig.start_master("--no-master-policy", policy, "--no-master-seconds", str(ALONE_SECONDS))
    rig.power(slot, PowerAction.ON)
    rig.wait_in_service(slot)
    rig.kill_master()
    rig.power(slot, PowerAction.OFF)
    before = rig.console_number(slot)
    rig.power(slot, PowerAction.ON)
    rig.wait_for_line(slot, "booted from a", after=before, within=UP)
    return before


def test_card_that_may_run_alone_serves_its_last_validated_set(stage: Stage) -> None:
    burned = stage.burned()
    slot = burned.slots[0]
    before = _told_and_left_alone(burned, "run", slot)
    burned.wait_until("the card serves without a master", lambda: burned.page(slot), UP)
    assert "This card is in service" in burned.page(slot)

    # A master that comes back finds it running, and nothing is started anew.
    burned.start_master()
    card = burned.wait_in_service(slot)
    assert [process["state"] for process in card["processes"]] == ["ready"]
    said = [line.text for line in burned.console(slot, 3000) if line.number > before]
    assert sum("booted from" in line for line in said) == 1


def test_card_that_must_wait_starts_nothing_until_a_master_comes(stage: Stage) -> None:
    burned = stage.burned()
    slot = burned.slots[1]
    before = _told_and_left_alone(burned, "wait", slot)
    up = burned.wait_for_line(slot, "booted from a", after=before, within=UP)

    def waited_longer_than_the_time() -> bool:
        newest = [line for line in burned.console(slot, 50) if "no link to the master" in line.text]
        return bool(newest) and (newest[-1].time - up.time).total_seconds() > 2 * ALONE_SECONDS

    burned.wait_until("the card has asked for a master long enough", waited_longer_than_the_time, UP)
    assert burned.page(slot) == ""
    burned.start_master()
    burned.wait_in_service(slot)
    assert "This card is in service" in burned.page(slot)
