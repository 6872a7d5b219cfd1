"""The words in which a card without a slot register is told why it is not let in yet. Pure."""

from __future__ import annotations

from firmware_mgr.master.binding import Claim
from firmware_mgr.master.roster import Entry
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import MacAddress


def waits_to_be_bound(
    claim: Claim, address: str, mac: MacAddress | None, key: str, of: tuple[Entry | None, Entry | None]
) -> PeerError:
    """For the card and for the user. `of`: whose key, and whose MAC it is."""
    where, found = f"card at {address}", f"MAC {mac}, key {key[:16]}"
    by_key, by_mac = ("no slot" if entry is None else f"slot {entry.slot}" for entry in of)
    if claim is Claim.WAIT:
        return PeerError(
            "no slot is bound to this card",
            where=where,
            expected="a slot bound to its MAC or its key",
            found=found,
            hint=f"fwmgr card bind SLOT --key {key[:16]}",
        )
    if claim is Claim.TWICE:
        slot = by_key if of[0] is not None else by_mac
        return PeerError(
            "two cards claim one slot",
            where=where,
            expected=f"one card with the key of {slot}",
            found=f"{found}, and a linked card with another MAC",
            hint="one flash is a copy of the other: take one out, then fwmgr burn-all --renew-keys",
        )
    return PeerError(
        "key and MAC are of different slots",
        where=where,
        expected=f"the MAC of {by_key}, whose key it shows",
        found=f"the MAC of {by_mac}",
        hint="say where the card is: fwmgr card bind SLOT --key " + key[:16],
    )
