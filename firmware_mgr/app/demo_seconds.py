"""The seconds of a burn-all by board: netboot, burn, waiting for the others, warm boot, processes.

Knows which states of a card make up which phase. Refuses to know where the cards are.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from firmware_mgr.model.lifecycle import CardState

#: What each phase is made of; whatever else a card was, it was out of the ordinary.
PHASES: dict[str, tuple[CardState, ...]] = {
    "netboot": (CardState.RESET, CardState.NETBOOTING, CardState.AGENT_UP),
    "burn": (CardState.BURNING,),
    "waiting for all": (CardState.STORED, CardState.READY),
    "warm boot": (CardState.BOOTING, CardState.AWAITING_VALIDATION),
    "processes": (CardState.VALIDATED,),
}
OTHER = "other"
_PHASE_OF = {state.value: phase for phase, states in PHASES.items() for state in states}


def seconds_by_phase(card: Mapping[str, Any]) -> dict[str, float]:
    """Of one card in a burn-all's document. What comes after it is in service is left out."""
    seconds = dict.fromkeys(PHASES, 0.0)
    for state, took in card["phases"]:
        if state != CardState.IN_SERVICE.value:
            phase = _PHASE_OF.get(state, OTHER)
            seconds[phase] = seconds.get(phase, 0.0) + took
    return seconds


def seconds_table(operation: Mapping[str, Any], boards: Mapping[str, str]) -> Table:
    """A column for each board, the middle of its cards; `boards` are by slot. Last, the slowest card."""
    cards = {slot: seconds_by_phase(card) for slot, card in operation["cards"].items()}
    table = Table(title="seconds of each phase, by board", title_justify="left")
    table.add_column("")
    kinds = list(dict.fromkeys(boards[slot] for slot in cards))
    for kind in kinds:
        table.add_column(kind, justify="right")
    table.add_column("slowest card", justify="right")
    names = [*PHASES, *([OTHER] if any(OTHER in card for card in cards.values()) else [])]
    for name in [*names, "sum"]:
        values = {
            slot: sum(card.values()) if name == "sum" else card.get(name, 0.0) for slot, card in cards.items()
        }
        middles = [
            statistics.median(values[slot] for slot in cards if boards[slot] == kind) for kind in kinds
        ]
        table.add_row(name, *(f"{value:.1f}" for value in [*middles, max(values.values())]))
    return table
