"""What a user can do about a card that is not in service: one sentence, from what is known of it. Pure.

Knows states and commands. Refuses to know how a card came into its state: the reason says that.
"""

from __future__ import annotations

from collections.abc import Mapping

from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.lifecycle import CardState

#: What helps in a state; `{slot}` is the card's. States that lead on by themselves are not here.
STEPS: dict[CardState, str] = {
    CardState.FAILED: "look at its console, mend or replace the card, then: fwmgr burn-all --slot {slot}",
    CardState.HELD: "give it something to run (fwmgr image add, fwmgr card set {slot}), then: "
    "fwmgr burn-all --slot {slot}",
    CardState.ABSENT: "put a card into the slot, or switch it on: fwmgr power on {slot}",
    CardState.LOST: "it is waited for, then its power is cycled; at once: fwmgr power cycle {slot}",
}


def next_step(slot: SlotId, state: CardState, refusal: Mapping[str, str] | None) -> str:
    """Empty for a card that needs nobody. `refusal` is the error document of whoever was not let in here."""
    if refusal and refusal.get("hint"):
        return refusal["hint"]
    return STEPS.get(state, "").format(slot=slot)
