"""The master's side of the links: hello, verdict, reports. Implements the link server's LinkEvents.

Knows which event each message is for the card's life; the verdict and the lives are others' tables.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from firmware_mgr.link import messages as m
from firmware_mgr.link.service import Kept, Piece, SettingsKept
from firmware_mgr.link.wire import to_plain
from firmware_mgr.master.bindings import Claimant
from firmware_mgr.master.burn_all_desk import BurnAllDesk
from firmware_mgr.master.card_life import CardEvent
from firmware_mgr.master.engine import Engine
from firmware_mgr.master.gate import Gate
from firmware_mgr.master.kept_desk import KeptDesk
from firmware_mgr.master.link_server import Link
from firmware_mgr.master.record import BurnLog
from firmware_mgr.master.roster import Entry, hostname
from firmware_mgr.master.settings_desk import SettingsDesk
from firmware_mgr.master.verdict import Ruling, Verdict, judge, judge_fresh, unstored, within_reach
from firmware_mgr.master.wanted import CARRIED_OVER
from firmware_mgr.master.wishes import Wishes
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import CpuArch, MacAddress
from firmware_mgr.model.lifecycle import CardState
from firmware_mgr.model.pristine import STORE_FIRST, PristineOrder, Provisioning

log = logging.getLogger(__name__)

#: The protocol version since which agents can be provisioned in any order.
ORDERS_SINCE = 2

_RULINGS = {
    Ruling.RUN: CardEvent.RUNNABLE,
    Ruling.BURN: CardEvent.NEEDS_BURN,
    Ruling.HOLD: CardEvent.NOTHING_TO_RUN,
    Ruling.NETBOOT: CardEvent.NEEDS_NETBOOT,
    Ruling.KEEP: CardEvent.KEEPS_RUNNING,
}


class Conversation:
    def __init__(
        self,
        engine: Engine,
        gate: Gate,
        desk: BurnAllDesk,
        wishes: Wishes,
        burn_log: BurnLog,
        *,
        settings: SettingsDesk,
        kept: KeptDesk,
    ) -> None:
        self._engine = engine
        self._wishes = wishes
        self._gate = gate
        self._desk = desk
        self._burn_log = burn_log
        self._settings = settings
        self._kept = kept

    # LinkEvents.

    def refused(self, address: str, error: PeerError) -> None:
        self._gate.refused_link(address, error)

    async def greeted(self, link: Link, hello: m.Hello) -> None:
        await self._engine.call(lambda: self._greeted(link, hello))

    async def reported(self, link: Link, message: m.FromCard) -> None:
        if isinstance(message, Kept | Piece):
            # Between a user and a card: nothing of the master waits for it.
            self._kept.answered(link, message)
            return
        await self._engine.call(lambda: self._reported(link, message))

    async def lost(self, link: Link) -> None:
        self._kept.lost(link)
        await self._engine.call(lambda: self._lost(link))

    # Hello.

    async def _greeted(self, link: Link, hello: m.Hello) -> None:
        try:
            entry = self._check_hello(link, hello)
            mac = MacAddress(hello.mac) if hello.mac else None
            claimant = Claimant(mac, link.fingerprint, hello.board, link.address)
            await self._gate.recognise_link(entry, claimant)
            shown = await self._gate.let_in(entry, link.fingerprint)
        except (PeerError, UsageError) as e:
            link.send(m.Refused(e.document()))
            return
        await self._desk.key_shown(entry.slot, shown)
        if entry.cycling or hello.boot_id == entry.ended_boot:
            # The boot that our power cycle is about to end, or has ended: it does not count any more.
            error = PeerError("the card's power is being cycled", where=f"slot {entry.slot}")
            link.send(m.Refused(error.document(), retry_seconds=2.0))
            return
        if entry.link is not None and entry.link is not link:
            entry.link.drop()
        if hello.root is not None and hello.root.trouble:
            log.warning("slot %s: trusts nobody: %s", entry.slot, hello.root.trouble)
        entry.link, entry.hello = link, hello
        settings = self._engine.settings
        link.send(
            m.Welcome(
                min(hello.protocol, m.PROTOCOL_VERSION),
                self._engine.clock(),
                hostname(entry.slot),
                settings.no_master_seconds,
                settings.no_master_policy,
            )
        )
        await self._judge(entry, hello)

    def _check_hello(self, link: Link, hello: m.Hello) -> Entry:
        where = f"slot {link.slot}, link from {link.address}"
        error = None
        if not m.OLDEST_PROTOCOL <= hello.protocol <= m.PROTOCOL_VERSION:
            expected = f"{m.OLDEST_PROTOCOL} to {m.PROTOCOL_VERSION}"
            error = PeerError(
                "agent speaks another protocol", where=where, expected=expected, found=hello.protocol
            )
        elif hello.slot != link.slot:
            expected, found = f"slot {hello.slot}", f"slot {link.slot}"
            error = PeerError(
                "card's certificate is for another slot", where=where, expected=expected, found=found
            )
        if error is not None:
            self._gate.note(error)
            raise error
        return self._gate.at_address(link.slot, link.address, where, link.fingerprint)

    async def _judge(self, entry: Entry, hello: m.Hello) -> None:
        await self._take_word(entry, hello)
        entry.misfit = _wrong_type(entry, hello)
        nothing = entry.misfit or await self._settle(entry, hello)
        # Before any order.
        self._settings.greeted(entry, hello)
        record = entry.record
        verdict = self._verdict(entry, hello) if nothing is None else Verdict(Ruling.HOLD, nothing)
        changes: dict[str, Any] = {"actual": to_plain(hello.flash)}
        if hello.running_set is None:
            changes["running"] = None
            entry.processes = []
        if verdict.rejects is not None and verdict.rejects not in record.rejected:
            changes["rejected"] = (*record.rejected, verdict.rejects)
        await self._engine.roster.write(entry, self._engine.clock(), **changes)
        entry.target = verdict.target
        entry.saves_image, entry.final = verdict.save_image, verdict.final
        entry.runs_as_it_is = verdict.ruling is Ruling.RUN and self._needs_no_restart(entry)
        event = _RULINGS[verdict.ruling]
        if entry.life.state not in (CardState.STORED, CardState.READY, CardState.IN_SERVICE):
            # A phase of its own in the table of seconds: the card is up and not judged yet.
            netbooted = hello.boot_source is m.BootSource.NETBOOT
            up = CardEvent.UP_FROM_NETWORK if netbooted else CardEvent.UP_FROM_FLASH
            await self._engine.happened(entry, up)
        if event is CardEvent.RUNNABLE and self._desk.behind_barrier(entry.slot):
            waiting = entry.life.state in (CardState.STORED, CardState.READY)
            event = CardEvent.STORED_WAIT if waiting else CardEvent.NEEDS_BURN
        await self._engine.happened(entry, event, verdict.reason)

    async def _take_word(self, entry: Entry, hello: m.Hello) -> None:
        """Where no register tells, the card's own word counts."""
        if entry.bound is not None:
            cpu = next((cpu for cpu in CpuArch if cpu.value == hello.cpu), entry.record.cpu)
            await self._engine.roster.write(
                entry, self._engine.clock(), board=hello.board, cpu=cpu, present=True
            )

    async def _settle(self, entry: Entry, hello: m.Hello) -> str | None:
        """Work out what a swapped card should run, or one that came after its class; why nothing fits it."""
        record = entry.record
        wanted = record.wanted
        swapped = wanted is not None and wanted.boot_image.board != hello.board
        if not swapped and (wanted is not None or not self._wishes.is_configured(entry)):
            return None
        try:
            settled = self._wishes.wanted(entry, newest=False)
        except UsageError as e:
            return str(e)
        changes: dict[str, Any] = {"wanted": settled.software, "wanted_from": settled.origin}
        if not CARRIED_OVER[(True, not swapped)].software:
            changes |= {"last_good": None, "last_validated": None}
        if not CARRIED_OVER[(True, not swapped)].failures:
            changes["rejected"] = ()
        await self._engine.roster.write(entry, self._engine.clock(), **changes)
        return None

    def _verdict(self, entry: Entry, hello: m.Hello) -> Verdict:
        record = entry.record
        how = self._provisioning(entry)
        if record.wanted is not None and self._desk.behind_barrier(entry.slot):
            verdict = judge_fresh(hello, record.wanted, how)
        else:
            last_good = record.last_good
            if last_good is not None and not self._engine.roster.has(last_good):
                last_good = None  # removed while the card was away
            verdict = judge(hello, record.wanted, last_good, frozenset(record.rejected), how)
        formats = {package.digest: package.format for package in self._engine.roster.packages}
        return within_reach(verdict, hello, formats)

    def _provisioning(self, entry: Entry) -> Provisioning:
        """In which order the card is provisioned; an agent of version 1 knows only one."""
        if entry.hello is not None and entry.hello.protocol < ORDERS_SINCE:
            return STORE_FIRST
        return self._wishes.provisioning(entry)[0]

    def _needs_no_restart(self, entry: Entry) -> bool:
        return self._provisioning(entry).order is not PristineOrder.STORE_FIRST

    # Reports.

    async def _reported(self, link: Link, message: m.FromCard) -> None:
        entry = self._engine.roster.get(link.slot)
        if entry.link is not link:
            return
        if isinstance(message, m.Progress):
            progress = (message.step, message.done, message.total, message.written)
            if entry.life.state is CardState.BURNING and progress != entry.progress:
                self._engine.still_moving(entry)
            entry.progress = progress
        elif isinstance(message, m.Stored):
            await self._stored(entry, message)
        elif isinstance(message, m.Running):
            await self._running(entry, message)
        elif isinstance(message, SettingsKept):
            self._settings.kept(entry, message)
        elif isinstance(message, m.Failed):
            error = message.error
            text = ": ".join(part for part in (error.get("where"), error.get("what")) if part)
            sides = ", ".join(f"{side} {error[side]}" for side in ("expected", "found") if side in error)
            reason = f"{message.order} failed: {text}" + (f": {sides}" if sides else "")
            reason += f" ({error['hint']})" if error.get("hint") else ""
            await self._engine.happened(entry, CardEvent.REFUSED, reason)

    async def _stored(self, entry: Entry, message: m.Stored) -> None:
        ordered = entry.target is not None and message.set_digest == entry.target.digest
        if entry.target is None or not ordered or entry.life.state is not CardState.BURNING:
            log.warning(
                "slot %s: says that it stored set %s, which was not ordered now",
                entry.slot,
                message.set_digest.short,
            )
            return
        if message.root is not None and entry.hello is not None:
            entry.hello = replace(entry.hello, root=message.root)
        now = self._engine.clock()
        await self._burn_log.append(entry.slot, entry.target, message, entry.record.key_fingerprint, now)
        await self._desk.stored(entry.slot, message)
        await self._engine.roster.write(entry, now, renewable=False, actual=to_plain(message.flash))
        lack = unstored(message, entry.target, save_image=entry.saves_image)
        in_ram = self._provisioning(entry).order is PristineOrder.FROM_RAM
        reboot = message.reboot_needed and not (in_ram and entry.record.running is None)
        entry.runs_as_it_is = not reboot and self._needs_no_restart(entry)
        reason = ""
        if lack:
            event, reason = CardEvent.REFUSED, f"it says that all is stored, but {lack}"
        elif not entry.final:
            event, reason = CardEvent.STORED_REBOOT, "the boot image is stored; packages come next"
        elif self._desk.behind_barrier(entry.slot):
            event, reason = CardEvent.STORED_WAIT, "stored; waiting for the other cards"
        else:
            event = CardEvent.STORED_REBOOT if reboot else CardEvent.STORED_RUN
        await self._engine.happened(entry, event, reason)

    async def _running(self, entry: Entry, message: m.Running) -> None:
        if entry.target is None or message.set_digest != entry.target.digest:
            expected = "no set" if entry.target is None else f"set {entry.target.digest.short}"
            reason = (
                f"runs another set than it was told: expected {expected}, found {message.set_digest.short}"
            )
            await self._engine.happened(entry, CardEvent.REFUSED, reason)
            return
        entry.processes = [to_plain(process) for process in message.processes]
        running = {"set": message.set_digest.hex, "processes": entry.processes}
        actual = {**(entry.record.actual or {}), "control": to_plain(message.control)}
        # An image that runs has not failed, whatever cuts of its trial looked like.
        came_up = entry.target.boot_image.digest
        rejected = tuple(digest for digest in entry.record.rejected if digest != came_up)
        now = self._engine.clock()
        await self._engine.roster.write(entry, now, running=running, actual=actual, rejected=rejected)
        ill = [p for p in message.processes if p.state not in ("ready", "starting")]
        reason = "; ".join(f"process {p.name} is {p.state}: {p.detail}" for p in ill)
        await self._engine.happened(entry, CardEvent.RUNNING, reason)

    async def _lost(self, link: Link) -> None:
        entry = self._engine.roster.get(link.slot)
        if entry.link is link:
            entry.link = None
            await self._engine.happened(entry, CardEvent.LINK_LOST, "the link is gone")


def _wrong_type(entry: Entry, hello: m.Hello) -> str | None:
    """Why the card does not belong into its slot, if it does not."""
    board = entry.record.board
    if board is None or hello.board == board:
        return None
    error = PeerError(
        "card of a wrong type",
        where=f"slot {entry.slot}",
        expected=f"{board}, as the slot register says",
        found=hello.board,
        hint="put the right card there, or have the register name this one's board",
    )
    return str(error)
