"""DHCP leases that survive the master: netboot's `Leases` over the catalogue.

Knows the form of a lease and where it lies. Knows no DHCP and grants nothing itself.

The DHCP port may not answer before a lease is on disk, and its seam is a plain call; so a write here holds up
the event loop for one commit. Reads come from memory. One object has all leases of a catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any, Final, Protocol

from firmware_mgr.master.catalogue import Condition, Delete, Listing, Put
from firmware_mgr.master.schema import Schema
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot.served import Lease, LeaseState

LEASES: Final = "leases/"


class BlockingCatalogue(Protocol):
    """What leases need of a catalogue: the same as Catalogue's methods, for a caller that cannot await."""

    def list_blocking(self, prefix: str) -> Listing: ...

    def transact_blocking(self, conditions: Sequence[Condition], changes: Sequence[Put | Delete]) -> int: ...


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
    """Reads all leases when it is made. Raises PeerError when one of them is not in order."""

    def __init__(self, catalogue: BlockingCatalogue) -> None:
        self._catalogue = catalogue
        listing = catalogue.list_blocking(LEASES)
        leases = [read_lease(document.value, document.key) for document in listing]
        self._leases = {lease.mac: lease for lease in leases}

    def get(self, mac: MacAddress) -> Lease | None:
        return self._leases.get(mac)

    def put(self, lease: Lease) -> None:
        """Raises UsageError for a lease that should be released, and DeviceError when the disk fails."""
        if lease.state is LeaseState.RELEASED:
            raise UsageError("a lease is released by release(), not put()", found=lease.mac)
        self._keep(lease)

    def release(self, mac: MacAddress, now: int) -> None:
        lease = self._leases.get(mac)
        if lease is not None:
            self._keep(replace(lease, expires_at=now, state=LeaseState.RELEASED))

    def held(self) -> tuple[Lease, ...]:
        """All leases, by MAC."""
        return tuple(self._leases[mac] for mac in sorted(self._leases))

    def _keep(self, lease: Lease) -> None:
        # To the disk first: what is in memory is answered with.
        self._catalogue.transact_blocking([], [Put(lease_key(lease.mac), write_lease(lease))])
        self._leases[lease.mac] = lease


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
