"""The master at work: events come in from links, netboot, slots, time and users, one at a time; decisions are
taken by the pure tables; what follows is written to the catalogue and then done.

Knows all of the master's parts and how they fit. Holds no rule of its own that a table could hold.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from cryptography import x509

from firmware_mgr.link import messages as m
from firmware_mgr.master import burn_all, plan
from firmware_mgr.master.admission import Door, decide_entry, refusal
from firmware_mgr.master.admission import Entry as DoorEntry
from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.master.card_life import CardEvent, Do, after
from firmware_mgr.master.catalogue import Catalogue, Put
from firmware_mgr.master.documents import OPERATIONS, Admission, OperationRecord
from firmware_mgr.master.hands import Hands, SlotSight
from firmware_mgr.master.link_server import Link
from firmware_mgr.master.operations import CardWork, Operation, Traffic
from firmware_mgr.master.record import BurnLog
from firmware_mgr.master.roster import Entry, Roster, hostname
from firmware_mgr.master.settings import BoardFacts, Settings
from firmware_mgr.master.trust import Authority, key_fingerprint
from firmware_mgr.master.verdict import Ruling, judge
from firmware_mgr.model.errors import FwmgrError, PeerError, UsageError
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.model.lifecycle import CardState, OperationState
from firmware_mgr.netboot.events import NetbootEvent, TransferEnded, TransferStarted

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]
#: A card in one of these that asks for files is on its way up (its agent's own DHCP is not netboot).
_COMING_UP = frozenset(
    {CardState.RESET, CardState.BOOTING, CardState.LOST, CardState.FAILED, CardState.NETBOOTING}
)


class Master:
    """One master. `start` begins work; everything else is called by the servers and the API."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        blobs: BlobStore,
        authority: Authority,
        burn_log: BurnLog,
        hands: Hands | None,
        boards: dict[str, BoardFacts],
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.catalogue = catalogue
        self.blobs = blobs
        self.settings = settings
        self.roster = Roster(catalogue, blobs, boards, settings)
        self.boards = boards
        self.operations: dict[str, Operation] = {}
        self.refusals: list[dict[str, str]] = []
        self.burn_log = burn_log
        self._authority = authority
        self._hands = hands
        self._clock = clock
        self._inbox: asyncio.Queue[Work] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    # Life.

    async def start(self) -> None:
        """Take up what an earlier master left, then work."""
        await self.roster.load(self._clock())
        for document in await self.catalogue.list(OPERATIONS):
            operation = Operation.from_record(OperationRecord.from_document(document.value, document.key))
            if not operation.state.finished:
                note = f"taken up by master {operation.masters + 1}"
                operation = replace(
                    operation, masters=operation.masters + 1, events=(*operation.events, note)
                )
                await self._keep(operation)
            self.operations[operation.id] = operation
        for entry in self.roster:
            await self._resume(entry)
        self._spawn(self._run())
        if self._hands is not None:
            self._spawn(self._poll(self._hands))
        self._spawn(self._tick())
        self._post(self._advance_operations)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _resume(self, entry: Entry) -> None:
        """A card that was linked to the master before is expected to dial again."""
        linked = (CardState.IN_SERVICE, CardState.VALIDATED, CardState.AWAITING_VALIDATION)
        if entry.life.state in linked:
            entry.life = replace(
                entry.life, state=CardState.LOST, since=self._clock(), reason="the master was restarted"
            )
            await self.roster.write(entry, self._clock())
        elif entry.life.state is CardState.RESET:
            # The power cycle may not have been done: do it (again).
            self._cycle(entry, netboot=True)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the master broke", exc_info=task.exception())

    def _post(self, work: Work) -> None:
        self._inbox.put_nowait(work)

    async def _run(self) -> None:
        while True:
            work = await self._inbox.get()
            try:
                await work()
            except FwmgrError as e:
                log.error("%s", e)

    async def call(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Run a user's request in turn with everything else, and give its result or raise its error."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def run() -> None:
            try:
                result = await work()
            except FwmgrError as e:
                if not done.cancelled():
                    done.set_exception(e)
            else:
                if not done.cancelled():
                    done.set_result(result)

        self._post(run)
        return await done

    async def _poll(self, hands: Hands) -> None:
        quiet = False
        while True:
            try:
                sights = await hands.slots()
                quiet = False
                for sight in sights:
                    self._post(partial(self._sighted, sight))
            except FwmgrError as e:
                if not quiet:
                    log.warning("the hands do not answer: %s", e)
                quiet = True
            await asyncio.sleep(self.settings.poll_seconds)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._post(self._check_deadlines)

    # Cards.

    async def happened(self, entry: Entry, event: CardEvent, reason: str = "") -> None:
        """One event of one card: table, catalogue, action; then the operations look at it."""
        now = self._clock()
        life, do = after(entry.life, event, now, self.settings.deadlines, reason)
        if life is entry.life and do is Do.NOTHING:
            return
        log.info(
            "slot %s: %s: %s → %s%s",
            entry.slot,
            event.value,
            entry.life.state.value,
            life.state.value,
            _note(reason or life.reason),
        )
        entry.life = life
        await self._entered(entry, now)
        await self._perform(entry, do)
        await self._advance_operations()

    async def _entered(self, entry: Entry, now: float) -> None:
        changes: dict[str, Any] = {}
        if entry.life.state is CardState.IN_SERVICE and entry.target is not None:
            changes = {"last_good": entry.target, "last_validated": entry.target.digest}
        await self.roster.write(entry, now, **changes)
        operation = self._operation_of(entry.slot)
        if operation is not None:
            work = _with_traffic(operation, entry).entered(entry.life.state, entry.life.reason, now)
            entry.traffic = Traffic()
            await self._keep(operation.with_card(entry.slot, work))

    async def _perform(self, entry: Entry, do: Do) -> None:
        if do in (Do.CYCLE, Do.CYCLE_NETBOOT):
            self._cycle(entry, netboot=do is Do.CYCLE_NETBOOT)
        elif do is Do.SEND_RUN and entry.link is not None and entry.target is not None:
            entry.link.send(m.Run(entry.target.digest))
        elif do is Do.SEND_BURN and entry.link is not None and entry.target is not None:
            await self._send_burn(entry, entry.link)
        elif do is Do.SEND_HOLD and entry.link is not None:
            entry.link.send(m.Hold(entry.life.reason))

    async def _send_burn(self, entry: Entry, link: Link) -> None:
        assert entry.target is not None
        image = self.roster.image(entry.target.boot_image)
        if image is None:
            await self.happened(
                entry,
                CardEvent.REFUSED,
                f"boot image {entry.target.boot_image.version} is not in the catalogue",
            )
            return
        entry.progress = ("", 0, 0, 0)
        link.send(m.Burn(entry.target, image.pieces, self.settings.trial_tries))

    def _cycle(self, entry: Entry, *, netboot: bool) -> None:
        if entry.link is not None:
            entry.link.drop()
            entry.link = None
        entry.hello = None
        self._spawn(self._do_cycle(entry, netboot))

    async def _do_cycle(self, entry: Entry, netboot: bool) -> None:
        if self._hands is None:
            log.warning("slot %s: there are no hands to cycle its power", entry.slot)
            return
        entry.cycling = True
        try:
            await self._hands.cycle(entry.slot, netboot=netboot)
        except FwmgrError as e:
            log.error("slot %s: power cycle failed: %s", entry.slot, e)
        finally:
            entry.cycling = False

    async def _check_deadlines(self) -> None:
        now = self._clock()
        for entry in self.roster:
            limit = self.settings.deadlines.of(entry.life.state)
            if limit is not None and now - entry.life.since >= limit and not entry.cycling:
                await self.happened(entry, CardEvent.DEADLINE)

    async def _sighted(self, sight: SlotSight) -> None:
        entry = await self.roster.seen(sight, self._clock())
        powered = sight.powered and sight.present
        if powered != entry.powered and not entry.cycling:
            entry.powered = powered
            await self.happened(entry, CardEvent.POWERED_ON if powered else CardEvent.POWERED_OFF)

    # Netboot.

    def netbooted(self, event: NetbootEvent) -> None:
        """Called by the netboot servers."""
        log.debug("%s", event.document())
        if isinstance(event, TransferStarted | TransferEnded) and event.slot is not None:
            self._post(lambda: self._transferred(event))

    async def _transferred(self, event: TransferStarted | TransferEnded) -> None:
        if event.slot is None or event.slot not in self.roster:
            return
        entry = self.roster.get(event.slot)
        if isinstance(event, TransferEnded):
            entry.traffic = entry.traffic.plus(netboot=event.bytes_sent)
        if entry.life.state in _COMING_UP:
            if entry.life.state is CardState.NETBOOTING:
                entry.life = replace(entry.life, since=self._clock())
            else:
                await self.happened(entry, CardEvent.NETBOOT_SEEN, f"asks for {event.name}")

    def bulk_served(self, address: str, count: int) -> None:
        """Called by the bulk server as bytes go out."""
        entry = self.roster.by_address(address)
        if entry is not None:
            entry.traffic = entry.traffic.plus(bulk=count)

    # Admission.

    async def enrol(self, address: str, document: dict[str, Any]) -> str:
        """The certificate for a card that asks, as PEM. Raises PeerError with the reason."""
        certificate: str = await self.call(lambda: self._enrol(address, document))
        return certificate

    async def _enrol(self, address: str, document: dict[str, Any]) -> str:
        where = f"enrolment from {address}"
        try:
            slot = SlotId.parse(str(document.get("slot")))
            request = x509.load_pem_x509_csr(str(document.get("csr")).encode())
        except (UsageError, ValueError) as e:
            raise PeerError("enrolment request is unusable", where=where, found=str(e)) from e
        entry = self._at_address(slot, address, where)
        fingerprint = key_fingerprint(request.public_key())
        await self._let_in(entry, fingerprint)
        return self._authority.sign_card_certificate(str(document["csr"]), slot)

    def _at_address(self, slot: SlotId, address: str, where: str) -> Entry:
        """A card speaks for the slot whose address it has: the two must agree."""
        entry = self.roster.by_address(address)
        if entry is None or entry.slot != slot:
            found = "no slot" if entry is None else f"slot {entry.slot}"
            error = PeerError(
                "card does not sit where it says", where=where, expected=f"slot {slot}", found=found
            )
            self._note_refusal(error)
            raise error
        return entry

    async def _let_in(self, entry: Entry, fingerprint: str) -> None:
        record = entry.record
        door = Door(entry.slot, record.admission, record.key_fingerprint, record.renewable)
        decision = decide_entry(door, fingerprint)
        if decision is DoorEntry.REFUSE:
            error = refusal(door, fingerprint)
            entry.refusal = {**error.document(), "fingerprint": fingerprint}
            self._note_refusal(error)
            raise error
        entry.refusal = None
        renewed = record.key_fingerprint not in (None, fingerprint)
        if decision is DoorEntry.PIN:
            admission = Admission.PINNED if record.admission is Admission.OPEN else record.admission
            await self.roster.write(entry, self._clock(), key_fingerprint=fingerprint, admission=admission)
        operation = self._operation_of(entry.slot)
        if operation is not None:
            work = replace(operation.cards[entry.slot], key="renewed" if renewed else "kept")
            await self._keep(operation.with_card(entry.slot, work))

    def _note_refusal(self, error: PeerError) -> None:
        log.warning("refused: %s", error)
        self.refusals = [*self.refusals[-99:], error.document()]

    # Links (LinkEvents).

    def refused(self, address: str, error: PeerError) -> None:
        self._note_refusal(error)
        entry = self.roster.by_address(address)
        if entry is not None:
            entry.refusal = error.document()

    async def greeted(self, link: Link, hello: m.Hello) -> None:
        await self.call(lambda: self._greeted(link, hello))

    async def reported(self, link: Link, message: m.FromCard) -> None:
        await self.call(lambda: self._reported(link, message))

    async def lost(self, link: Link) -> None:
        await self.call(lambda: self._lost(link))

    async def _greeted(self, link: Link, hello: m.Hello) -> None:
        try:
            entry = self._check_hello(link, hello)
            await self._let_in(entry, link.fingerprint)
        except PeerError as e:
            self._note_refusal(e)
            link.send(m.Refused(e.document()))
            return
        if entry.link is not None and entry.link is not link:
            entry.link.drop()
        entry.link, entry.hello = link, hello
        settings = self.settings
        link.send(
            m.Welcome(
                m.PROTOCOL_VERSION,
                self._clock(),
                hostname(entry.slot),
                settings.no_master_seconds,
                settings.no_master_policy,
            )
        )
        await self._judge(entry, hello)

    def _check_hello(self, link: Link, hello: m.Hello) -> Entry:
        where = f"slot {link.slot}, link from {link.address}"
        if not m.OLDEST_PROTOCOL <= hello.protocol <= m.PROTOCOL_VERSION:
            expected = f"{m.OLDEST_PROTOCOL} to {m.PROTOCOL_VERSION}"
            raise PeerError(
                "agent speaks another protocol", where=where, expected=expected, found=hello.protocol
            )
        if hello.slot != link.slot:
            raise PeerError(
                "card's certificate is for another slot",
                where=where,
                expected=f"slot {hello.slot}",
                found=f"slot {link.slot}",
            )
        return self._at_address(link.slot, link.address, where)

    async def _judge(self, entry: Entry, hello: m.Hello) -> None:
        record = entry.record
        verdict = judge(hello, record.wanted, record.last_good, frozenset(record.rejected))
        changes: dict[str, Any] = {"actual": m.to_document(hello)["flash"], "running": None}
        if verdict.rejects is not None and verdict.rejects not in record.rejected:
            changes["rejected"] = (*record.rejected, verdict.rejects)
        await self.roster.write(entry, self._clock(), **changes)
        entry.target = verdict.target
        events = {
            Ruling.RUN: CardEvent.RUNNABLE,
            Ruling.BURN: CardEvent.NEEDS_BURN,
            Ruling.HOLD: CardEvent.NOTHING_TO_RUN,
        }
        await self._step_up(entry, hello)
        event = events[verdict.ruling]
        if event is CardEvent.RUNNABLE and self._behind_barrier(entry):
            event = (
                CardEvent.STORED_WAIT
                if entry.life.state in (CardState.STORED, CardState.READY)
                else CardEvent.NEEDS_BURN
            )
        await self.happened(entry, event, verdict.reason)

    async def _step_up(self, entry: Entry, hello: m.Hello) -> None:
        """Record that the card has come up, before it is judged: a phase of its own."""
        if entry.life.state in (CardState.STORED, CardState.READY, CardState.IN_SERVICE):
            return
        netbooted = hello.boot_source is m.BootSource.NETBOOT
        await self.happened(entry, CardEvent.UP_FROM_NETWORK if netbooted else CardEvent.UP_FROM_FLASH)

    def _behind_barrier(self, entry: Entry) -> bool:
        operation = self._operation_of(entry.slot)
        return operation is not None and operation.state is OperationState.PROVISIONING

    async def _reported(self, link: Link, message: m.FromCard) -> None:
        entry = self.roster.get(link.slot)
        if entry.link is not link:
            return
        if isinstance(message, m.Progress):
            entry.progress = (message.step, message.done, message.total, message.written)
            entry.life = replace(entry.life, since=self._clock())
        elif isinstance(message, m.Stored):
            await self._stored(entry, message)
        elif isinstance(message, m.Running):
            entry.processes = [m.to_document(message)["processes"][n] for n in range(len(message.processes))]
            running = {"set": message.set_digest.hex, "processes": entry.processes}
            await self.roster.write(entry, self._clock(), running=running)
            await self.happened(entry, CardEvent.RUNNING)
        elif isinstance(message, m.Failed):
            error = message.error
            text = ": ".join(part for part in (error.get("where"), error.get("what")) if part)
            sides = ", ".join(f"{side} {error[side]}" for side in ("expected", "found") if side in error)
            await self.happened(
                entry, CardEvent.REFUSED, f"{message.order} failed: {text}" + (f": {sides}" if sides else "")
            )

    async def _stored(self, entry: Entry, message: m.Stored) -> None:
        if entry.target is None or message.set_digest != entry.target.digest:
            log.warning("slot %s: stored set %s, not the one ordered", entry.slot, message.set_digest.short)
            return
        now = self._clock()
        await self.burn_log.append(entry.slot, entry.target, message, entry.record.key_fingerprint, now)
        operation = self._operation_of(entry.slot)
        if operation is not None:
            work = operation.cards[entry.slot]
            work = replace(
                work,
                boot_written=work.boot_written + message.boot_bytes_written,
                package_written=work.package_written + message.package_bytes_written,
            )
            await self._keep(operation.with_card(entry.slot, work))
        await self.roster.write(entry, now, renewable=False)
        if self._behind_barrier(entry):
            await self.happened(entry, CardEvent.STORED_WAIT, "stored; waiting for the other cards")
        elif message.reboot_needed:
            await self.happened(entry, CardEvent.STORED_REBOOT)
        else:
            await self.happened(entry, CardEvent.STORED_RUN)

    async def _lost(self, link: Link) -> None:
        entry = self.roster.get(link.slot)
        if entry.link is not link:
            return
        entry.link = None
        await self.happened(entry, CardEvent.LINK_LOST, "the link is gone")

    # Operations.

    def _operation_of(self, slot: SlotId) -> Operation | None:
        for operation in self.operations.values():
            if not operation.state.finished and slot in operation.cards:
                return operation
        return None

    async def _keep(self, operation: Operation) -> None:
        record = operation.record()
        await self.catalogue.transact([], [Put(record.key, record.to_document())])
        self.operations[operation.id] = operation

    async def _advance_operations(self) -> None:
        for operation in list(self.operations.values()):
            step = burn_all.advance(operation.state, self._card_states(operation))
            if step is None:
                continue
            now = self._clock()
            changed = replace(operation, state=step.state)
            if step.event is CardEvent.ALL_STORED:
                ready = burn_all.ready_for_use(self._card_states(operation))
                note = (
                    "all cards have stored: ready for use"
                    if ready
                    else "not ready for use: some cards failed"
                )
                changed = replace(changed, ready_for_use=ready, events=(*changed.events, note))
            if step.state.finished:
                for slot in operation.cards:
                    entry = self.roster.get(slot)
                    changed = changed.with_card(slot, _with_traffic(changed, entry))
                    entry.traffic = Traffic()
                changed = replace(changed, finished_at=now)
            await self._keep(changed)
            for slot in step.cards:
                if step.event is not None:
                    await self.happened(self.roster.get(slot), step.event)

    def _card_states(self, operation: Operation) -> dict[SlotId, CardState]:
        return {slot: self.roster.get(slot).life.state for slot in operation.cards}

    # What users ask for. Each runs in turn, by `call`.

    async def burn_all(self, slots: list[SlotId] | None, renew_keys: bool) -> Operation:
        """Provision these cards, or all that are present. Raises UsageError; nothing is touched then."""
        entries = (
            [self.roster.get(slot) for slot in slots]
            if slots
            else [e for e in self.roster if e.record.present]
        )
        if not entries:
            raise UsageError("there are no cards", hint="is the chassis up? fwmgr chassis status")
        for entry in entries:
            busy = self._operation_of(entry.slot)
            if busy is not None:
                raise UsageError(
                    "card is in another operation",
                    where=f"slot {entry.slot}",
                    found=busy.id,
                    hint="fwmgr operations",
                )
        now = self._clock()
        for entry in entries:
            if entry.record.wanted is None:
                board, cpu = entry.record.board or "", entry.record.cpu
                wanted = plan.default_set(
                    board, cpu.value if cpu else "", self.roster.images, self.roster.packages
                )
                await self.roster.write(entry, now, wanted=wanted)
        works = {entry.slot: CardWork(entry.life.state) for entry in entries}
        operation = Operation(
            f"burn-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(2)}",
            OperationState.PROVISIONING,
            now,
            works,
        )
        await self._keep(operation)
        for entry in entries:
            entry.traffic = Traffic()
            # A card that burns for the first time may lose its new key with its power: let it make another.
            first = entry.record.last_good is None
            await self.roster.write(entry, now, renewable=renew_keys or first, rejected=())
            await self.happened(entry, CardEvent.BURN_ASKED, "burn-all")
        return self.operations[operation.id]

    async def cancel(self, identifier: str) -> Operation:
        operation = self.operation(identifier)
        if operation.state.finished:
            raise UsageError("operation is over", where=identifier, found=operation.state.value)
        await self._keep(replace(operation, state=OperationState.CANCELLED, finished_at=self._clock()))
        return self.operations[identifier]

    def operation(self, identifier: str) -> Operation:
        found = self.operations.get(identifier)
        if found is None:
            known = ", ".join(sorted(self.operations)[-3:]) or "none"
            raise UsageError("no such operation", expected=f"one of {known}", found=identifier)
        return found

    async def want(self, slot: SlotId, image: str | None, packages: list[str] | None) -> Entry:
        """Change what a slot should run; what is not named stays. It takes effect at the next hello."""
        entry = self.roster.get(slot)
        board, cpu = entry.record.board or "", entry.record.cpu
        base = entry.record.wanted or plan.default_set(
            board, cpu.value if cpu else "", self.roster.images, self.roster.packages
        )
        if image is not None:
            base = replace(base, boot_image=plan.pick_image(board, image, self.roster.images).ref)
        if packages is not None:
            base = replace(
                base, packages=tuple(plan.pick_package(p, self.roster.packages).ref for p in packages)
            )
        rejected = tuple(digest for digest in entry.record.rejected if digest != base.boot_image.digest)
        await self.roster.write(entry, self._clock(), wanted=base, rejected=rejected)
        return entry

    async def approve(self, slot: SlotId) -> Entry:
        """Let in the key that was refused last. Raises UsageError when none was."""
        entry = self.roster.get(slot)
        fingerprint = (entry.refusal or {}).get("fingerprint")
        if fingerprint is None:
            raise UsageError("no card waits for approval here", where=f"slot {slot}")
        await self.roster.write(entry, self._clock(), key_fingerprint=fingerprint)
        entry.refusal = None
        return entry

    def find_blob(self, digest: Digest) -> Any:
        """The path of a blob that a card may fetch, or None."""
        return self.blobs.path(digest) if self.blobs.has(digest) else None


def _with_traffic(operation: Operation, entry: Entry) -> CardWork:
    """The card's work with the bytes that were sent since it was last written."""
    work = operation.cards[entry.slot]
    sent = entry.traffic
    if operation.state is OperationState.PROVISIONING:
        return replace(work, provisioning=work.provisioning.plus(sent.netboot, sent.bulk))
    return replace(work, warm_boot=work.warm_boot.plus(sent.netboot, sent.bulk))


def _note(text: str) -> str:
    return f" ({text})" if text else ""
