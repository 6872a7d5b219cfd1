"""Binds cards to slots that no register tells of, and keeps those that wait to be bound.

Knows bindings, the roster and who was met; the rules are the tables of `binding`. Nothing here lets a key in:
that is the gate's, by the slot's own admission.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from firmware_mgr.master.admission_words import waits_to_be_bound
from firmware_mgr.master.binding import BINDINGS, BINDS, CLAIMS, Bind, BindingRecord, Claim, showing
from firmware_mgr.master.catalogue import Catalogue, Put
from firmware_mgr.master.documents import Admission
from firmware_mgr.master.roster import Entry, Roster
from firmware_mgr.master.settings import BoardFacts, Settings
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import MacAddress, SlotId
from firmware_mgr.netboot.relay import RelayPort

#: Cards that wait are kept to be shown; the one heard least lately makes room.
MAX_WAITING = 256
_FINGERPRINT_DIGITS = 64
_LEAST_DIGITS = 8


@dataclass(frozen=True, slots=True)
class Claimant:
    """A card as it shows itself: its MAC as it says, its key, and where it was heard."""

    mac: MacAddress | None
    key: str
    board: str
    address: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What a user binds a slot to; what is None is not named. `key` may be the first digits of one."""

    mac: MacAddress | None = None
    key: str | None = None
    port: str | None = None
    board: str | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    claimant: Claimant
    error: PeerError
    first_seen: float
    last_seen: float


class Bindings:
    """`guess_boards` names the boards that a MAC that has only asked for an address could be."""

    def __init__(
        self,
        roster: Roster,
        catalogue: Catalogue,
        settings: Settings,
        boards: dict[str, BoardFacts],
        *,
        clock: Callable[[], float],
        guess_boards: Callable[[MacAddress], list[str]],
    ) -> None:
        self._roster = roster
        self._catalogue = catalogue
        self._settings = settings
        self._boards = boards
        self._clock = clock
        self._guess_boards = guess_boards
        self._records: dict[SlotId, BindingRecord] = {}
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()

    async def load(self) -> None:
        for document in await self._catalogue.list(BINDINGS):
            record = BindingRecord.from_document(document.value, document.key)
            if record.slot in self._roster:
                self._take(self._roster.get(record.slot), record)

    def document(self) -> list[dict[str, Any]]:
        """The cards that wait, the latest first."""
        return [
            {
                "mac": None if one.claimant.mac is None else str(one.claimant.mac),
                "board": one.claimant.board,
                "key": one.claimant.key,
                "address": one.claimant.address,
                "first_seen": one.first_seen,
                "last_seen": one.last_seen,
                **one.error.document(),
            }
            for one in reversed(self._waiting.values())
        ]

    # Cards.

    async def recognise(self, claimant: Claimant) -> Entry:
        """The slot that the card may speak for, if its key is let in there. Raises PeerError."""
        key_entry = self._of_key(claimant.key)
        mac_entry = self.of_mac(claimant.mac)
        entry = key_entry or mac_entry
        shown = showing(
            None if key_entry is None else key_entry.slot, None if mac_entry is None else mac_entry.slot
        )
        claim = CLAIMS[shown, entry is not None and self._linked_elsewhere(entry, claimant)]
        if claim is Claim.WAIT and self._settings.adopt is not None:
            slot = self.free_slot(self._settings.adopt)
            return await self.bind(slot, Wish(claimant.mac, claimant.key, None, claimant.board))
        if claim in (Claim.DOOR, Claim.NEW_MAC):
            assert entry is not None
            if claim is Claim.NEW_MAC and claimant.mac is not None:
                await self._write(
                    entry, replace(self._record(entry.slot), mac=claimant.mac), mac=claimant.mac
                )
            self._waiting.pop(claimant.key, None)
            return entry
        error = waits_to_be_bound(claim, claimant.address, claimant.mac, claimant.key, (key_entry, mac_entry))
        self._keep_waiting(claimant, error)
        raise error

    def _linked_elsewhere(self, entry: Entry, claimant: Claimant) -> bool:
        linked, hello = entry.link, entry.hello
        same_key = entry.record.key_fingerprint == claimant.key
        return bool(
            same_key
            and linked is not None
            and hello is not None
            and hello.mac
            and claimant.mac is not None
            and hello.mac != str(claimant.mac)
        )

    def _keep_waiting(self, claimant: Claimant, error: PeerError) -> None:
        now = self._clock()
        known = self._waiting.pop(claimant.key, None)
        while len(self._waiting) >= MAX_WAITING:
            self._waiting.popitem(last=False)
        first = now if known is None else known.first_seen
        self._waiting[claimant.key] = _Waiting(claimant, error, first, now)

    def _of_key(self, key: str) -> Entry | None:
        return next((one for one in self._bound() if one.record.key_fingerprint == key), None)

    def of_mac(self, mac: MacAddress | None) -> Entry | None:
        """Also a slot that a register tells of: its card could not read it."""
        return None if mac is None else next((one for one in self._roster if one.record.mac == mac), None)

    def _bound(self) -> list[Entry]:
        return [entry for entry in self._roster if entry.bound is not None]

    def free_slot(self, shelf: int) -> SlotId:
        """The first slot of the shelf that no card was seen in. Raises UsageError when all are taken."""
        number = 1
        while SlotId(number, shelf) in self._roster and not self._roster.get(SlotId(number, shelf)).vacant:
            number += 1
        slot = SlotId(number, shelf)
        self._settings.card_address(slot)
        return slot

    # Users.

    async def bind(self, slot: SlotId, wish: Wish) -> Entry:
        """Bind the slot; a card that was bound to another one leaves it. Raises UsageError."""
        self._settings.card_address(slot)
        if wish.mac is None and wish.key is None and wish.port is None:
            raise UsageError("nothing to bind to", where=f"slot {slot}", expected="--mac, --key or --port")
        known = self._roster.get(slot) if slot in self._roster else None
        if known is not None and known.bound is None and not known.vacant and wish.mac is not None:
            hint = "a slot that its chassis reports needs no binding: fwmgr cards"
            raise UsageError("the slot register says who sits here", where=f"slot {slot}", hint=hint)
        key = None if wish.key is None else self._whole_key(wish.key)
        waiting = self._waiting.get(key or "")
        mac = wish.mac or (None if waiting is None else waiting.claimant.mac)
        elsewhere = [
            entry
            for entry in self._bound()
            if entry.slot != slot
            and (
                (mac is not None and entry.record.mac == mac) or (key and entry.record.key_fingerprint == key)
            )
        ]
        key = key or next((e.record.key_fingerprint for e in elsewhere if e.record.key_fingerprint), None)
        entry = self._roster.get(slot) if slot in self._roster else None
        pinned = None if entry is None else entry.record.key_fingerprint
        decision = BINDS[pinned is not None and key not in (None, pinned), bool(elsewhere)]
        if decision is Bind.REFUSE:
            raise UsageError(
                "the slot is another card's",
                where=f"slot {slot}",
                expected="a slot without a key, or this card's",
                found=f"key {(pinned or '')[:16]}",
                hint=f"take that card out first: fwmgr card unbind {slot}",
            )
        board = wish.board or self._board(entry, waiting, elsewhere, mac)
        if board is not None and board not in self._boards:
            raise UsageError(
                "no such board", expected=f"one of {', '.join(sorted(self._boards))}", found=board
            )
        port = None if wish.port is None else self._check_port(slot, wish.port)
        for left in elsewhere:
            await self.unbind(left.slot)
        if entry is None:
            entry = self._roster.make(slot, self._clock())
        changes: dict[str, Any] = {"present": True}
        if board is not None:
            changes |= {"board": board, "cpu": self._boards[board].cpu}
        if mac is not None:
            changes["mac"] = mac
        if key is not None:
            changes |= {"key_fingerprint": key, "admission": Admission.PINNED}
        old = self._record(slot)
        record = replace(old, mac=mac or old.mac, port=port or old.port)
        await self._write(entry, record, **changes)
        if key is not None:
            self._waiting.pop(key, None)
        return entry

    async def unbind(self, slot: SlotId) -> Entry:
        """The slot is nobody's; what it should run stays for whoever comes. Raises UsageError."""
        entry = self._roster.get(slot)
        if entry.bound is None:
            raise UsageError("the slot is not bound", where=f"slot {slot}")
        if entry.link is not None:
            entry.link.drop()
            entry.link = None
        entry.hello = entry.refusal = None
        # The document stays: nothing is bound, and the slot still is one that no register tells of.
        await self._write(
            entry,
            BindingRecord(slot, self._clock()),
            mac=None,
            key_fingerprint=None,
            admission=Admission.OPEN,
            present=False,
            renewable=False,
        )
        return entry

    def _check_port(self, slot: SlotId, text: str) -> str:
        other = self._roster.ports.get(RelayPort.parse(text))
        if other not in (None, slot):
            hint = f"take it from there first: fwmgr card unbind {other}"
            raise UsageError("port is another slot's", found=f"slot {other}", where=text, hint=hint)
        return text

    def _record(self, slot: SlotId) -> BindingRecord:
        return self._records.get(slot) or BindingRecord(slot, self._clock())

    async def _write(self, entry: Entry, record: BindingRecord, **changes: Any) -> None:
        puts = [Put(record.key, record.to_document())]
        await self._roster.write_all([(entry, changes)], self._clock(), puts)
        self._take(entry, record)

    def _take(self, entry: Entry, record: BindingRecord) -> None:
        self._records[record.slot] = record
        entry.bound = record
        ports = {port: slot for port, slot in self._roster.ports.items() if slot != record.slot}
        if record.port is not None:
            ports[RelayPort.parse(record.port)] = record.slot
        self._roster.ports = ports

    def _whole_key(self, text: str) -> str:
        """The key that begins with these digits, among those that wait or are pinned. Raises UsageError."""
        known = {*self._waiting, *(e.record.key_fingerprint or "" for e in self._roster)} - {""}
        found = sorted(key for key in known if len(text) >= _LEAST_DIGITS and key.startswith(text.lower()))
        if len(found) == 1:
            return found[0]
        if not found and len(text) == _FINGERPRINT_DIGITS:
            return text.lower()
        raise UsageError(
            "no card with this key waits",
            expected=f"a whole key, or the first {_LEAST_DIGITS} digits or more of a single one that waits",
            found=text,
            hint="fwmgr cards shows those that wait",
        )

    def _board(
        self, entry: Entry | None, waiting: _Waiting | None, elsewhere: list[Entry], mac: MacAddress | None
    ) -> str | None:
        """What the card is, as far as it said so; None leaves it to the card's own word."""
        if waiting is not None and waiting.claimant.board in self._boards:
            return waiting.claimant.board
        if elsewhere and elsewhere[0].record.board is not None:
            return elsewhere[0].record.board
        guessed = [] if mac is None else self._guess_boards(mac)
        if len(guessed) == 1:
            return guessed[0]
        known = None if entry is None else entry.record.board
        if known is None and mac is not None:
            raise UsageError(
                "which board is it?",
                where=f"MAC {mac}",
                expected=f"--board, one of {', '.join(guessed or sorted(self._boards))}",
                found="a card that has not said it",
            )
        return None
