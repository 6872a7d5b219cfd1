"""Who may speak for a slot (design, choice 5). Pure.

Knows fingerprints of keys and a slot's admission, not certificates. A fingerprint is the SHA-256 of the key's
SubjectPublicKeyInfo in hex.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from firmware_mgr.master.documents import Admission
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import SlotId


class Shown(Enum):
    """What the key that a card shows is to its slot."""

    NEW = "new"  # the slot had none
    KEPT = "kept"
    RENEWED = "renewed"  # it had another one


class Entry(Enum):
    ADMIT = "admit"
    PIN = "pin"  # admit, and this key is the slot's from now on
    REFUSE = "refuse"


#: (a key is pinned already, it is this key, a burn-all asked for renewal) -> what to do.
_TABLE: dict[tuple[bool, bool, bool], Entry] = {
    (False, False, False): Entry.PIN,
    (False, False, True): Entry.PIN,
    (True, True, False): Entry.ADMIT,
    (True, True, True): Entry.ADMIT,
    (True, False, False): Entry.REFUSE,
    (True, False, True): Entry.PIN,
}


@dataclass(frozen=True, slots=True)
class Door:
    """A slot's door: the pinned key, if any, and whether a burn-all lets a new key in."""

    slot: SlotId
    admission: Admission
    pinned: str | None
    renewable: bool = False


def decide_entry(door: Door, fingerprint: str) -> Entry:
    """What to do with a card that shows this key. A slot approved by hand admits only its pinned key."""
    if door.admission is Admission.APPROVED and door.pinned != fingerprint:
        return Entry.REFUSE
    return _TABLE[(door.pinned is not None, door.pinned == fingerprint, door.renewable)]


def shown_as(door: Door, fingerprint: str) -> Shown:
    if door.pinned is None:
        return Shown.NEW
    return Shown.KEPT if door.pinned == fingerprint else Shown.RENEWED


def refusal(door: Door, fingerprint: str) -> PeerError:
    """The refusal in words, for the card and for the user."""
    expected = "a key approved by hand" if door.pinned is None else f"key {door.pinned[:16]}"
    return PeerError(
        "card shows another key than the one pinned for its slot",
        where=f"slot {door.slot}",
        expected=expected,
        found=f"key {fingerprint[:16]}",
        hint=f"if the card was swapped on purpose: fwmgr card approve {door.slot}",
    )
