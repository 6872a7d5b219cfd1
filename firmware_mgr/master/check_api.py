"""`GET /v1/check`, and what the answers to changes say of dependencies.

Knows requests; asks the check desk, and gives what it found its shape.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web

from firmware_mgr.master.check_desk import ChangeNote
from firmware_mgr.master.check_document import (
    commands_for,
    comparison_document,
    discrepancy_document,
    of_cards,
)
from firmware_mgr.master.operations import Operation
from firmware_mgr.master.service import Master
from firmware_mgr.model.discrepancies import Discrepancy
from firmware_mgr.model.ids import SlotId

T = TypeVar("T")


def check_routes(master: Master) -> list[web.RouteDef]:
    async def check(request: web.Request) -> web.Response:
        """Of all cards, or of those that `cards` selects."""
        terms = request.query.getall("cards", [])
        slots = set(master.select(terms)) if terms else {entry.slot for entry in master.roster}
        checked = await master.checks.current()
        found = [one for one in checked.report.discrepancies if one.slot in slots]
        cards = sum(one.slot in slots for one in checked.situation)
        commands = commands_for(checked, master.roster, master.wishes)

        def text() -> str:
            told = [discrepancy_document(one, commands) for one in found]
            lacking = len({one.slot for one in found})
            return json.dumps({"cards": cards, "lacking": lacking, "discrepancies": told})

        # Of many cards this is long.
        return web.json_response(text=await asyncio.to_thread(text))

    return [web.get("/v1/check", check)]


async def changed_and_checked(master: Master, work: Callable[[], Awaitable[T]]) -> tuple[T, dict[str, Any]]:
    """What `work` returns, done in turn with all else that the master does; and the `check` of its answer."""
    note = master.checks.note()
    found: T = await master.change_classes(work, note)
    return found, await change_document(note, master)


async def change_document(note: ChangeNote, master: Master) -> dict[str, Any]:
    """What a change made worse and better: the `check` of its answer."""
    found = await note.compare()
    return comparison_document(found, commands_for(await note.after(), master.roster, master.wishes))


async def burn_document(operation: Operation, note: ChangeNote, master: Master) -> dict[str, Any]:
    """What the cards lack that a burn-all has begun with."""
    checked = await note.after()
    found = [one for one in checked.report.discrepancies if one.slot in operation.cards]
    return of_cards(found, commands_for(checked, master.roster, master.wishes))


def card_discrepancies(slot: SlotId, master: Master) -> list[dict[str, Any]]:
    """What one card lacked when all were last looked at."""
    found: tuple[Discrepancy, ...] = master.checks.lacks(slot)
    if not found:
        return []
    commands = commands_for(master.checks.last, master.roster, master.wishes)
    return [discrepancy_document(one, commands) for one in found]
