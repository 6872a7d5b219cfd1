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
from firmware_mgr.netboot.clients import PXE_CLASS, Client, ClientKind, client_of
from firmware_mgr.netboot.dhcp_codec import UNSET, DhcpPacket, MessageType, Op
from firmware_mgr.netboot.dhcp_reply import (
    Destination,
    Given,
    boot_service_packet,
    destination,
    given_to,
    nak_packet,
    reply_packet,
)
from firmware_mgr.netboot.quarantine import ANSWERS, LEASE_SECONDS, OFFER_SECONDS, Answer, Misfit
from firmware_mgr.netboot.relay import BROADCAST, Way, way_of
from firmware_mgr.netboot.served import Lease, LeaseState, ServedCard, ServerIdentity

SET_ASIDE_SECONDS = 30  # ours: how long a declined address is not given out
#: Ours: a client looks for another machine with its address right after the ACK (RFC 2131 §4.4.1). A DECLINE
#: that comes later, or without an ACK before it, is forged or lost its way.
DECLINE_SECONDS = 30

AGENT_CLASS = b"fwmgr-agent"  # option 60 of our agents' own DHCP (docs/CLASSES.md)
MAX_CLIENT_ID = 255  # ours: of a longer one (RFC 3396) no more is recorded


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a packet came: index of the interface (0 when unknown), addresses in its IP header, its port."""

    interface: int
    source: IPv4Address
    destination: IPv4Address
    port: int = 68


@dataclass(frozen=True, slots=True)
class Reply:
    """Send `packet` to `to`, after `lease`, when there is one, has been recorded.

    `misfit`: why it is not what a card is answered. `lent_for`: seconds for which `packet.yiaddr` is lent.
    """

    packet: DhcpPacket
    message: MessageType
    to: Destination
    limit: int
    lease: Lease | None
    reason: str
    misfit: Misfit | None = None
    lent_for: int = 0


@dataclass(frozen=True, slots=True)
class Recorded:
    """Nothing is answered (RELEASE, DECLINE); `lease` is to be recorded."""

    lease: Lease
    reason: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """Well-formed, and not for us or not to be served."""

    reason: str
    misfit: Misfit | None = None


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
class _Asked:
    """All that a rule looks at but the card."""

    packet: DhcpPacket
    arrival: Arrival
    client: Client
    way: Way
    server: ServerIdentity
    lease: Lease | None
    spare: IPv4Address | None
    now: int

    @property
    def message(self) -> MessageType:
        return MESSAGES[self.packet.number(codec.OPT_MESSAGE_TYPE) or 0]

    @property
    def other_server(self) -> IPv4Address | None:
        named = self.packet.address(codec.OPT_SERVER_ID)
        return named if named not in (None, self.server.address, self.way.server_id) else None

    @property
    def boots(self) -> bool:
        """It is a boot loader, or says what it could boot, or is an agent whose card nobody knows yet."""
        is_agent = (self.packet.options.get(codec.OPT_VENDOR_CLASS) or b"").startswith(AGENT_CLASS)
        return self.client.kind is not ClientKind.PLAIN or bool(self.client.architectures) or is_agent


@dataclass(frozen=True, slots=True)
class _Case:
    """What was asked, and the card that asks."""

    asked: _Asked
    card: ServedCard


def decide(
    packet: DhcpPacket,
    arrival: Arrival,
    card: ServedCard | None,
    server: ServerIdentity,
    lease: Lease | None,
    *,
    now: int,
    spare: IPv4Address | None = None,
) -> Decision:
    """Judge `packet`. `card` is the one that asks, `lease` that of the packet's MAC; `now` unix seconds.

    `spare` is the address that could be lent to it, should it fit no card.
    """
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
    way = way_of(packet, arrival.source, arrival.destination, server)
    if isinstance(way, str):
        return Ignored(way)
    asked = _Asked(packet, arrival, client_of(packet), way, server, lease, spare, now)
    fault = _misfit(asked, card)
    if fault is not None:
        misfit, reason = fault
        return _ANSWERING[ANSWERS[misfit, asked.boots or way.relayed]](asked, card, misfit, reason)
    assert card is not None
    return RULES[message](_Case(asked, card))


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
    unfit = _wrong_architecture(client_of(packet), card)
    if unfit is not None:
        return Ignored(unfit)
    reply, limit = boot_service_packet(packet, card, server)
    to = Destination(card.address, port=arrival.port)
    return Reply(reply, MessageType.ACK, to, limit, None, "boot service")


def _misfit(asked: _Asked, card: ServedCard | None) -> tuple[Misfit, str] | None:
    """Why this client is not served as a card, None when it is."""
    way = asked.way
    if card is None:
        behind = "" if way.port is None else f", no slot is bound to relay port {way.port}"
        return Misfit.UNKNOWN, f"no card has MAC {asked.packet.mac}{behind}"
    if card.address in (asked.server.address, way.subnet.router, way.relay, *way.subnet.unusable):
        return Misfit.ADDRESS_UNUSABLE, f"slot {card.slot}: {card.address} is no address for a card"
    if card.address not in way.subnet.network:
        reason = f"slot {card.slot}: address {card.address} is not in {way.subnet.network}"
        return Misfit.WRONG_SUBNET, reason
    unfit = _wrong_architecture(asked.client, card)
    if unfit is not None:
        return Misfit.WRONG_ARCHITECTURE, unfit
    if asked.boots and not card.files:
        return Misfit.NO_IMAGE, f"slot {card.slot} holds {card.board}: there is no boot image for it"
    lease = asked.lease
    if lease is not None and lease.state is LeaseState.DECLINED and asked.message in _NEEDS_ADDRESS:
        left = lease.expires_at - asked.now
        if lease.address == card.address and left > 0:
            reason = f"{lease.address} was declined: another machine uses it; set aside for {left} s"
            return Misfit.ADDRESS_IN_USE, reason
    return None


#: Messages to which an address that is set aside makes a difference.
_NEEDS_ADDRESS = frozenset({MessageType.DISCOVER, MessageType.REQUEST, MessageType.RELEASE})


def _wrong_architecture(client: Client, card: ServedCard) -> str | None:
    said = client.architectures
    if not said or not card.client_architectures.isdisjoint(said):
        return None
    fits = ", ".join(map(str, sorted(card.client_architectures))) or "none"
    found = ", ".join(map(str, said))
    return f"slot {card.slot} holds {card.board}: client architecture (93) {found}, expected {fits}"


# How a misfit is answered.


def _ignore(asked: _Asked, card: ServedCard | None, misfit: Misfit, reason: str) -> Decision:
    return Ignored(reason, misfit)


def _refuse(asked: _Asked, card: ServedCard | None, misfit: Misfit, reason: str) -> Decision:
    if asked.message is not MessageType.REQUEST or asked.other_server is not None:
        return Ignored(reason, misfit)
    request = _read_request(asked)
    return request if isinstance(request, Unusable) else _nak(asked, reason, misfit)


def _bare(asked: _Asked, card: ServedCard | None, misfit: Misfit, reason: str) -> Decision:
    """As a card, but with nothing to boot."""
    assert card is not None
    decision = RULES[asked.message](_Case(asked, card))
    if not isinstance(decision, Reply) or decision.message is MessageType.NAK:
        return decision
    given = Given(card.address, asked.server.lease_seconds, card.hostname)
    return _reply(asked, decision.message, given, decision.lease, reason, misfit=misfit)


def _quarantine(asked: _Asked, card: ServedCard | None, misfit: Misfit, reason: str) -> Decision:
    if asked.message not in (MessageType.DISCOVER, MessageType.REQUEST) or asked.other_server is not None:
        return Ignored(reason, misfit)
    if asked.spare is None:
        return Ignored(f"{reason}; no quarantine address is free in {asked.way.subnet.network}", misfit)
    given = Given(asked.spare, LEASE_SECONDS)
    if asked.message is MessageType.DISCOVER:
        return _reply(asked, MessageType.OFFER, given, None, reason, misfit=misfit, lent_for=OFFER_SECONDS)
    request = _read_request(asked)
    if isinstance(request, Unusable):
        return request
    _, wanted = request
    if wanted == asked.spare:
        return _reply(asked, MessageType.ACK, given, None, reason, misfit=misfit, lent_for=LEASE_SECONDS)
    if codec.OPT_SERVER_ID in asked.packet.options:  # ours
        return _nak(asked, f"{reason}; asks for {wanted}, {asked.spare} is lent to it", misfit)
    return Ignored(reason, misfit)  # perhaps another server's client: silence, RFC 2131 §4.3.2


_ANSWERING: dict[Answer, Callable[[_Asked, ServedCard | None, Misfit, str], Decision]] = {
    Answer.IGNORE: _ignore,
    Answer.QUARANTINE: _quarantine,
    Answer.BARE: _bare,
    Answer.REFUSE: _refuse,
}


# How a card is answered.


def _read_request(asked: _Asked) -> tuple[RequestState, IPv4Address] | Unusable:
    """What a REQUEST is about, and the address it asks for."""
    packet = asked.packet
    wanted = packet.address(codec.OPT_REQUESTED_ADDRESS)
    key = (codec.OPT_SERVER_ID in packet.options, wanted is not None, packet.ciaddr != UNSET)
    state = REQUEST_STATES[key]
    if isinstance(state, str):
        return Unusable(state)
    if state is not RequestState.RENEWING:
        assert wanted is not None
        return state, wanted
    if wanted is not None and wanted != packet.ciaddr:
        return Unusable(f"REQUEST for two addresses: ciaddr {packet.ciaddr}, option 50 {wanted}")
    # By broadcast: the server it had is silent; the answer is the same.
    return RequestState.REBINDING if asked.arrival.destination == BROADCAST else state, packet.ciaddr


def _discover(case: _Case) -> Decision:
    return _card_reply(case, MessageType.OFFER, None, "the card's address")


def _request(case: _Case) -> Decision:
    asked, card = case.asked, case.card
    request = _read_request(asked)
    if isinstance(request, Unusable):
        return request
    state, wanted = request
    if asked.other_server is not None:
        return Ignored(f"chose another server, {asked.other_server}")
    if wanted != card.address:
        return _nak(asked, f"{state.value}: asks for {wanted}, the card's address is {card.address}")
    lease = _lease(case, asked.now + asked.server.lease_seconds, LeaseState.BOUND)
    return _card_reply(case, MessageType.ACK, lease, state.value)


def _decline(case: _Case) -> Decision:
    asked, card = case.asked, case.card
    if asked.other_server is not None:
        return Ignored(f"declines to another server, {asked.other_server}")
    declined = asked.packet.address(codec.OPT_REQUESTED_ADDRESS)
    if declined is None:
        return Unusable("DECLINE without address (50)")
    if declined != card.address:
        return Ignored(f"declines {declined}, the card's address is {card.address}")
    lease = asked.lease
    told = None if lease is None else lease.expires_at - asked.server.lease_seconds
    bound = lease is not None and lease.state is LeaseState.BOUND and lease.address == declined
    if told is None or not bound or not 0 <= asked.now - told <= DECLINE_SECONDS:
        return Ignored(f"declines {declined}, which it was not given in the last {DECLINE_SECONDS} s")
    return Recorded(
        _lease(case, asked.now + SET_ASIDE_SECONDS, LeaseState.DECLINED),
        f"{declined} is in use by another machine, says the card; set aside for {SET_ASIDE_SECONDS} s",
    )


def _release(case: _Case) -> Decision:
    asked, card = case.asked, case.card
    if asked.other_server is not None:
        return Ignored(f"releases to another server, {asked.other_server}")
    if asked.packet.ciaddr != card.address:
        return Ignored(f"releases {asked.packet.ciaddr}, the card's address is {card.address}")
    return Recorded(_lease(case, asked.now, LeaseState.RELEASED), "released by the card")


def _inform(case: _Case) -> Decision:
    ciaddr, address = case.asked.packet.ciaddr, case.card.address
    if ciaddr == UNSET:
        return Unusable("INFORM without ciaddr")
    if ciaddr != address:
        return Ignored(f"informs of {ciaddr}, the card's address is {address}")
    return _card_reply(case, MessageType.ACK, None, "inform")


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


def _lease(case: _Case, expires_at: int, state: LeaseState) -> Lease:
    packet = case.asked.packet
    assert packet.mac is not None
    client_id = packet.options.get(codec.OPT_CLIENT_ID, b"")[:MAX_CLIENT_ID]
    return Lease(case.card.address, packet.mac, client_id, expires_at, state)


def _card_reply(case: _Case, message: MessageType, lease: Lease | None, reason: str) -> Decision:
    asked = case.asked
    return _reply(asked, message, given_to(case.card, asked.client, asked.server), lease, reason)


def _reply(
    asked: _Asked,
    message: MessageType,
    given: Given,
    lease: Lease | None,
    reason: str,
    *,
    misfit: Misfit | None = None,
    lent_for: int = 0,
) -> Reply:
    packet, limit = reply_packet(asked.packet, message, given, asked.way, asked.server)
    to = destination(asked.packet, message, given.address)
    return Reply(packet, message, to, limit, lease, reason, misfit, lent_for)


def _nak(asked: _Asked, reason: str, misfit: Misfit | None = None) -> Decision:
    """A client beyond a router hears no broadcast of ours: it finds out when it asks by way of its relay."""
    if asked.way.subnet is not asked.server.subnet and not asked.way.relayed:
        return Ignored(f"{reason}; not refused: no relay between", misfit)
    packet, limit = nak_packet(asked.packet, asked.way, reason)
    to = destination(asked.packet, MessageType.NAK, None)
    return Reply(packet, MessageType.NAK, to, limit, None, reason, misfit)
