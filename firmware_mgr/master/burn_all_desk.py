"""burn-all at work: its durable records, its barrier, and what each card did and cost in it.

Knows operations and the pure rules of `burn_all`; follows the cards' lives as the engine's watcher.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

from firmware_mgr.link import messages as m
from firmware_mgr.master import burn_all
from firmware_mgr.master.admission import Shown
from firmware_mgr.master.card_life import CardEvent
from firmware_mgr.master.catalogue import Catalogue, Put
from firmware_mgr.master.documents import OPERATIONS, OperationRecord
from firmware_mgr.master.engine import Engine
from firmware_mgr.master.operations import CardWork, Operation, Traffic
from firmware_mgr.master.roster import Entry
from firmware_mgr.master.wanted import Wanted
from firmware_mgr.master.wishes import Wishes
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.lifecycle import CardState, OperationState

#: What --erase means, in the operation's own words.
ERASES = "flash is laid out anew where it is another's; what processes keep is wiped"


class BurnAllDesk:
    def __init__(self, engine: Engine, catalogue: Catalogue, wishes: Wishes) -> None:
        self._engine = engine
        self._wishes = wishes
        self._catalogue = catalogue
        self.operations: dict[str, Operation] = {}

    async def load(self) -> None:
        """Take up what an earlier master left."""
        for document in await self._catalogue.list(OPERATIONS):
            operation = Operation.from_record(OperationRecord.from_document(document.value, document.key))
            if not operation.state.finished:
                masters = operation.masters + 1
                note = f"taken up by master {masters}"
                operation = replace(operation, masters=masters, events=(*operation.events, note))
                await self._keep(operation)
            self.operations[operation.id] = operation

    async def take_up(self) -> None:
        """Ask the cards that the earlier master had not come to before it died."""
        for operation in list(self.operations.values()):
            if operation.state is OperationState.PROVISIONING:
                await self._ask(operation)

    def operation(self, identifier: str) -> Operation:
        """Raises UsageError that names the newest ones."""
        found = self.operations.get(identifier)
        if found is None:
            known = ", ".join(sorted(self.operations)[-3:]) or "none"
            raise UsageError("no such operation", expected=f"one of {known}", found=identifier)
        return found

    def of_slot(self, slot: SlotId) -> Operation | None:
        """The operation that the card is in now."""
        for operation in self.operations.values():
            if not operation.state.finished and slot in operation.cards:
                return operation
        return None

    def behind_barrier(self, slot: SlotId) -> bool:
        """Whether a card that has stored must wait for others."""
        operation = self.of_slot(slot)
        if operation is None or operation.cards[slot].unfit:
            return False
        return operation.state is OperationState.PROVISIONING

    # What users ask for.

    async def begin(self, slots: list[SlotId] | None, renew_keys: bool, erase: bool) -> Operation:
        """Provision these cards, or all that are present. Raises UsageError; nothing is touched then."""
        roster = self._engine.roster
        entries = [roster.get(slot) for slot in slots] if slots else [e for e in roster if e.record.present]
        if not entries:
            raise UsageError("there are no cards", hint="is the chassis up? fwmgr chassis status")
        wanted, unfit = self._settle(entries, named=bool(slots))
        now = self._engine.clock()
        works = {entry.slot: CardWork(entry.life.state) for entry in entries}
        works |= {slot: CardWork(CardState.FAILED, reason, unfit=True) for slot, reason in unfit.items()}
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
        identifier = f"burn-{stamp}-{secrets.token_hex(2)}"
        for entry in entries:
            if entry.slot in wanted:
                one = wanted[entry.slot]
                await roster.write(entry, now, wanted=one.software, wanted_from=one.origin)
        operation = Operation(
            identifier,
            OperationState.PROVISIONING,
            now,
            works,
            renew_keys=renew_keys,
            erase=erase,
            events=(
                *((ERASES,) if erase else ()),
                *(f"left out: {reason}" for reason in unfit.values()),
            ),
        )
        await self._keep(operation)
        await self._ask(operation)
        return self.operations[identifier]

    async def _ask(self, operation: Operation) -> None:
        for slot, work in operation.cards.items():
            if work.history:
                continue
            entry = self._engine.roster.get(slot)
            entry.traffic = Traffic()
            if work.unfit:
                if entry.life.state is not CardState.IN_SERVICE:
                    await self._engine.happened(entry, CardEvent.NOTHING_TO_RUN, work.reason)
                continue
            renewable = _may_renew(operation, entry)
            await self._engine.roster.write(entry, self._engine.clock(), renewable=renewable, rejected=())
            await self._engine.happened(entry, CardEvent.BURN_ASKED, "burn-all")

    def _settle(self, entries: list[Entry], *, named: bool) -> tuple[dict[SlotId, Wanted], dict[SlotId, str]]:
        """What each card is to run, and why some cannot be given anything: they do not keep the others.

        Raises UsageError when a card is busy, none can be given anything, or one cannot that the user named.
        """
        for entry in entries:
            if (busy := self.of_slot(entry.slot)) is not None:
                where = f"slot {entry.slot}"
                raise UsageError(
                    "card is in another operation", where=where, found=busy.id, hint="fwmgr operations"
                )
        wanted: dict[SlotId, Wanted] = {}
        unfit: dict[SlotId, str] = {}
        for entry in entries:
            try:
                wanted[entry.slot] = self._wishes.wanted(entry, newest=True)
            except UsageError as e:
                unfit[entry.slot] = str(e)
                if named or len(unfit) == len(entries):
                    raise
        return wanted, unfit

    async def cancel(self, identifier: str) -> Operation:
        """Stop an operation: no card is asked for more, those that have stored start. Raises UsageError."""
        operation = self.operation(identifier)
        if operation.state.finished:
            raise UsageError("operation is over", where=identifier, found=operation.state.value)
        await self._keep(replace(operation, state=OperationState.CANCELLED, finished_at=self._engine.clock()))
        await self._close_doors(operation)
        for slot, work in operation.cards.items():
            if work.unfit:
                continue
            # A card that waits behind the barrier would wait for ever.
            entry = self._engine.roster.get(slot)
            await self._engine.happened(entry, self._way_out(entry), "burn-all cancelled")
        return self.operations[identifier]

    async def _close_doors(self, operation: Operation) -> None:
        for slot in operation.cards:
            entry = self._engine.roster.get(slot)
            if entry.record.renewable:
                await self._engine.roster.write(entry, self._engine.clock(), renewable=False)

    # What cards report.

    async def key_shown(self, slot: SlotId, shown: Shown) -> None:
        """The first word stays: a key that is new at enrolment is known at the hello after it."""
        operation = self.of_slot(slot)
        if operation is not None and (shown is not Shown.KEPT or not operation.cards[slot].key):
            work = replace(operation.cards[slot], key=shown.value)
            await self._keep(operation.with_card(slot, work))

    async def stored(self, slot: SlotId, message: m.Stored) -> None:
        operation = self.of_slot(slot)
        if operation is not None:
            work = operation.cards[slot]
            work = replace(
                work,
                boot_written=work.boot_written + message.boot_bytes_written,
                package_written=work.package_written + message.package_bytes_written,
            )
            await self._keep(operation.with_card(slot, work))

    # The engine's watcher.

    async def entered(self, entry: Entry, now: float) -> None:
        operation = self.of_slot(entry.slot)
        if operation is not None and not operation.cards[entry.slot].unfit:
            work = _with_traffic(operation, entry).entered(entry.life.state, entry.life.reason, now)
            entry.traffic = Traffic()
            await self._keep(operation.with_card(entry.slot, work))

    async def powered_on(self, entry: Entry) -> None:
        """A card that loses its power before it has stored may have lost its new key with it."""
        operation = self.of_slot(entry.slot)
        stored = entry.life.state in (CardState.STORED, CardState.READY)
        if operation is None or stored or operation.state is not OperationState.PROVISIONING:
            return
        if _may_renew(operation, entry):
            await self._engine.roster.write(entry, self._engine.clock(), renewable=True)

    def in_work(self, entry: Entry) -> bool:
        return self.of_slot(entry.slot) is not None

    def may_erase(self, entry: Entry) -> bool:
        operation = self.of_slot(entry.slot)
        return operation is not None and operation.erase

    def _state(self, slot: SlotId, work: CardWork) -> CardState:
        """The card's state as its operation counts it: service on another set was not asked for."""
        if work.unfit:
            return CardState.FAILED
        entry = self._engine.roster.get(slot)
        served = entry.life.state is CardState.IN_SERVICE
        if served and entry.target is not None and entry.target != entry.record.wanted:
            return CardState.FAILED
        return entry.life.state

    async def advance(self) -> None:
        for operation in list(self.operations.values()):
            states = {slot: self._state(slot, work) for slot, work in operation.cards.items()}
            step = burn_all.advance(operation.state, states)
            if step is not None:
                await self._take(operation, step, states)

    async def _take(
        self, operation: Operation, step: burn_all.Advance, states: dict[SlotId, CardState]
    ) -> None:
        changed = replace(operation, state=step.state)
        if step.event is CardEvent.ALL_STORED:
            counted = {
                slot: burn_all.counted(state, operation.cards[slot].history) for slot, state in states.items()
            }
            ready = burn_all.ready_for_use(counted)
            failed = ", ".join(str(slot) for slot, state in counted.items() if state not in burn_all.STORED)
            note = (
                "all cards have stored: ready for use"
                if ready
                else f"not ready for use: slot {failed} has not stored"
            )
            changed = replace(changed, ready_for_use=ready, events=(*changed.events, note))
        if step.state.finished:
            for slot in operation.cards:
                entry = self._engine.roster.get(slot)
                changed = changed.with_card(slot, _with_traffic(changed, entry))
                entry.traffic = Traffic()
            changed = replace(changed, finished_at=self._engine.clock())
            await self._close_doors(operation)
        await self._keep(changed)
        for slot in step.cards:
            entry = self._engine.roster.get(slot)
            if step.event is CardEvent.SYSTEM_RESET:
                await self._engine.happened(entry, self._way_out(entry))
            elif step.event is not None:
                await self._engine.happened(entry, step.event)
        if not step.state.finished and not step.cards:
            self._engine.post(self.advance)

    def _way_out(self, entry: Entry) -> CardEvent:
        """From behind the barrier: by a restart, or as it is when its pristine order needs none (R-3.1)."""
        as_it_is = entry.runs_as_it_is and entry.link is not None
        return CardEvent.RELEASED if as_it_is else CardEvent.SYSTEM_RESET

    async def _keep(self, operation: Operation) -> None:
        record = operation.record()
        await self._catalogue.transact([], [Put(record.key, record.to_document())])
        self.operations[operation.id] = operation


def _may_renew(operation: Operation, entry: Entry) -> bool:
    """A card that burns for the first time may lose its new key with its power: let it make another."""
    return operation.renew_keys or entry.record.last_good is None


def _with_traffic(operation: Operation, entry: Entry) -> CardWork:
    """The card's work with the bytes that were sent since it was last written."""
    work = operation.cards[entry.slot]
    sent = entry.traffic
    if operation.state is OperationState.PROVISIONING:
        return replace(work, provisioning=work.provisioning.plus(sent.netboot, sent.bulk))
    return replace(work, warm_boot=work.warm_boot.plus(sent.netboot, sent.bulk))
