"""Asks cards for their logs and core dumps, piece by piece, for users. The master keeps nothing of it.

Knows questions, their answers and how long one may take. What a card answers is bounded here as well: a card
may be hostile.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TypeVar

from firmware_mgr.link import messages as m
from firmware_mgr.link.service import KEPT_PIECE, Kept, ListKept, Piece, ReadKept
from firmware_mgr.link.session import SessionState
from firmware_mgr.master.link_server import Link
from firmware_mgr.master.roster import Roster
from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import SlotId

#: A card has so long for one answer; its agent may be busy writing flash.
ANSWER_SECONDS = 20.0
#: Questions to one card at a time.
MAX_WAITING = 8
MAX_LOGS, MAX_CORES = 256, 64
#: A core dump is cut off here, whatever the card says.
MAX_CORE_BYTES = 128 << 20

T = TypeVar("T", Kept, Piece)


@dataclass
class _Waiting:
    link: Link
    kind: type[Kept] | type[Piece]
    answer: asyncio.Future[Kept | Piece] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class KeptDesk:
    def __init__(self, roster: Roster, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._roster = roster
        self._patience = answer_seconds
        self._waiting: dict[int, _Waiting] = {}
        self._number = 0

    # What users ask for.

    async def list(self, slot: SlotId) -> Kept:
        """What the card keeps. Raises UsageError, PeerError or DeviceError."""
        number = self._next()
        kept = await self._ask(slot, ListKept(number), Kept)
        if len(kept.logs) > MAX_LOGS or len(kept.cores) > MAX_CORES:
            raise PeerError(
                "card says that it keeps more than it can",
                where=f"slot {slot}",
                expected=f"at most {MAX_LOGS} logs and {MAX_CORES} core dumps",
                found=f"{len(kept.logs)} and {len(kept.cores)}",
            )
        return kept

    async def read_log(self, slot: SlotId, name: str, start: int) -> Piece:
        """A piece of a log from `start` on; below 0: so many lines before its end. Raises as `list`."""
        return await self._read(slot, "log", name, start)

    async def read_core(self, slot: SlotId, identifier: str, start: int) -> Piece:
        """A piece of a core dump from `start` on. Raises as `list`, and PeerError when it cannot be."""
        piece = await self._read(slot, "core", identifier, start)
        whole = piece.start == start and piece.end <= MAX_CORE_BYTES
        if not whole or (not piece.data and start < piece.end):
            raise PeerError(
                "card gives a core dump that cannot be",
                where=f"slot {slot}, {identifier}",
                expected=f"bytes from {start} on, {MAX_CORE_BYTES} at most in all",
                found=f"{len(piece.data)} bytes from {piece.start} on, of {piece.end}",
            )
        return piece

    async def _read(self, slot: SlotId, what: str, name: str, start: int) -> Piece:
        piece = await self._ask(slot, ReadKept(self._next(), what, name, start), Piece)
        if piece.error:
            raise UsageError(
                piece.error.get("what", "cannot be read"),
                where=f"slot {slot}",
                expected=piece.error.get("expected"),
                found=piece.error.get("found"),
            )
        if len(piece.data) > KEPT_PIECE:
            raise PeerError(
                "card sends too much at once",
                where=f"slot {slot}",
                expected=f"{KEPT_PIECE} bytes at most",
                found=len(piece.data),
            )
        return piece

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _ask(self, slot: SlotId, question: ListKept | ReadKept, kind: type[T]) -> T:
        link = self._roster.get(slot).link
        where = f"slot {slot}"
        if link is None or link.session.state is not SessionState.OPEN:
            raise UsageError("card has no link to the master", where=where, hint=f"fwmgr card {slot}")
        if link.session.version < m.SINCE[type(question)]:
            raise UsageError(
                "the card's agent is too old to be asked",
                where=where,
                expected=f"link version {m.SINCE[type(question)]}",
                found=f"version {link.session.version}",
                hint="burn today's boot image: fwmgr burn-all, or fwmgr card want",
            )
        if sum(waiting.link is link for waiting in self._waiting.values()) >= MAX_WAITING:
            raise UsageError("too many questions to this card at once", where=where, expected=MAX_WAITING)
        waiting = self._waiting[question.request] = _Waiting(link, kind)
        try:
            link.send(question)
            answer = await asyncio.wait_for(waiting.answer, self._patience)
        except TimeoutError as e:
            raise DeviceError(
                "card does not answer", where=where, expected=f"within {self._patience:g} s"
            ) from e
        finally:
            del self._waiting[question.request]
        assert isinstance(answer, kind)
        return answer

    # From the link.

    def answered(self, link: Link, message: Kept | Piece) -> None:
        """An answer; one that nobody waits for is passed over."""
        waiting = self._waiting.get(message.request)
        if waiting is None or waiting.link is not link or waiting.answer.done():
            return
        if type(message) is waiting.kind:
            waiting.answer.set_result(message)
        else:
            waiting.answer.set_exception(
                PeerError("card answers something else", where=f"slot {link.slot}", found=message.TYPE)
            )

    def lost(self, link: Link) -> None:
        """The link is gone: nobody waits for it any longer."""
        for waiting in self._waiting.values():
            if waiting.link is link and not waiting.answer.done():
                error = DeviceError("the link was lost before the answer", where=f"slot {link.slot}")
                waiting.answer.set_exception(error)
