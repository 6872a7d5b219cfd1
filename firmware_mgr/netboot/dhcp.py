"""What to answer to a DHCP packet: `decide`, a pure function of packet, card, server, lease and time.

Knows RFC 2131 §4 for servers whose every client has one fixed address. Refuses to know sockets, clocks and
where leases are kept: a lease to be recorded is part of the decision, recorded before the reply is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address

from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.clients import PXE_CLASS
from firmware_mgr.netboot.dhcp_codec import UNSET, DhcpPacket, MessageType, Op
from firmware_mgr.netboot.dhcp_reply import (
    BROADCAST,
    Destination,
    boot_service_packet,
    destination,
    nak_packet,
    reply_packet,
)
from firmware_mgr.netboot.served import Lease, LeaseState, ServedCard, ServerIdentity

SET_ASIDE_SECONDS = 300  # ours: how long a declined address is not given out


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a packet came: index of the interface (0 when unknown), addresses in its IP header, its port."""

    interface: int
    source: IPv4Address
    destination: IPv4Address
    port: int = 68


@dataclass(frozen=True, slots=True)
class Reply:
    """Send `packet` to `to`, after `lease`, when there is one, has been recorded."""

    packet: DhcpPacket
    message: MessageType
    to: Destination
    limit: int
    lease: Lease | None
    reason: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """Nothing is answered (RELEASE, DECLINE); `lease` is to be put, or released when its state says so."""

    lease: Lease
    reason: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """Well-formed, and not for us or not to be served."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """It breaks the protocol's rules."""

    reason: str


Decision = Reply | Recorded | Ignored | Unusable


#: Message types by number.
MESSAGES = {message.value: message for message in MessageType}


class RequestState(Enum):
    """What a client is doing when it sends REQUEST, RFC 2131 §4.3.2."""

    SELECTING = "selecting"
    INIT_REBOOT = "init-reboot"
    RENEWING = "renewing"
    REBINDING = "rebinding"


#: (option 54 present, option 50 present, ciaddr set): RFC 2131 table 4. A string says why it is unusable.
REQUEST_STATES: dict[tuple[bool, bool, bool], RequestState | str] = {
    (True, True, False): RequestState.SELECTING,
    (True, True, True): RequestState.SELECTING,  # some ROMs leave their old ciaddr in
    (False, True, False): RequestState.INIT_REBOOT,
    (False, False, True): RequestState.RENEWING,
    (False, True, True): RequestState.RENEWING,  # only when both are equal
    (True, False, False): "REQUEST names a server (54) but no address (50)",
    (True, False, True): "REQUEST names a server (54) but no address (50)",
    (False, False, False): "REQUEST names neither server (54) nor address (50, ciaddr)",
}


@dataclass(frozen=True, slots=True)
class _Case:
    """All that a rule looks at."""

    packet: DhcpPacket
    arrival: Arrival
    card: ServedCard
    server: ServerIdentity
    lease: Lease | None
    now: int

    @property
    def other_server(self) -> IPv4Address | None:
        named = self.packet.address(codec.OPT_SERVER_ID)
        return named if named is not None and named != self.server.address else None

    @property
    def set_aside(self) -> str | None:
        """Why the card's address must not be given out now."""
        lease = self.lease
        if lease is None or lease.state is not LeaseState.DECLINED:
            return None
        if lease.address != self.card.address or lease.expires_at <= self.now:
            return None
        left = lease.expires_at - self.now
        return f"{lease.address} was declined: another machine uses it; set aside for {left} s"


def decide(
    packet: DhcpPacket,
    arrival: Arrival,
    card: ServedCard | None,
    server: ServerIdentity,
    lease: Lease | None,
    *,
    now: int,
) -> Decision:
    """Judge `packet`. `card` is the one with its MAC, `lease` that card's; `now` unix seconds."""
    kind = packet.number(codec.OPT_MESSAGE_TYPE)
    if packet.op is not Op.REQUEST:
        return Ignored("a server's packet")
    if kind is None:
        return Unusable("no message type (53): BOOTP is not served")
    message = MESSAGES.get(kind)
    if message is None:
        return Ignored(f"message type {kind} is not served")
    if packet.mac is None:
        return Ignored(f"hardware type {packet.htype} with {len(packet.chaddr)} bytes is not Ethernet")
    if card is None:
        return Ignored(f"no card has MAC {packet.mac}")
    unfit = _unfit(packet, card, server)
    if unfit is not None:
        return Ignored(unfit)
    return RULES[message](_Case(packet, arrival, card, server, lease, now))


def decide_boot_service(
    packet: DhcpPacket, arrival: Arrival, card: ServedCard | None, server: ServerIdentity
) -> Decision:
    """Judge what came to port 4011, where a PXE client that has its address asks what to boot.

    Answered is only the card itself, at its own address: others could have it sent to a third.
    """
    if packet.op is not Op.REQUEST:
        return Ignored("a server's packet")
    if packet.number(codec.OPT_MESSAGE_TYPE) not in (MessageType.REQUEST, MessageType.INFORM):
        return Ignored("the boot service answers REQUEST and INFORM")
    if not packet.options.get(codec.OPT_VENDOR_CLASS, b"").startswith(PXE_CLASS):
        return Ignored("the boot service answers PXE clients")
    if card is None:
        return Ignored(f"no card has MAC {packet.mac}")
    if arrival.source != card.address:
        return Ignored(f"asked from {arrival.source}, the card's address is {card.address}")
    unfit = _unfit(packet, card, server)
    if unfit is not None:
        return Ignored(unfit)
    reply, limit = boot_service_packet(packet, card, server)
    to = Destination(card.address, port=arrival.port)
    return Reply(reply, MessageType.ACK, to, limit, None, "boot service")


def _unfit(packet: DhcpPacket, card: ServedCard, server: ServerIdentity) -> str | None:
    """Why this card is not served over this wire."""
    if card.address not in server.network:
        return f"slot {card.slot}: address {card.address} is not in {server.network}"
    said = packet.architectures
    if said and card.client_architectures.isdisjoint(said):
        fits = ", ".join(map(str, sorted(card.client_architectures))) or "none"
        found = ", ".join(map(str, said))
        return f"slot {card.slot} holds {card.board}: client architecture (93) {found}, expected {fits}"
    return None


def _discover(case: _Case) -> Decision:
    if case.set_aside is not None:
        return Ignored(case.set_aside)
    return _reply(case, MessageType.OFFER, None, "the card's address")


def _request(case: _Case) -> Decision:
    packet = case.packet
    wanted = packet.address(codec.OPT_REQUESTED_ADDRESS)
    key = (codec.OPT_SERVER_ID in packet.options, wanted is not None, packet.ciaddr != UNSET)
    state = REQUEST_STATES[key]
    if isinstance(state, str):
        return Unusable(state)
    if state is RequestState.RENEWING:
        if wanted is not None and wanted != packet.ciaddr:
            return Unusable(f"REQUEST for two addresses: ciaddr {packet.ciaddr}, option 50 {wanted}")
        wanted = packet.ciaddr
        if case.arrival.destination == BROADCAST:
            state = RequestState.REBINDING  # the server it had is silent; the answer is the same
    if case.other_server is not None:
        return Ignored(f"chose another server, {case.other_server}")
    if wanted != case.card.address:
        return _nak(case, f"{state.value}: asks for {wanted}, the card's address is {case.card.address}")
    if case.set_aside is not None:
        return _nak(case, case.set_aside)
    lease = Lease(
        case.card.address,
        case.card.mac,
        packet.options.get(codec.OPT_CLIENT_ID, b""),
        case.now + case.server.lease_seconds,
        LeaseState.BOUND,
    )
    return _reply(case, MessageType.ACK, lease, state.value)


def _decline(case: _Case) -> Decision:
    if case.other_server is not None:
        return Ignored(f"declines to another server, {case.other_server}")
    declined = case.packet.address(codec.OPT_REQUESTED_ADDRESS)
    if declined is None:
        return Unusable("DECLINE without address (50)")
    if declined != case.card.address:
        return Ignored(f"declines {declined}, the card's address is {case.card.address}")
    until = case.now + SET_ASIDE_SECONDS
    return Recorded(
        _ended(case, until, LeaseState.DECLINED),
        f"{declined} is in use by another machine, says the card; set aside for {SET_ASIDE_SECONDS} s",
    )


def _release(case: _Case) -> Decision:
    if case.other_server is not None:
        return Ignored(f"releases to another server, {case.other_server}")
    if case.packet.ciaddr != case.card.address:
        return Ignored(f"releases {case.packet.ciaddr}, the card's address is {case.card.address}")
    if case.set_aside is not None:
        return Ignored(case.set_aside)
    return Recorded(_ended(case, case.now, LeaseState.RELEASED), "released by the card")


def _inform(case: _Case) -> Decision:
    if case.packet.ciaddr == UNSET:
        return Unusable("INFORM without ciaddr")
    if case.packet.ciaddr != case.card.address:
        return Ignored(f"informs of {case.packet.ciaddr}, the card's address is {case.card.address}")
    return _reply(case, MessageType.ACK, None, "inform")


def _from_a_server(case: _Case) -> Decision:
    return Unusable("a server's message in a client's packet")


#: Every message type has its rule.
RULES: dict[MessageType, Callable[[_Case], Decision]] = {
    MessageType.DISCOVER: _discover,
    MessageType.OFFER: _from_a_server,
    MessageType.REQUEST: _request,
    MessageType.DECLINE: _decline,
    MessageType.ACK: _from_a_server,
    MessageType.NAK: _from_a_server,
    MessageType.RELEASE: _release,
    MessageType.INFORM: _inform,
}


def _ended(case: _Case, expires_at: int, state: LeaseState) -> Lease:
    client_id = case.packet.options.get(codec.OPT_CLIENT_ID, b"")
    return Lease(case.card.address, case.card.mac, client_id, expires_at, state)


def _reply(case: _Case, message: MessageType, lease: Lease | None, reason: str) -> Reply:
    packet, limit = reply_packet(case.packet, message, case.card, case.server)
    return Reply(packet, message, destination(case.packet, message), limit, lease, reason)


def _nak(case: _Case, reason: str) -> Reply:
    packet, limit = nak_packet(case.packet, case.server, reason)
    to = destination(case.packet, MessageType.NAK)
    return Reply(packet, MessageType.NAK, to, limit, None, reason)
