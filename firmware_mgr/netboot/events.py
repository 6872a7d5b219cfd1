"""What happened in netboot, for the timeline and the counters: frozen values with a `document()` for JSON.

Knows no reader: whoever is handed the events decides what to keep. Text that came from a
client is made printable before it gets here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from ipaddress import IPv4Address
from typing import Any

from firmware_mgr.model.ids import MacAddress, SlotId
from firmware_mgr.netboot.quarantine import Misfit


class NetProtocol(Enum):
    DHCP = "dhcp"
    TFTP = "tftp"
    HTTP = "http"


class Outcome(Enum):
    """How a transfer ended. A probe is a client that only looked; refused means that it never began."""

    DONE = "done"
    PROBE = "probe"
    FAILED = "failed"
    REFUSED = "refused"


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (int, float, str)):
        return value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value)


@dataclass(frozen=True, slots=True)
class _Event:
    def document(self) -> dict[str, Any]:
        """JSON-ready fields; `event` is the kind."""
        return {"event": type(self).__name__} | {
            field.name: _plain(getattr(self, field.name)) for field in fields(self)
        }


@dataclass(frozen=True, slots=True)
class DhcpDecided(_Event):
    """A DHCP message and what became of it.

    `decision` is offer, ack, nak, recorded, ignored, unusable or failed; `misfit` why it was not served as a
    card, if so. What the client said of itself: `client` (its kind), `vendor_class` (60), `architectures`
    (93), `uuid` (97, in hex), and the relay that it is behind, with the port (`REMOTE/CIRCUIT`).
    """

    mac: MacAddress | None
    slot: SlotId | None
    message: str
    decision: str
    reason: str
    address: IPv4Address | None
    misfit: Misfit | None = None
    client: str = ""
    vendor_class: str = ""
    architectures: tuple[int, ...] = ()
    uuid: str = ""
    relay: IPv4Address | None = None
    port: str = ""


@dataclass(frozen=True, slots=True)
class PacketUnusable(_Event):
    """A packet that breaks its protocol's form. `source` is address:port."""

    protocol: NetProtocol
    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReplyUnsent(_Event):
    """The kernel refused to send a reply; the client will ask again."""

    protocol: NetProtocol
    destination: str
    reason: str


@dataclass(frozen=True, slots=True)
class TransferStarted(_Event):
    """A file begins to be sent; `size` is the blob's length in bytes."""

    slot: SlotId
    protocol: NetProtocol
    name: str
    peer: str
    size: int


@dataclass(frozen=True, slots=True)
class TransferEnded(_Event):
    """A transfer ended, or was refused before it began.

    `bytes_sent` counts the blob's bytes put on the wire, repeats included; `seconds` is the time it took.
    """

    slot: SlotId | None
    protocol: NetProtocol
    name: str
    peer: str
    bytes_sent: int
    outcome: Outcome
    reason: str
    seconds: float


NetbootEvent = DhcpDecided | PacketUnusable | ReplyUnsent | TransferStarted | TransferEnded
