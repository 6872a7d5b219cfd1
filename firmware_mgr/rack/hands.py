"""The hands of a chassis, real or virtual: slots, power, consoles; and their documents on the API.

Knows what a slot register says and what can be done with power. Refuses to know how it is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any, Protocol, Self

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import MacAddress, SlotId


class PowerState(Enum):
    """Whether the slot's card has power."""

    OFF = "off"
    ON = "on"


class PowerAction(Enum):
    """What can be asked of a slot's power. OFF is a cut, as if the card were pulled."""

    ON = "on"
    OFF = "off"
    CYCLE = "cycle"


@dataclass(frozen=True, slots=True)
class SlotRegister:
    """What the backplane knows of a slot.

    `power_on_count` counts since the chassis came up. `netboot_strap` is the lever's position at the
    last power-on. `qemu_pid` is that of a virtual card that has power and a process.
    """

    slot: SlotId
    mac: MacAddress
    board: str
    present: bool
    power: PowerState
    power_on_count: int = 0
    netboot_strap: bool = False
    qemu_pid: int | None = None

    def document(self) -> dict[str, Any]:
        return {
            "slot": str(self.slot),
            "mac": str(self.mac),
            "board": self.board,
            "present": self.present,
            "power": self.power.value,
            "power_on_count": self.power_on_count,
            "netboot_strap": self.netboot_strap,
            "qemu_pid": self.qemu_pid,
        }

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        """Raises PeerError when a field is missing or wrong."""
        try:
            pid = doc["qemu_pid"]
            return cls(
                slot=SlotId.parse(str(doc["slot"])),
                mac=MacAddress(str(doc["mac"])),
                board=str(doc["board"]),
                present=bool(doc["present"]),
                power=PowerState(doc["power"]),
                power_on_count=int(doc["power_on_count"]),
                netboot_strap=bool(doc["netboot_strap"]),
                qemu_pid=None if pid is None else int(pid),
            )
        except (KeyError, TypeError, ValueError, UsageError) as e:
            raise PeerError("not a slot register", found=f"{e!s}") from e


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """One line of a card's console: its number since the chassis came up (from 1), UTC time of its
    first byte, text without the line end."""

    number: int
    time: datetime
    text: str

    def document(self) -> dict[str, Any]:
        return {"number": self.number, "time": self.time.astimezone(UTC).isoformat(), "text": self.text}

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        """Raises PeerError when a field is missing or wrong."""
        try:
            return cls(int(doc["number"]), datetime.fromisoformat(doc["time"]), str(doc["text"]))
        except (KeyError, TypeError, ValueError) as e:
            raise PeerError("not a console line", found=f"{e!s}") from e


#: The kind of a chassis whose cards are tasks of its daemon.
SIMULATED = "simulated chassis"


@dataclass(frozen=True, slots=True)
class HandsStatus:
    """Who answers, and where its network is.

    `enter` is the beginning of a command line that runs the rest on the chassis network: empty where
    that is an ordinary network. `address` is the master's, with its prefix length.
    """

    kind: str
    pid: int
    directory: Path
    network: str
    address: str
    enter: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "pid": self.pid,
            "directory": str(self.directory),
            "network": self.network,
            "address": self.address,
            "enter": list(self.enter),
        }

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        """Raises PeerError when a field is missing or wrong."""
        try:
            return cls(
                kind=str(doc["kind"]),
                pid=int(doc["pid"]),
                directory=Path(doc["directory"]),
                network=str(doc["network"]),
                address=str(doc["address"]),
                enter=tuple(str(word) for word in doc["enter"]),
            )
        except (KeyError, TypeError, ValueError) as e:
            raise PeerError("not a status of the hands", found=f"{e!s}") from e


class Hands(Protocol):
    """What the API serves: a virtual chassis or a real rack. Every method may raise FwmgrError."""

    def status(self) -> HandsStatus: ...

    def slots(self) -> list[SlotRegister]: ...

    async def power(self, slot: SlotId, action: PowerAction, *, netboot: bool) -> SlotRegister: ...

    def console_tail(self, slot: SlotId, lines: int) -> list[ConsoleLine]: ...

    async def wait_for_line(self, slot: SlotId, text: str, *, after: int, within: float) -> ConsoleLine:
        """The first line numbered over `after` that holds `text`; PeerError after `within` seconds."""
        ...

    def request_shutdown(self) -> None: ...
