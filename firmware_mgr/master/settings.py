"""What the master is told when it starts: addresses, limits, boards. Values only."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from firmware_mgr.link import messages as m
from firmware_mgr.master.card_life import Deadlines
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, SlotId
from firmware_mgr.netboot.served import BootFile


@dataclass(frozen=True, slots=True)
class BoardFacts:
    """What the master needs of a board file. `client_architectures` are values of DHCP option 93."""

    name: str
    cpu: CpuArch
    client_architectures: frozenset[int]
    boot_file: str
    boot_files: tuple[BootFile, ...] = ()


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

    def card_address(self, slot: SlotId) -> IPv4Address:
        """Each slot has its own: the network address plus 10 plus the slot number; 200 slots a shelf."""
        number = 10 + slot.number + 256 * (slot.shelf - 1)
        address = self.network.network_address + number
        if slot.number > 200 or address not in self.network or address >= self.network.broadcast_address:
            raise UsageError(
                "no address for this slot", where=f"slot {slot}", expected=f"in {self.network}", found=address
            )
        return address
