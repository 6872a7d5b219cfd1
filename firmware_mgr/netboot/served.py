"""What netboot is told: cards with their files, the server's own address, leases.

Knows values and two seams that the master fills. Refuses to know where a card's software comes from, and any
file name of a client's making.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Protocol

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, Digest, MacAddress, SlotId

MIN_LEASE_SECONDS = 60
MAX_LEASE_SECONDS = 0xFFFF_FFFE  # all ones means "for ever", RFC 2131 §3.3
MAX_HOSTNAME = 63  # one DNS label, RFC 1035 §2.3.4
MAX_BOOT_FILE = 255


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes on the master's disk: `length` bytes of `path` from `offset` on, whose SHA-256 is `digest`."""

    digest: Digest
    length: int
    path: Path
    offset: int = 0

    def __post_init__(self) -> None:
        if self.length < 0 or self.offset < 0:
            raise UsageError(
                "blob outside its file", where=str(self.path), expected="length and offset of 0 or more"
            )


def _check_text(what: str, text: str, longest: int, where: str) -> None:
    if len(text) > longest or not text.isascii() or not (text.isprintable() or text == ""):
        raise UsageError(
            f"{what} cannot be sent",
            where=where,
            expected=f"printable ASCII, {longest} characters at most",
            found=repr(text),
        )


@dataclass(frozen=True, slots=True)
class BootFile:
    """A row of a board's table: clients of that name boot `file`. `is_ipxe`: the file is iPXE itself."""

    client: str
    file: str
    is_ipxe: bool = False


@dataclass(frozen=True, slots=True)
class ServedCard:
    """A card as netboot sees it. `files` maps names to blobs; nothing else is served to it.

    `mac` is None while no card was seen in the slot: it is then found by its relay port.

    `client_architectures` are the values of DHCP option 93 (RFC 4578 §2.1) that fit the board;
    `boot_file` is for clients that no row of `boot_files` is for; empty: none.
    `refused_tftp_options` are lower-case names of TFTP options that its loader asks for and cannot do;
    `max_tftp_blocks` as many as it can count in one file, None when its block numbers wrap.
    """

    slot: SlotId
    mac: MacAddress | None
    board: str
    arch: CpuArch
    address: IPv4Address
    hostname: str
    boot_file: str
    files: Mapping[str, Blob]
    client_architectures: frozenset[int]
    refused_tftp_options: frozenset[str] = frozenset()
    max_tftp_blocks: int | None = None
    boot_files: tuple[BootFile, ...] = ()

    def __post_init__(self) -> None:
        where = f"slot {self.slot}"
        _check_text("host name", self.hostname, MAX_HOSTNAME, where)
        for name in (self.boot_file, *(row.file for row in self.boot_files)):
            _check_text("boot file name", name, MAX_BOOT_FILE, where)


class Directory(Protocol):
    """Finds the card that asks. Answers from memory: it is called for each packet."""

    def card_by_mac(self, mac: MacAddress) -> ServedCard | None: ...

    def card_by_address(self, address: IPv4Address) -> ServedCard | None: ...

    def card_by_port(self, remote_id: bytes, circuit_id: bytes) -> ServedCard | None:
        """The card of the slot that is bound to this port of a relay."""


class MemoryDirectory:
    """Cards in memory: the twin. Stricter than a catalogue: no MAC, address or port may stand twice."""

    def __init__(self, cards: Iterable[ServedCard] = ()) -> None:
        self._by_mac: dict[MacAddress, ServedCard] = {}
        self._by_address: dict[IPv4Address, ServedCard] = {}
        self._by_port: dict[tuple[bytes, bytes], ServedCard] = {}
        for card in cards:
            self.add(card)

    def add(self, card: ServedCard) -> None:
        """Raises UsageError when the MAC or the address belongs to a card already."""
        if card.mac in self._by_mac or card.address in self._by_address:
            raise UsageError(
                "MAC or address of another card",
                where=f"slot {card.slot}",
                found=f"{card.mac}, {card.address}",
            )
        if card.mac is not None:
            self._by_mac[card.mac] = card
        self._by_address[card.address] = card

    def bind(self, card: ServedCard, remote_id: bytes, circuit_id: bytes) -> None:
        """Bind a card that was added to a relay port. Raises UsageError when that cannot be."""
        if self._by_address.get(card.address) is not card or (remote_id, circuit_id) in self._by_port:
            raise UsageError("relay port of another card, or no card here", where=f"slot {card.slot}")
        self._by_port[remote_id, circuit_id] = card

    def card_by_mac(self, mac: MacAddress) -> ServedCard | None:
        return self._by_mac.get(mac)

    def card_by_address(self, address: IPv4Address) -> ServedCard | None:
        return self._by_address.get(address)

    def card_by_port(self, remote_id: bytes, circuit_id: bytes) -> ServedCard | None:
        return self._by_port.get((remote_id, circuit_id))


@dataclass(frozen=True, slots=True)
class Subnet:
    """A network that cards sit on, and its router if any. `quarantine`: addresses lent to strangers."""

    network: IPv4Network
    router: IPv4Address | None = None
    quarantine: tuple[IPv4Address, ...] = ()

    def __post_init__(self) -> None:
        for what, address in (("router", self.router), *(("quarantine", one) for one in self.quarantine)):
            if address is not None and (address not in self.network or address in self.unusable):
                raise UsageError(f"{what} outside its network", expected=f"in {self.network}", found=address)

    @property
    def unusable(self) -> tuple[IPv4Address, IPv4Address]:
        """The network's own address, and that for all of it."""
        return self.network.network_address, self.network.broadcast_address


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """The server on the backplane. `router` is left out of replies when there is none.

    `http_port` is where the same files are had by HTTP. `subnets` are those beyond relays, `relays` the
    addresses of relays that stand in no subnet, `quarantine` those lent to strangers on its own network.
    """

    address: IPv4Address
    network: IPv4Network
    lease_seconds: int = 3600
    domain: str = ""
    router: IPv4Address | None = None
    http_port: int = 80
    subnets: tuple[Subnet, ...] = ()
    relays: frozenset[IPv4Address] = frozenset()
    quarantine: tuple[IPv4Address, ...] = ()
    subnet: Subnet = field(init=False, repr=False)  # the one it stands in

    def subnet_of(self, address: IPv4Address) -> Subnet | None:
        """The subnet that `address` is in, None when it is not the rack's."""
        return next((one for one in (self.subnet, *self.subnets) if address in one.network), None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subnet", Subnet(self.network, self.router, self.quarantine))
        networks = [self.network, *(one.network for one in self.subnets)]
        if any(one.overlaps(other) for i, one in enumerate(networks) for other in networks[:i]):
            raise UsageError("subnets overlap", found=", ".join(map(str, networks)))
        if self.address not in self.network:
            raise UsageError("server outside its network", expected=f"in {self.network}", found=self.address)
        if not self.domain.isascii() or not (self.domain.isprintable() or not self.domain):
            raise UsageError("domain cannot be sent", expected="printable ASCII", found=repr(self.domain))
        if not MIN_LEASE_SECONDS <= self.lease_seconds <= MAX_LEASE_SECONDS:
            raise UsageError(
                "lease time out of range",
                expected=f"{MIN_LEASE_SECONDS} to {MAX_LEASE_SECONDS} s",
                found=self.lease_seconds,
            )


class LeaseState(Enum):
    BOUND = "bound"
    RELEASED = "released"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Lease:
    """What a card was last given or said of its address.

    `expires_at` in unix seconds; for a declined address the end of the time for which it is set aside.
    `client_id` is option 61 as it came, empty when there was none.
    """

    address: IPv4Address
    mac: MacAddress
    client_id: bytes
    expires_at: int
    state: LeaseState


class Leases(Protocol):
    """Durable leases, one per card: a card that asks under several client identifiers is one card."""

    def get(self, mac: MacAddress) -> Lease | None:
        """From memory: it is called for each packet."""

    async def keep(self, leases: Sequence[Lease]) -> None:
        """Returns when all would survive a power cut; FwmgrError when none is kept. Each of another MAC.

        An address has one lease, the last: whoever asks from a slot's relay port is its card.
        """


class MemoryLeases:
    """Leases in memory: the twin. Stricter: one call at a time, or an earlier lease could win."""

    def __init__(self) -> None:
        self._leases: dict[MacAddress, Lease] = {}
        self._keeping = False

    def get(self, mac: MacAddress) -> Lease | None:
        return self._leases.get(mac)

    async def keep(self, leases: Sequence[Lease]) -> None:
        if self._keeping or len({lease.mac for lease in leases}) < len(leases):
            raise UsageError("leases are kept one call after the other, each MAC once in a call")
        self._keeping = True
        await asyncio.sleep(0)
        for lease in leases:
            for mac in [mac for mac, old in self._leases.items() if old.address == lease.address]:
                if mac != lease.mac:
                    del self._leases[mac]
            self._leases[lease.mac] = lease
        self._keeping = False

    def held(self) -> tuple[Lease, ...]:
        """All leases, in the order of their first arrival."""
        return tuple(self._leases.values())
