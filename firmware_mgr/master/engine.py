"""What drives the cards' lives: events one at a time, the table, the catalogue, then the action.

Knows the roster, time, power and the order of things: a new state is written before it is acted on, so that
a master that dies in between acts again. Holds no rule of its own that a table could hold.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from firmware_mgr.link import messages as m
from firmware_mgr.link.session import SessionState
from firmware_mgr.master.card_life import CardEvent, Do, after
from firmware_mgr.master.hands import Hands, SlotSight
from firmware_mgr.master.link_server import Link
from firmware_mgr.master.root_offer import root_offer
from firmware_mgr.master.roster import Entry, Roster
from firmware_mgr.master.settings import Settings
from firmware_mgr.master.watching import News
from firmware_mgr.model.errors import DeviceError, FwmgrError
from firmware_mgr.model.lifecycle import CardState
from firmware_mgr.package.root_chain import RootChain

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]
TICK_SECONDS = 0.5
#: What a card's reason says when only a person can start it anew.
BY_HAND = "power-cycle it by hand: it does not answer, and the master has no hands on its power"


class Watcher(Protocol):
    """Who follows the lives of cards: operations do."""

    async def entered(self, entry: Entry, now: float) -> None:
        """The card has just entered `entry.life.state`; called before anything is done about it."""

    async def powered_on(self, entry: Entry) -> None:
        """The card has started anew: by our doing, or by somebody's hand."""

    def in_work(self, entry: Entry) -> bool:
        """Whether an operation works on the card."""

    def may_erase(self, entry: Entry) -> bool:
        """Whether the user allowed flash of another system to be laid out anew."""

    async def advance(self) -> None:
        """Some card's state has changed: see what follows. Never called inside another call."""


class Engine:
    def __init__(
        self,
        roster: Roster,
        settings: Settings,
        hands: Hands | None,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        *,
        roots: Callable[[], RootChain | None] = lambda: None,
    ) -> None:
        """`roots`: the site's chain of roots of trust as it is now; raises FwmgrError when it is damaged."""
        self.roster = roster
        self.settings = settings
        self.clock = clock
        self.watcher: Watcher | None = None
        self.broken: asyncio.Future[None] | None = None
        self.monotonic = monotonic
        self._roots = roots
        self._hands = hands
        self._inbox: asyncio.Queue[Work] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self.news = News()  # of work that has been done
        self._cycles = 0  # power cycles that have ended

    async def start(self) -> None:
        self.broken = asyncio.get_running_loop().create_future()
        for entry in self.roster:
            entry.moved = self.monotonic()
            await self._resume(entry)
        self._spawn(self._run())
        if self._hands is not None:
            self._spawn(self._poll(self._hands))
        self._spawn(self._tick())
        self._changed()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _resume(self, entry: Entry) -> None:
        """A card that was linked to the master before is expected to dial again."""
        linked = (CardState.IN_SERVICE, CardState.VALIDATED, CardState.AWAITING_VALIDATION)
        if entry.life.state in linked:
            reason = "the master was restarted"
            entry.life = replace(entry.life, state=CardState.LOST, since=self.clock(), reason=reason)
            await self.roster.write(entry, self.clock())
        elif entry.life.state is CardState.RESET:
            # The power cycle may not have been done: do it (again).
            self._cycle(entry, netboot=True)

    # One thing at a time.

    def post(self, work: Work) -> None:
        """Have this done in turn with everything else."""
        self._inbox.put_nowait(work)

    async def call(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Have this done in turn with everything else, and give its result or raise its FwmgrError."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            try:
                result = await work()
            except FwmgrError as e:
                if not done.cancelled():
                    done.set_exception(e)
            except asyncio.CancelledError:  # the master ends, and with it who asked
                done.cancel()
                raise
            else:
                if not done.cancelled():
                    done.set_result(result)
            finally:
                if not done.done():  # a fault of ours, which the log shows; who asked must not wait for ever
                    done.set_exception(DeviceError("the master failed at this; its log says why"))

        self.post(run)
        return await done

    async def _run(self) -> None:
        while True:
            work = await self._inbox.get()
            try:
                await work()
            except FwmgrError as e:
                log.error("%s", e)
            self.news.tell()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # What cannot be foreseen ends the process: a new one takes up from the catalogue.
            log.critical("a task of the master broke", exc_info=task.exception())
            if self.broken is not None and not self.broken.done():
                self.broken.set_result(None)

    def _changed(self) -> None:
        if self.watcher is not None:
            self.post(self.watcher.advance)

    # Lives.

    async def happened(self, entry: Entry, event: CardEvent, reason: str = "") -> None:
        """One event of one card: table, catalogue, action."""
        now = self.clock()
        before = entry.life
        life, do = after(before, event, now, self.settings.deadlines, reason)
        if life is before and do is Do.NOTHING:
            return
        if do in (Do.CYCLE, Do.CYCLE_NETBOOT) and entry.link is None and not self._reaches(entry):
            life = replace(life, reason=f"{life.reason}; {BY_HAND}" if life.reason else BY_HAND)
        note = f" ({life.reason})" if life.reason else ""
        log.info(
            "slot %s: %s: %s → %s%s", entry.slot, event.value, before.state.value, life.state.value, note
        )
        entry.life = life
        entry.moved = self.monotonic()
        changes: dict[str, Any] = {}
        if life.state is CardState.IN_SERVICE and entry.target is not None:
            changes = {"last_good": entry.target, "last_validated": entry.target.digest}
        await self.roster.write(entry, now, **changes)
        if self.watcher is not None:
            await self.watcher.entered(entry, now)
        await self._perform(entry, do)
        self._changed()

    async def _perform(self, entry: Entry, do: Do) -> None:
        link, target = entry.link, entry.target
        if do in (Do.CYCLE, Do.CYCLE_NETBOOT):
            self._cycle(entry, netboot=do is Do.CYCLE_NETBOOT)
        elif link is None:
            return
        elif do is Do.SEND_RUN and target is not None:
            link.send(m.Run(target.digest))
        elif do is Do.SEND_BURN and target is not None:
            await self._send_burn(entry, link)
        elif do is Do.SEND_HOLD:
            link.send(m.Hold(entry.life.reason))

    async def _send_burn(self, entry: Entry, link: Link) -> None:
        assert entry.target is not None
        ref = entry.target.boot_image
        image = self.roster.image(ref)
        if image is None:
            reason = f"boot image {ref.version} is not in the catalogue"
            await self.happened(entry, CardEvent.REFUSED, reason)
            return
        try:
            root = root_offer(self._roots(), None if entry.hello is None else entry.hello.root)
        except FwmgrError as e:
            # Whether the card judges by a root that is out of date cannot be known: it is not burned by it.
            await self.happened(entry, CardEvent.REFUSED, f"no card is burned now: {e}")
            return
        entry.progress = ("", 0, 0, 0)
        erase = self.watcher is not None and self.watcher.may_erase(entry)
        tries = self.settings.trial_tries
        link.send(m.Burn(entry.target, image.pieces, tries, erase, entry.saves_image, root))

    # Power.

    def _reaches(self, entry: Entry) -> bool:
        """Whether the hands have this slot's power."""
        return self._hands is not None and entry.bound is None

    def _cycle(self, entry: Entry, *, netboot: bool) -> None:
        if self._hands is None or not self._reaches(entry):
            if entry.hello is not None:
                entry.ended_boot = entry.hello.boot_id
            if entry.link is not None and entry.link.session.state is SessionState.OPEN:
                entry.link.send(m.Reset("the master asks for it", netboot))
            else:
                log.warning("slot %s: there are no hands to cycle its power", entry.slot)
            return
        if entry.hello is not None:
            entry.ended_boot = entry.hello.boot_id
        self.drop_link(entry)
        entry.hello = None
        entry.cycling = True
        self._spawn(self._do_cycle(self._hands, entry, netboot))

    def drop_link(self, entry: Entry) -> None:
        """End the card's link; the card dials again and is judged anew."""
        if entry.link is not None:
            entry.link.drop()
            entry.link = None

    async def _do_cycle(self, hands: Hands, entry: Entry, netboot: bool) -> None:
        try:
            await hands.cycle(entry.slot, netboot=netboot)
            entry.powered = True
        except FwmgrError as e:
            log.error("slot %s: power cycle failed: %s", entry.slot, e)
        finally:
            entry.cycling = False
            self._cycles += 1
            entry.cycled = self._cycles

    async def _poll(self, hands: Hands) -> None:
        answered = True
        while True:
            try:
                asked = self._cycles
                for sight in await hands.slots():
                    self.post(partial(self._sighted, sight, asked))
                answered = True
            except FwmgrError as e:
                if answered:
                    log.warning("the hands do not answer: %s", e)
                answered = False
            await asyncio.sleep(self.settings.poll_seconds)

    async def _sighted(self, sight: SlotSight, asked: int) -> None:
        """`asked`: how many power cycles had ended when the hands were asked; what was seen before the
        card's last one is out of date."""
        entry = await self.roster.seen(sight, self.clock())
        if entry.cycling or entry.cycled > asked:
            return
        powered, before = sight.powered and sight.present, entry.powered
        entry.powered = powered
        if powered and entry.power_ons not in (None, sight.power_ons) and self.watcher is not None:
            await self.watcher.powered_on(entry)
        entry.power_ons = sight.power_ons
        if powered and before is not True:
            await self.happened(entry, CardEvent.POWERED_ON)
        elif not powered and before is not False:
            await self._found_off(entry, first_sight=before is None)

    async def _found_off(self, entry: Entry, *, first_sight: bool) -> None:
        ours = entry.life.state in (CardState.RESET, CardState.BOOTING)
        if first_sight and ours and self.watcher is not None and self.watcher.in_work(entry):
            # An earlier master died between off and on.
            self._cycle(entry, netboot=entry.life.state is CardState.RESET)
        elif first_sight and entry.life.state is CardState.HELD:
            pass  # it had nothing to run, and has not: the reason stays for whoever asks
        else:
            self.drop_link(entry)
            entry.hello, entry.processes = None, []
            await self.happened(entry, CardEvent.POWERED_OFF, "its power is off")

    # Time.

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.post(self._check_deadlines)

    async def _check_deadlines(self) -> None:
        now = self.monotonic()
        for entry in self.roster:
            limit = self.roster.allowed(entry)
            if limit is not None and now - entry.moved >= limit and not entry.cycling:
                await self.happened(entry, CardEvent.DEADLINE, (entry.refusal or {}).get("what", ""))

    def still_moving(self, entry: Entry) -> None:
        """The card's current state shows progress: its deadline runs anew."""
        entry.moved = self.monotonic()
