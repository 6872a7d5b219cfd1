"""Logs and core dumps through the master: asked for, bounded, and a hostile card's answers refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from firmware_mgr.link import messages as m
from firmware_mgr.link.service import KEPT_PIECE, Kept, KeptCore, KeptLog, ListKept, Piece, ReadKept
from firmware_mgr.master.kept_desk import MAX_CORE_BYTES, MAX_LOGS, MAX_WAITING, KeptDesk
from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError, UsageError
from firmware_mgr.model.ids import SlotId
from tests.master.rack_twin import Rack, TwinCard

ONE = SlotId(1)


async def asked(card: TwinCard, kind: type[ListKept] | type[ReadKept]) -> ListKept | ReadKept:
    """The question that the card has been sent, once it is there."""
    async with asyncio.timeout(5.0):
        while True:
            for message in card.told():
                if isinstance(message, kind):
                    return message
            await asyncio.sleep(0)


async def test_what_a_card_keeps_is_asked_and_answered(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await card.hello()
        listing = asyncio.create_task(rack.master.kept.list(ONE))
        question = await asked(card, ListKept)
        answer = Kept(question.request, (KeptLog("web", 0, 10),), (KeptCore("1", "web", 7, 11, 1.0, 5),))
        await card.report(answer)
        assert await listing == answer


async def test_two_questions_are_answered_in_any_order(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await card.hello()
        first = asyncio.create_task(rack.master.kept.read_log(ONE, "web", 0))
        one = await asked(card, ReadKept)
        second = asyncio.create_task(rack.master.kept.read_log(ONE, "web", -5))
        two = await asked(card, ReadKept)
        await card.report(Piece(two.request, 5, 9, b"last"))
        await card.report(Piece(one.request, 0, 9, b"all of it"))
        assert (await first).data == b"all of it" and (await second).data == b"last"


async def test_a_cards_refusal_reaches_the_user_with_what_there_is(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await card.hello()
        reading = asyncio.create_task(rack.master.kept.read_log(ONE, "mail", 0))
        question = await asked(card, ReadKept)
        error = {"what": "no such log", "expected": "agent:, web", "found": "mail"}
        await card.report(Piece(question.request, error=error))
        with pytest.raises(UsageError, match=r"slot 1: no such log: expected agent:, web, found mail"):
            await reading


HOSTILE = {
    "a piece from elsewhere": lambda n: Piece(n, 7, 100, b"x"),
    "no end": lambda n: Piece(n, 0, MAX_CORE_BYTES + 1, b"x"),
    "nothing for ever": lambda n: Piece(n, 0, 100, b""),
    "too much at once": lambda n: Piece(n, 0, 100_000, bytes(KEPT_PIECE + 1)),
    "another kind of answer": Kept,
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_an_answer_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await card.hello()
        reading = asyncio.create_task(rack.master.kept.read_core(ONE, "1", 0))
        question = await asked(card, ReadKept)
        await card.report(HOSTILE[name](question.request))
        with pytest.raises(PeerError):
            await reading


async def test_a_list_without_end_is_refused(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await card.hello()
        listing = asyncio.create_task(rack.master.kept.list(ONE))
        question = await asked(card, ListKept)
        await card.report(Kept(question.request, (KeptLog("web", 0, 1),) * (MAX_LOGS + 1)))
        with pytest.raises(PeerError, match="more than it can"):
            await listing


async def test_answers_that_nobody_asked_for_are_passed_over(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        card, other = TwinCard(rack, 1), TwinCard(rack, 2)
        await card.hello()
        await other.hello()
        reading = asyncio.create_task(rack.master.kept.read_log(ONE, "web", 0))
        question = await asked(card, ReadKept)
        await other.report(Piece(question.request, 0, 5, b"false"))
        await card.report(Piece(question.request + 100, 0, 5, b"false"))
        await card.report(Piece(question.request, 0, 4, b"true"))
        assert (await reading).data == b"true"


async def test_a_card_that_says_nothing_costs_a_bounded_time_and_number_of_questions(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await card.hello()
        desk = KeptDesk(rack.master.roster, answer_seconds=0.2)
        waiting = [asyncio.create_task(desk.list(ONE)) for _ in range(MAX_WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(UsageError, match="too many questions"):
            await desk.list(ONE)
        for task in waiting:
            with pytest.raises(DeviceError, match="does not answer"):
                await task


async def test_a_link_that_is_lost_ends_the_wait(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await card.hello()
        listing = asyncio.create_task(rack.master.kept.list(ONE))
        await asked(card, ListKept)
        await card.lose()
        with pytest.raises(DeviceError, match="link was lost"):
            await listing


async def test_a_card_without_link_or_with_an_old_agent_is_not_asked(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        with pytest.raises(UsageError, match="no link"):
            await rack.master.kept.list(ONE)
        card = TwinCard(rack, 1)
        card.protocol = 1
        await card.hello()
        with pytest.raises(FwmgrError, match="too old"):
            await rack.master.kept.list(ONE)
        assert all(m.SINCE[type(message)] == 1 for message in card.told())
