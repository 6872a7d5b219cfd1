"""DHCP leases that survive the master: netboot's `Leases` over the catalogue.

Knows the form of a lease and where it lies. Knows no DHCP and grants nothing itself.

The DHCP port answers when leases are on disk; the event loop goes on meanwhile. Reads come
from memory. One object has all leases of a catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final

from firmware_mgr.master.catalogue import Catalogue, Delete, Put
from firmware_mgr.master.schema import Schema
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot.served import Lease, LeaseState

LEASES: Final = "leases/"
#: Leases of others at the same addresses that one commit removes; more go with the next.
MAX_REMOVED: Final = 32


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A lease in JSON's types: `client_id` in hex, `expires_at` in seconds since 1970."""

    mac: MacAddress
    address: str
    client_id: str
    expires_at: int
    state: LeaseState


LEASE: Final = Schema("lease", LeaseRecord)


class CatalogueLeases:
    """A part of the master: `start` before anybody asks."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._leases: dict[MacAddress, Lease] = {}

    async def start(self) -> None:
        """Reads all leases. Raises PeerError when one of them is not in order."""
        listing = await self._catalogue.list(LEASES)
        leases = [read_lease(document.value, document.key) for document in listing]
        self._leases = {lease.mac: lease for lease in leases}

    async def stop(self) -> None:
        """Everything is on the disk already."""

    def get(self, mac: MacAddress) -> Lease | None:
        return self._leases.get(mac)

    async def keep(self, leases: Sequence[Lease]) -> None:
        """One commit for all of them. Raises DeviceError when the disk fails; then none is kept.

        An address has one lease, the last: behind a relay port whoever asks is the slot's card, and a
        machine that asks under ever new MACs must not fill the catalogue.
        """
        last = {lease.address: lease for lease in leases}
        kept = {lease.mac: lease for lease in last.values()}
        gone = [mac for mac, old in sorted(self._leases.items()) if old.address in last and mac not in kept][
            :MAX_REMOVED
        ]
        # To the disk first: what is in memory is answered with.
        await self._catalogue.transact(
            [],
            [
                *(Put(lease_key(mac), write_lease(lease)) for mac, lease in kept.items()),
                *(Delete(lease_key(mac)) for mac in gone),
            ],
        )
        self._leases = {mac: old for mac, old in self._leases.items() if mac not in gone} | kept

    def held(self) -> tuple[Lease, ...]:
        """All leases, by MAC."""
        return tuple(self._leases[mac] for mac in sorted(self._leases))


def lease_key(mac: MacAddress) -> str:
    return f"{LEASES}{mac}"


def write_lease(lease: Lease) -> dict[str, Any]:
    """The lease's document."""
    return LEASE.write(
        LeaseRecord(lease.mac, str(lease.address), lease.client_id.hex(), lease.expires_at, lease.state)
    )


def read_lease(value: Mapping[str, Any], where: str) -> Lease:
    """The lease of a document. Raises PeerError, or UsageError when it is newer than this program."""
    record = LEASE.read(value, where)
    try:
        address, client_id = IPv4Address(record.address), bytes.fromhex(record.client_id)
    except ValueError as e:
        raise PeerError("not a lease", where=where, found=e) from e
    return Lease(address, record.mac, client_id, record.expires_at, record.state)
