"""Cards on a network without a slot register (R-1.7): who may speak for which slot. Document and table.

A slot is bound to a MAC, a key, a relay port, or several of these. The key proves; a MAC is what the network
says, and binds until the first key is pinned. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from firmware_mgr.master.schema import Schema
from firmware_mgr.model.ids import MacAddress, SlotId

BINDINGS: Final = "bindings/"


@dataclass(frozen=True, slots=True)
class BindingRecord:
    """A slot that no register tells of. Its key, once there is one, stands in the card's record. `port` is a
    relay's, as hexadecimal REMOTE/CIRCUIT.
    """

    slot: SlotId
    bound_at: float
    mac: MacAddress | None = None
    port: str | None = None

    @property
    def key(self) -> str:
        return f"{BINDINGS}{self.slot}"

    def to_document(self) -> dict[str, Any]:
        return BINDING.write(self)

    @classmethod
    def from_document(cls, value: Mapping[str, Any], where: str = "binding") -> BindingRecord:
        """Raises PeerError, or UsageError when it is newer than this program."""
        return BINDING.read(value, where)


BINDING: Final = Schema("binding", BindingRecord)


class Showing(Enum):
    """What a card's key and MAC say of slots."""

    NOTHING = "nothing"  # neither is known
    KEY = "its key alone"  # the slot's card with another MAC
    MAC = "its MAC alone"  # the slot's own door decides about the key
    SAME = "key and MAC of one slot"
    APART = "the key of one slot and the MAC of another"


class Claim(Enum):
    """What follows for a card that says who it is."""

    DOOR = "speaks for the slot, if its key is let in"
    NEW_MAC = "speaks for the slot, which is bound to its new MAC from now on"
    WAIT = "waits to be bound"
    TWICE = "refused: another card speaks for the slot with the same key"
    TORN = "refused: its key and its MAC are of different slots"


#: (what it shows, the slot's card is linked from another MAC) -> what follows. Total.
CLAIMS: dict[tuple[Showing, bool], Claim] = {
    (Showing.NOTHING, False): Claim.WAIT,
    (Showing.NOTHING, True): Claim.WAIT,
    (Showing.KEY, False): Claim.NEW_MAC,
    (Showing.KEY, True): Claim.TWICE,
    (Showing.MAC, False): Claim.DOOR,
    (Showing.MAC, True): Claim.TWICE,
    (Showing.SAME, False): Claim.DOOR,
    (Showing.SAME, True): Claim.TWICE,
    (Showing.APART, False): Claim.TORN,
    (Showing.APART, True): Claim.TORN,
}


def showing(key_slot: SlotId | None, mac_slot: SlotId | None) -> Showing:
    if key_slot is None:
        return Showing.NOTHING if mac_slot is None else Showing.MAC
    if mac_slot is None:
        return Showing.KEY
    return Showing.SAME if key_slot == mac_slot else Showing.APART


class Bind(Enum):
    """What a user's binding does."""

    BIND = "bind"
    MOVE = "bind, and leave the slot that it was bound to"
    REFUSE = "refuse: the slot is another card's"


#: (the slot has a key, and not this card's; the card is bound to another slot) -> what a binding does. Total.
BINDS: dict[tuple[bool, bool], Bind] = {
    (False, False): Bind.BIND,
    (False, True): Bind.MOVE,
    (True, False): Bind.REFUSE,
    (True, True): Bind.REFUSE,
}
