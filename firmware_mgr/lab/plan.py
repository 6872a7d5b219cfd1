"""What a virtual chassis shall be, and where its files lie. Checked once, before anything is made.

Knows names, limits and paths. Refuses to know networks, machines and the state of anything.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import MacAddress, SlotId

#: Longest path of a Unix socket in bytes: sockaddr_un's 108 less the closing zero (unix(7)).
LONGEST_SOCKET_PATH = 107
#: The slot's and the shelf's number are one byte each of the card's MAC address.
LARGEST_NUMBER = 255
#: The last second that QEMU's clocks take: the end of the year 9999.
LAST_MOMENT = 253_402_300_799
#: The first four bytes of a virtual card's MAC address; 52:54:00 is QEMU's own, locally administered.
MAC_PREFIX = bytes.fromhex("525400f7")


def mac_of(slot: SlotId) -> MacAddress:
    """The MAC address of the card that `slot` comes with. Raises UsageError when a number exceeds a byte."""
    if max(slot.number, slot.shelf) > LARGEST_NUMBER:
        raise UsageError(
            "slot does not fit a MAC address", expected=f"numbers up to {LARGEST_NUMBER}", found=slot
        )
    return MacAddress.from_bytes(MAC_PREFIX + bytes((slot.shelf, slot.number)))


def label(slot: SlotId) -> str:
    """The slot in names of files, taps and machines: `3`, or `2-3` on shelf 2."""
    return str(slot).replace("/", "-")


@dataclass(frozen=True, slots=True)
class ChassisPaths:
    """The files of one chassis directory."""

    directory: Path

    @property
    def record(self) -> Path:
        return self.directory / "chassis.json"

    @property
    def pid(self) -> Path:
        return self.directory / "chassis.pid"

    @property
    def api_socket(self) -> Path:
        return self.directory / "api.sock"

    @property
    def daemon_log(self) -> Path:
        return self.directory / "daemon.log"

    @property
    def drawer(self) -> Path:
        """Where cards lie that were taken out."""
        return self.directory / "drawer"

    def slot(self, slot: SlotId) -> SlotPaths:
        return SlotPaths(self.directory / f"slot-{label(slot)}")


@dataclass(frozen=True, slots=True)
class SlotPaths:
    """The files of one slot's directory."""

    directory: Path

    @property
    def flash(self) -> Path:
        return self.directory / "flash.img"

    @property
    def environment(self) -> Path:
        return self.directory / "env.img"

    @property
    def variables(self) -> Path:
        return self.directory / "vars.fd"

    @property
    def console_log(self) -> Path:
        return self.directory / "console.log"

    @property
    def console_socket(self) -> Path:
        return self.directory / "console.sock"

    @property
    def qmp_socket(self) -> Path:
        return self.directory / "qmp.sock"

    @property
    def qemu_log(self) -> Path:
        return self.directory / "qemu.log"

    @property
    def last_capture(self) -> Path:
        return self.directory / "net.pcap"

    def capture(self, power_on_count: int) -> Path:
        return self.directory / f"net-{power_on_count}.pcap"

    def writes(self, power_on_count: int) -> Path:
        return self.directory / f"writes-{power_on_count}.log"


@dataclass(frozen=True, slots=True)
class ChassisPlan:
    """What `fwmgr chassis up` asks for.

    `cards` slots on each of `shelves` shelves, of which `shelf` is the first. `boards` are names of boards or
    paths of board files, dealt out to the slots in turn. `address` is the master's on the backplane, with
    prefix length. `memory_mib` None means the board's own. `rootless` asks for a user namespace. Without a
    `backplane` no card can read its slot, and nobody is told which card sits where (R-1.7). `sim`: cards are
    in-process twins (docs/SIM.md). `clocks` are what cards' clocks show when their power comes, in seconds
    since 1970, dealt out to the slots in turn.
    in-process twins (docs/SIM.md). `record_writes`: what each power-on writes to flash is logged.
    """

    directory: Path
    cards: int
    boards: tuple[str, ...]
    shelf: int = 1
    shelves: int = 1
    backplane: bool = True
    address: str = "10.77.0.1/24"
    capture: bool = False
    memory_mib: int | None = None
    pristine: bool = False
    rootless: bool = False
    sim: bool = False
    clocks: tuple[int, ...] = (0,)
    record_writes: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.cards <= LARGEST_NUMBER:
            raise UsageError(
                "number of cards out of range", expected=f"1 to {LARGEST_NUMBER}", found=self.cards
            )
        if not self.boards:
            raise UsageError("a chassis without boards", expected="one board or more")
        if self.shelf < 1 or not 1 <= self.shelves <= LARGEST_NUMBER + 1 - self.shelf:
            raise UsageError(
                "number of shelves out of range",
                expected=f"shelves 1 to {LARGEST_NUMBER}",
                found=f"{self.shelves} from shelf {self.shelf} on",
            )
        try:
            interface = ipaddress.IPv4Interface(self.address)
        except ValueError as e:
            raise UsageError(
                "not an address on the backplane", expected="such as 10.77.0.1/24", found=self.address
            ) from e
        if interface.network.num_addresses < self.cards * self.shelves + 3:
            raise UsageError(
                "the backplane's network is too small",
                where=self.address,
                expected=f"room for {self.cards * self.shelves} cards",
                found=f"{interface.network.num_addresses} addresses",
            )
        if self.memory_mib is not None and self.memory_mib < 128:
            raise UsageError(
                "too little memory for a card", expected="128 MiB or more", found=self.memory_mib
            )
        if not self.clocks or not all(0 <= clock <= LAST_MOMENT for clock in self.clocks):
            raise UsageError(
                "not what a clock can show", expected="moments of the years 1970 to 9999", found=self.clocks
            )
        own = self.memory_mib is not None or any(self.clocks)
        if self.sim and (self.capture or self.record_writes or not self.backplane or own):
            raise UsageError(
                "in-process cards have no taps, memory and clocks of their own, and always know their slot",
                expected="--sim without --capture, --record-writes, --no-backplane, --memory and --clock",
            )
        if not self.directory.is_absolute():
            raise UsageError("the chassis directory is not absolute", found=self.directory)
        for slot in self.slots:
            mac_of(slot)
        check_socket_path(self.paths.slot(self.slots[-1]).console_socket)

    @property
    def slots(self) -> tuple[SlotId, ...]:
        return tuple(
            SlotId(number, shelf)
            for shelf in range(self.shelf, self.shelf + self.shelves)
            for number in range(1, self.cards + 1)
        )

    def board_of(self, slot: SlotId) -> str:
        """The board that the slot comes with."""
        return self.boards[self.slots.index(slot) % len(self.boards)]

    def clock_of(self, slot: SlotId) -> int:
        """What the clock of the card in that slot shows when its power comes."""
        return self.clocks[self.slots.index(slot) % len(self.clocks)]

    @property
    def paths(self) -> ChassisPaths:
        return ChassisPaths(self.directory)

    def document(self) -> dict[str, Any]:
        return {
            "directory": str(self.directory),
            "cards": self.cards,
            "boards": list(self.boards),
            "shelf": self.shelf,
            "shelves": self.shelves,
            "backplane": self.backplane,
            "address": self.address,
            "capture": self.capture,
            "memory_mib": self.memory_mib,
            "pristine": self.pristine,
            "rootless": self.rootless,
            "sim": self.sim,
            "clocks": list(self.clocks),
            "record_writes": self.record_writes,
        }

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        """Raises PeerError when a field is missing, unknown or of the wrong kind; UsageError out of range."""
        try:
            lists = {name: tuple(doc[name]) for name in ("boards", "clocks")}
            return cls(**{**doc, **lists, "directory": Path(doc["directory"])})
        except (KeyError, TypeError) as e:
            raise PeerError("not a chassis plan", found=str(e)) from e


def check_socket_path(path: Path) -> None:
    """Raises UsageError when the kernel cannot hold the path of a Unix socket."""
    length = len(os.fsencode(path))
    if length > LONGEST_SOCKET_PATH:
        raise UsageError(
            "the path of a Unix socket is too long",
            where=str(path),
            expected=f"at most {LONGEST_SOCKET_PATH} bytes",
            found=length,
            hint="choose a shorter directory: --dir or FWMGR_CHASSIS",
        )
