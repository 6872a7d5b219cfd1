"""What the master is told when it starts: addresses, limits, boards. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network

from firmware_mgr.link import messages as m
from firmware_mgr.master.card_life import NO_NEEDS, Deadlines
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import CpuArch, SlotId
from firmware_mgr.model.lifecycle import CardState
from firmware_mgr.model.pristine import STORE_FIRST, Provisioning
from firmware_mgr.netboot.served import BootFile, ServerIdentity, Subnet

#: Numbers of addresses lent to strangers: from the first up to, not with, the second.
_QUARANTINE = (212, 252)


@dataclass(frozen=True, slots=True)
class BoardFacts:
    """What the master needs of a board file.

    `client_architectures` are values of DHCP option 93, `vendor_classes` beginnings of option 60,
    `refused_tftp_options` TFTP options that its loader asks for and cannot do. A loader whose block numbers
    do not wrap counts to `max_tftp_blocks`, with blocks of `tftp_block_size` bytes. `needs` are seconds that
    a start of it may take in a state, where that is more than the master's limit.
    """

    name: str
    cpu: CpuArch
    client_architectures: frozenset[int]
    boot_file: str
    boot_files: tuple[BootFile, ...] = ()
    vendor_classes: tuple[str, ...] = ()
    refused_tftp_options: frozenset[str] = frozenset()
    max_tftp_blocks: int | None = None
    tftp_block_size: int = 512
    provisioning: Provisioning = STORE_FIRST
    needs: Mapping[CardState, float] = field(default_factory=lambda: NO_NEEDS)

    @property
    def longest_file(self) -> int | None:
        """Bytes of the longest file that the board's loader can fetch by TFTP; None: any."""
        blocks = self.max_tftp_blocks
        return None if blocks is None else blocks * self.tftp_block_size - 1  # the last block is a short one

    def check_lengths(self, files: Mapping[str, int], where: str) -> None:
        """Raises PeerError when a file that netboot would serve is longer than the loader can fetch."""
        for name, length in sorted(files.items()):
            if self.longest_file is not None and length > self.longest_file:
                raise PeerError(
                    "file is too long for the board's loader",
                    where=f"{where}: {name}",
                    expected=f"at most {self.longest_file} bytes",
                    found=f"{length} bytes, over {self.max_tftp_blocks} blocks of {self.tftp_block_size}",
                    hint="make it smaller, or have the loader fetch it by HTTP or in larger blocks",
                )


@dataclass(frozen=True, slots=True)
class Wiring:
    """What lies between master and cards: the router on the master's network, shelves (by number) that have a
    subnet of their own behind a relay, and addresses of relays that stand in none of these."""

    router: IPv4Address | None = None
    shelves: Mapping[int, Subnet] = field(default_factory=dict)
    relays: frozenset[IPv4Address] = frozenset()

    @classmethod
    def parse(cls, router: str | None, subnets: Sequence[str], relays: Sequence[str]) -> Wiring:
        """From the command line; a subnet is SHELF=NETWORK or SHELF=NETWORK,ROUTER. Raises UsageError."""
        shelves: dict[int, Subnet] = {}
        try:
            for text in subnets:
                shelf, _, rest = text.partition("=")
                network, _, gateway = rest.partition(",")
                if int(shelf) < 1 or int(shelf) in shelves:
                    raise ValueError(f"shelf {shelf} is given twice, or is no shelf")
                gate = IPv4Address(gateway) if gateway else None
                shelves[int(shelf)] = Subnet(IPv4Network(network), gate)
            return cls(
                IPv4Address(router) if router else None,
                shelves,
                frozenset(IPv4Address(one) for one in relays),
            )
        except ValueError as e:
            raise UsageError(
                "unusable --router, --subnet or --relay",
                expected="such as 10.77.0.254, 2=10.78.0.0/24,10.78.0.254 and 192.0.2.7",
                found=str(e),
            ) from e


@dataclass(frozen=True, slots=True)
class LinkPorts:
    """Port 0 takes any free one (tests)."""

    link: int = m.LINK_PORT
    enrol: int = m.ENROL_PORT
    bulk: int = m.BULK_PORT


@dataclass(frozen=True, slots=True)
class Settings:
    """`trial_tries`: how often the loader starts a new boot image before it goes back (R-4.11).

    `no_master_policy` is what cards do when no master answers for `no_master_seconds`: `wait`, or `run` their
    last validated set.
    """

    address: IPv4Address
    network: IPv4Network
    deadlines: Deadlines = field(default_factory=Deadlines)
    trial_tries: int = 2
    no_master_policy: str = "wait"
    no_master_seconds: float = 0.0
    ports: LinkPorts = field(default_factory=LinkPorts)
    poll_seconds: float = 2.0
    adopt: int | None = None  # unknown cards get the next free slot of this shelf
    wiring: Wiring = field(default_factory=Wiring)
    accept_test: bool = False  # whether packages that are signed for tests are taken

    def card_address(self, slot: SlotId) -> IPv4Address:
        """Each slot has its own: the network address plus 10 plus the slot number; 200 slots a shelf.

        A shelf with a subnet of its own has them there, all others in the master's network, 256 a shelf.
        """
        subnet = self.wiring.shelves.get(slot.shelf)
        network = self.network if subnet is None else subnet.network
        shelf = slot.shelf - 1 if subnet is None else 0
        address = network.network_address + (10 + slot.number + 256 * shelf)
        if slot.number > 200 or address not in network or address >= network.broadcast_address:
            raise UsageError(
                "no address for this slot",
                where=f"slot {slot}",
                expected=f"in {network}",
                found=address,
                hint="slots 1 to 200 of a shelf have addresses; for more shelves, a larger network "
                f"(--address, a /22 holds four) or one of its own (--subnet {slot.shelf}=NETWORK)",
            )
        return address

    def server_identity(self) -> ServerIdentity:
        """What netboot is told of the master and its networks. Raises UsageError."""
        wiring, own = self.wiring, self.address
        return ServerIdentity(
            own,
            self.network,
            router=wiring.router,
            quarantine=quarantine_range(self.network, own, wiring.router),
            subnets=tuple(
                replace(subnet, quarantine=quarantine_range(subnet.network, subnet.router))
                for _, subnet in sorted(wiring.shelves.items())
            ),
            relays=wiring.relays,
        )


def quarantine_range(network: IPv4Network, *barred: IPv4Address | None) -> tuple[IPv4Address, ...]:
    """The addresses that may be lent to strangers: behind those of the first shelf, which end at 210."""
    last = network.num_addresses - 2
    lent = (network.network_address + number for number in range(*_QUARANTINE) if number <= last)
    return tuple(address for address in lent if address not in barred)
