"""Clients that fit no card: why, what they are answered, and the few addresses that are lent to them.

Knows the table (reason, is it a loader) → answer, and which lent address is whose. Refuses to know where
strangers are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address
from types import MappingProxyType
from zlib import crc32

from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot.served import Subnet

LEASE_SECONDS = 120  # short: who has become a card shall soon ask again
OFFER_SECONDS = 20  # how long an offered address waits for its REQUEST
SKIP_SECONDS = 300  # how long an address that a stranger found in use is not lent


class Misfit(Enum):
    """Why a client is not served as a card."""

    UNKNOWN = "unknown"  # no card has its MAC, no slot is bound to its relay port
    WRONG_ARCHITECTURE = "wrong architecture"  # it is no client that the slot's board can be
    WRONG_SUBNET = "wrong subnet"  # it asks from another subnet than its slot's
    NO_IMAGE = "no image"  # nothing has been added that its board could boot
    ADDRESS_IN_USE = "address in use"  # the card itself said so a moment ago (DECLINE)
    ADDRESS_UNUSABLE = "address unusable"  # its slot's address is the server's, a router's or the relay's


class Answer(Enum):
    IGNORE = "ignore"  # not for us: no answer
    QUARANTINE = "quarantine"  # a short lease of a lent address, no boot file
    BARE = "bare"  # the slot's own address, no boot file
    REFUSE = "refuse"  # DISCOVER unanswered, REQUEST refused (NAK)


#: (why, is it a boot loader or behind a relay) → answer. Who is neither may be anybody's machine.
ANSWERS: Mapping[tuple[Misfit, bool], Answer] = MappingProxyType(
    {
        (Misfit.UNKNOWN, False): Answer.IGNORE,
        (Misfit.UNKNOWN, True): Answer.QUARANTINE,
        (Misfit.WRONG_ARCHITECTURE, False): Answer.QUARANTINE,  # cannot be: option 93 makes it a loader
        (Misfit.WRONG_ARCHITECTURE, True): Answer.QUARANTINE,
        (Misfit.WRONG_SUBNET, False): Answer.REFUSE,
        (Misfit.WRONG_SUBNET, True): Answer.QUARANTINE,
        (Misfit.NO_IMAGE, False): Answer.BARE,
        (Misfit.NO_IMAGE, True): Answer.BARE,
        (Misfit.ADDRESS_IN_USE, False): Answer.REFUSE,
        (Misfit.ADDRESS_IN_USE, True): Answer.REFUSE,
        (Misfit.ADDRESS_UNUSABLE, False): Answer.REFUSE,
        (Misfit.ADDRESS_UNUSABLE, True): Answer.QUARANTINE,
    }
)


@dataclass(frozen=True, slots=True)
class _Loan:
    address: IPv4Address
    until: float


class QuarantinePool:
    """Addresses lent to strangers, in memory. Times are seconds of one clock that never goes back."""

    def __init__(self) -> None:
        self._loans: dict[MacAddress, _Loan] = {}
        self._skipped: dict[IPv4Address, float] = {}

    def spare(
        self, mac: MacAddress, subnet: Subnet, now: float, barred: Iterable[IPv4Address] = ()
    ) -> IPv4Address | None:
        """The address lent to `mac`, or one that could be; None when none is free.

        A MAC is drawn to the same address again, also by another master: few renewals meet a stranger there.
        """
        self._forget(now)
        held = self._loans.get(mac)
        if held is not None and held.address in subnet.quarantine:
            return held.address
        taken = {loan.address for loan in self._loans.values()} | set(self._skipped) | set(barred)
        start = crc32(mac.to_bytes())
        count = len(subnet.quarantine)
        drawn = (subnet.quarantine[(start + i) % count] for i in range(count))
        return next((address for address in drawn if address not in taken), None)

    def lend(self, mac: MacAddress, address: IPv4Address, until: float) -> None:
        held = self._loans.get(mac)
        if held is not None and held.address == address:
            until = max(until, held.until)
        self._loans[mac] = _Loan(address, until)

    def declined(self, mac: MacAddress, now: float) -> None:
        """The stranger says that the address lent to it is in use by another machine."""
        loan = self._loans.pop(mac, None)
        if loan is not None and loan.until > now:
            self._skipped[loan.address] = now + SKIP_SECONDS

    def _forget(self, now: float) -> None:
        self._loans = {mac: loan for mac, loan in self._loans.items() if loan.until > now}
        self._skipped = {address: until for address, until in self._skipped.items() if until > now}
