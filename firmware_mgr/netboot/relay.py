"""Relays: what they add to a packet (option 82), and by that the way a packet came and its answer goes.

Knows RFC 3046 (1 circuit, 2 remote), 3527 (5 link selection), 3993 (6 subscriber), 5107 (11 server
identifier). Refuses to know what a vendor puts into a circuit: bytes, the same for the same port. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from firmware_mgr.model.errors import UsageError
from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.dhcp_codec import UNSET, DhcpPacket
from firmware_mgr.netboot.served import ServerIdentity, Subnet

SUB_CIRCUIT_ID = 1
SUB_REMOTE_ID = 2
SUB_LINK_SELECTION = 5
SUB_SUBSCRIBER_ID = 6
SUB_SERVER_ID = 11

BROADCAST = IPv4Address("255.255.255.255")


@dataclass(frozen=True, slots=True)
class RelayPort:
    """A port of a relay, as the relay names it. As text `REMOTE/CIRCUIT`, each as it is or as 0x and hex."""

    remote_id: bytes
    circuit_id: bytes

    def __str__(self) -> str:
        return f"{_text_of(self.remote_id)}/{_text_of(self.circuit_id)}"

    @classmethod
    def parse(cls, text: str) -> RelayPort:
        """Raises UsageError."""
        remote, slash, circuit = text.partition("/")
        if slash and "/" not in circuit and (remote or circuit):
            try:
                return cls(_bytes_of(remote), _bytes_of(circuit))
            except ValueError:
                pass
        raise UsageError(
            "not a relay port",
            expected="REMOTE/CIRCUIT, each printable ASCII without / or 0x and hex digits",
            found=repr(text),
        )


def _text_of(raw: bytes) -> str:
    text = raw.decode("ascii", "replace")
    plain = raw.isascii() and text.isprintable() and not text.startswith("0x")
    return text if plain and not set(text) & {"/", " "} else f"0x{raw.hex()}"


def _bytes_of(text: str) -> bytes:
    if text.startswith("0x"):
        return bytes.fromhex(text[2:])
    if not text.isprintable():
        raise ValueError("control characters")
    return text.encode("ascii")


@dataclass(frozen=True, slots=True)
class RelayInfo:
    """What option 82 says; what it does not say, or says in a wrong length, is None or empty."""

    port: RelayPort | None = None
    link: IPv4Address | None = None
    subscriber_id: bytes = b""
    server_id: IPv4Address | None = None


def relay_info(packet: DhcpPacket) -> RelayInfo:
    """Option 82, read up to the first sub-option that runs over its end."""
    raw = packet.options.get(codec.OPT_RELAY_INFO, b"")
    subs: dict[int, bytes] = {}
    at = 0
    while at + 2 <= len(raw) and at + 2 + raw[at + 1] <= len(raw):
        subs.setdefault(raw[at], raw[at + 2 : at + 2 + raw[at + 1]])
        at += 2 + raw[at + 1]
    remote, circuit = subs.get(SUB_REMOTE_ID, b""), subs.get(SUB_CIRCUIT_ID, b"")
    return RelayInfo(
        port=RelayPort(remote, circuit) if remote or circuit else None,
        link=_address(subs.get(SUB_LINK_SELECTION)),
        subscriber_id=subs.get(SUB_SUBSCRIBER_ID, b""),
        server_id=_address(subs.get(SUB_SERVER_ID)),
    )


def _address(raw: bytes | None) -> IPv4Address | None:
    return IPv4Address(raw) if raw is not None and len(raw) == 4 and any(raw) else None


@dataclass(frozen=True, slots=True)
class Way:
    """How a packet came: the client's subnet, the relay if any, and the server identifier it knows us by."""

    subnet: Subnet
    server_id: IPv4Address
    relay: IPv4Address | None = None
    port: RelayPort | None = None

    @property
    def relayed(self) -> bool:
        return self.relay is not None


def way_of(
    packet: DhcpPacket, source: IPv4Address, destination: IPv4Address, server: ServerIdentity
) -> Way | str:
    """The way that `packet` came, or why it is not answered. `source` and `destination` are its IP header's.

    An answer goes only to where a relay or client of ours can be: nobody can point us at a third.
    """
    if packet.giaddr != UNSET:
        return _relayed(packet, server)
    local = source == UNSET or destination == BROADCAST  # no router passes these on
    if not local and server.subnet_of(source) is None:
        return f"asks from {source}, which is in no subnet of the rack"
    bypasses = packet.ciaddr != UNSET and destination == server.address
    subnet = server.subnet_of(packet.ciaddr) if bypasses else server.subnet
    if subnet is None:
        return f"renews {packet.ciaddr}, which is in no subnet of the rack"
    return Way(subnet, server.address)


def _relayed(packet: DhcpPacket, server: ServerIdentity) -> Way | str:
    giaddr = packet.giaddr
    at = server.subnet_of(giaddr)
    if at is None and giaddr not in server.relays:
        return f"came by a relay at {giaddr}, which is in no subnet of the rack"
    if giaddr == server.address or (at is not None and giaddr in at.unusable):
        return f"came by a relay at {giaddr}, which cannot be a relay's address"
    info = relay_info(packet)
    asked = info.link or giaddr
    subnet = server.subnet_of(asked)
    if subnet is None:
        return f"the relay at {giaddr} asks for an address in the subnet of {asked}, which is not the rack's"
    return Way(subnet, info.server_id or server.address, giaddr, info.port)
