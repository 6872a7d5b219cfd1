"""Discrepancies as the API tells them: values with names, and the command that would help. No sentences.

Knows shapes, and how much of a long report one answer carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from firmware_mgr.master.check_desk import Checked
from firmware_mgr.master.configuration import Configuration, Origin
from firmware_mgr.master.remedies import Commands, NamedBy
from firmware_mgr.master.roster import Entry, Roster
from firmware_mgr.master.wishes import Wishes
from firmware_mgr.model.discrepancies import Comparison, Discrepancy, Lack, Remedy
from firmware_mgr.model.ids import SlotId

#: Discrepancies of each kind in the answer to a change; `GET /v1/check` has them all.
MAX_TOLD: Final = 100
#: Slots that are named of those that have something, and remedies of one discrepancy, the newest first.
MAX_SLOTS: Final = 20
MAX_REMEDIES: Final = 5


def commands_for(checked: Checked, roster: Roster, wishes: Wishes) -> Commands:
    slots = [one.slot for one in checked.situation if one.slot in roster]
    return Commands(checked, {slot: _named_by(roster.get(slot), wishes) for slot in slots})


def _named_by(entry: Entry, wishes: Wishes) -> NamedBy:
    record, configuration = entry.record, Configuration()
    of_class, origin = wishes.said.class_of(record), record.wanted_from.packages
    if origin is Origin.CLASS and of_class is not None:
        return NamedBy(f"class set {of_class.name}", of_class.configuration.packages or ())
    if origin is Origin.BOARD:
        return NamedBy(f"board set {record.board}", wishes.said.by_board(record).packages or ())
    if origin is Origin.CARD:
        configuration = record.own
    return NamedBy(f"card set {entry.slot}", configuration.packages or ())


def discrepancy_document(one: Discrepancy, commands: Commands) -> dict[str, Any]:
    remedies = [_remedy(remedy, one.slot, commands) for remedy in one.remedies[:MAX_REMEDIES]]
    if one.lack is Lack.ORDER:
        command = commands.in_order(one.slot)
    else:
        command = next((remedy["command"] for remedy in remedies if remedy["command"]), "")
    return {
        "slot": str(one.slot),
        "present": one.present,
        "package": one.package,
        "version": one.version,
        "lack": one.lack.value,
        "needs": one.needs,
        "constraint": one.constraint,
        "path": one.path,
        "instead": [
            {"package": other.package, "version": other.version, **_slots(other.slots)}
            for other in one.instead
        ],
        "remedies": remedies,
        "command": command,
    }


def _remedy(remedy: Remedy, slot: SlotId, commands: Commands) -> dict[str, Any]:
    return {
        "way": remedy.way.value,
        "package": remedy.package,
        "version": remedy.version,
        **_slots(remedy.slots),
        "command": commands.of(remedy, slot),
    }


def _slots(slots: Sequence[SlotId]) -> dict[str, Any]:
    """The first of them, and how many there are."""
    return {"slots": [str(slot) for slot in slots[:MAX_SLOTS]], "cards": len(slots)}


def comparison_document(found: Comparison, commands: Commands) -> dict[str, Any]:
    """What a change made worse and better."""
    return {
        "worse": [discrepancy_document(one, commands) for one in found.worse[:MAX_TOLD]],
        "better": [discrepancy_document(one, commands) for one in found.better[:MAX_TOLD]],
        "counts": {"worse": len(found.worse), "better": len(found.better)},
    }


def of_cards(found: Sequence[Discrepancy], commands: Commands) -> dict[str, Any]:
    """What some cards lack."""
    return {
        "discrepancies": [discrepancy_document(one, commands) for one in found[:MAX_TOLD]],
        "count": len(found),
    }
