"""The gate: enrolment, who is let in at which slot, and who was refused with which words.

Knows certificates, addresses and the admission table's answers. The table is `admission`.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from firmware_mgr.master.admission import Door, Entry, Shown, decide_entry, refusal, shown_as
from firmware_mgr.master.bindings import Bindings, Claimant
from firmware_mgr.master.documents import Admission
from firmware_mgr.master.engine import Engine
from firmware_mgr.master.log_guard import LogGuard, Saying
from firmware_mgr.master.roster import Entry as SlotEntry
from firmware_mgr.master.trust import Authority, key_fingerprint
from firmware_mgr.master.wanted import CARRIED_OVER
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import MacAddress, SlotId

log = logging.getLogger(__name__)

#: Refusals that are kept to be shown.
KEPT_REFUSALS = 100
#: Characters of each text in it: some of them come from whoever was refused.
MAX_REFUSAL = 500


class Gate:
    def __init__(self, engine: Engine, authority: Authority, bindings: Bindings) -> None:
        self._engine = engine
        self._bindings = bindings
        self._authority = authority
        self.refusals: list[dict[str, str]] = []
        self._log_guard = LogGuard()

    async def enrol(self, address: str, document: dict[str, Any]) -> tuple[str, SlotId, Shown]:
        """The certificate for a card that asks, as PEM, and whose key it is. Raises PeerError."""
        where = f"enrolment from {address}"
        try:
            named = document.get("slot")
            slot = None if named is None else SlotId.parse(str(named))
            mac = None if document.get("mac") in (None, "") else MacAddress(str(document["mac"]))
            request = x509.load_pem_x509_csr(str(document.get("csr")).encode())
            fingerprint = key_fingerprint(request.public_key())
        except (UsageError, ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as e:
            raise PeerError("enrolment request is unusable", where=where, found=str(e)[:MAX_REFUSAL]) from e
        if slot is None:
            # The key's own proof comes first: nobody shall be bound, or shown, by another's key.
            self._authority.check_request(str(document["csr"]), where)
            claimant = Claimant(mac, fingerprint, str(document.get("board"))[:64], address)
            entry = await self._recognise(claimant)
            slot = entry.slot
            if entry.record.key_fingerprint != fingerprint:
                self.at_address(slot, address, where)
        else:
            entry = self.at_address(slot, address, where)
        # Signed first: a request that is not by its own key, or of a wrong kind, must not pin anything.
        certificate = self._authority.sign_card_certificate(str(document["csr"]), slot)
        return certificate, slot, await self.let_in(entry, fingerprint)

    async def _recognise(self, claimant: Claimant) -> SlotEntry:
        try:
            return await self._bindings.recognise(claimant)
        except PeerError as e:
            self.note(e)
            raise

    async def recognise_link(self, entry: SlotEntry, claimant: Claimant) -> None:
        """A card that enrolled earlier says hello: its MAC may be new, or another card be there already."""
        if entry.bound is not None and await self._recognise(claimant) is not entry:
            error = PeerError("card's certificate is for another slot", where=f"slot {entry.slot}")
            self.note(error)
            raise error

    def at_address(self, slot: SlotId, address: str, where: str, fingerprint: str | None = None) -> SlotEntry:
        """The entry of the slot whose address a card has. Raises PeerError when it speaks for another.

        Where no register tells of the slot, its own key counts, at whatever address.
        """
        entry = self._engine.roster.by_address(address)
        if slot in self._engine.roster:
            own = self._engine.roster.get(slot)
            if own.bound is not None and fingerprint and own.record.key_fingerprint == fingerprint:
                return own
        if entry is None or entry.slot != slot:
            found = "no slot" if entry is None else f"slot {entry.slot}"
            error = PeerError(
                "card does not sit where it says",
                where=where,
                expected=f"slot {slot}",
                found=f"the address of {found}",
            )
            self.note(error)
            raise error
        return entry

    async def let_in(self, entry: SlotEntry, fingerprint: str) -> Shown:
        """Admit the key, pinning it where the table says so; what it is to the slot.

        Raises PeerError; the refused key waits for approval then.
        """
        record = entry.record
        door = Door(entry.slot, record.admission, record.key_fingerprint, record.renewable)
        decision = decide_entry(door, fingerprint)
        if decision is Entry.REFUSE:
            error = refusal(door, fingerprint)
            entry.refusal = {**error.document(), "fingerprint": fingerprint}
            self.note(error)
            raise error
        entry.refusal = None
        if decision is Entry.PIN:
            admission = Admission.PINNED if record.admission is Admission.OPEN else record.admission
            await self._pin(entry, fingerprint, admission=admission, renewable=False)
        return shown_as(door, fingerprint)

    async def _pin(self, entry: SlotEntry, fingerprint: str, **changes: Any) -> None:
        """The key is the slot's from now on; another card does not answer for its predecessor's failures."""
        if not CARRIED_OVER[(entry.record.key_fingerprint == fingerprint, True)].failures:
            changes["rejected"] = ()
            entry.life = replace(entry.life, tries=0)
        await self._engine.roster.write(entry, self._engine.clock(), key_fingerprint=fingerprint, **changes)

    async def approve(self, slot: SlotId, key: str | None = None) -> SlotEntry:
        """Let in the key that was refused last; it must begin with `key` if given. Raises UsageError."""
        entry = self._engine.roster.get(slot)
        fingerprint = (entry.refusal or {}).get("fingerprint")
        if fingerprint is None:
            raise UsageError("no card waits for approval here", where=f"slot {slot}")
        if key is not None and not fingerprint.startswith(key):
            raise UsageError(
                "another key waits here", where=f"slot {slot}", expected=key, found=fingerprint[:16]
            )
        await self._pin(entry, fingerprint)
        entry.refusal = None
        self._engine.drop_link(entry)
        return entry

    def note(self, error: PeerError) -> None:
        """Keep a refusal to be shown."""
        saying = self._log_guard.judge((error.what, error.where), self._engine.monotonic())
        if saying is not Saying.BE_SILENT:
            log.warning("refused: %s", error)
        if saying is Saying.LAST:
            log.warning("more refusals are not logged for a minute: fwmgr master status shows the last ones")
        document = {name: text[:MAX_REFUSAL] for name, text in error.document().items()}
        self.refusals = [*self.refusals[1 - KEPT_REFUSALS :], document]

    def refused_link(self, address: str, error: PeerError) -> None:
        """A connection that did not get as far as a hello."""
        self.note(error)
        entry = self._engine.roster.by_address(address)
        if entry is not None and "fingerprint" not in (entry.refusal or {}):
            entry.refusal = error.document()
