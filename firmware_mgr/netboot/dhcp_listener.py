"""The DHCP port, and PXE's boot service: reads packets, has them judged, records leases, sends replies.

Tells what happened. Knows the order (record, then send). Refuses to know the rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from firmware_mgr.model.errors import FwmgrError
from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.clock import Clock
from firmware_mgr.netboot.dhcp import (
    MESSAGES,
    Arrival,
    Decision,
    Ignored,
    Recorded,
    Reply,
    Unusable,
    decide,
    decide_boot_service,
)
from firmware_mgr.netboot.dhcp_codec import DhcpPacket
from firmware_mgr.netboot.events import DhcpDecided, NetbootEvent, NetProtocol, PacketUnusable, ReplyUnsent
from firmware_mgr.netboot.served import Directory, Lease, Leases, LeaseState, ServedCard, ServerIdentity
from firmware_mgr.netboot.sockets import Datagram, Endpoint, PacketSocket

PACKETS_PER_WAKE = 32


class DhcpListener:
    def __init__(
        self,
        socket: PacketSocket,
        directory: Directory,
        leases: Leases,
        identity: ServerIdentity,
        *,
        clock: Clock,
        on_event: Callable[[NetbootEvent], None],
        relay_port: int,
        client_port: int,
        boot_service: bool = False,
    ) -> None:
        self._socket = socket
        self._directory = directory
        self._leases = leases
        self._identity = identity
        self._clock = clock
        self._on_event = on_event
        self._relay_port = relay_port
        self._client_port = client_port
        self._boot_service = boot_service

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def _readable(self) -> None:
        for _ in range(PACKETS_PER_WAKE):
            datagram = self._socket.receive()
            if datagram is None:
                return
            self._received(datagram)

    def _received(self, datagram: Datagram) -> None:
        try:
            if not datagram.whole:
                raise codec.DhcpFormatError("packet too long", found=f"over {len(datagram.data)} bytes")
            packet = codec.parse(datagram.data)
        except codec.DhcpFormatError as e:
            self._on_event(PacketUnusable(NetProtocol.DHCP, datagram.peer, str(e)))
            return
        card = None if packet.mac is None else self._directory.card_by_mac(packet.mac)
        arrival = Arrival(datagram.interface, datagram.source, datagram.destination, datagram.port)
        try:
            now = int(self._clock.unix())
            decision = self._decide(packet, arrival, card, now)
            self._record(decision, now)
        except FwmgrError as e:
            self._tell(packet, card, "failed", f"leases: {e}")
            return
        self._report(packet, card, decision)
        if isinstance(decision, Reply):
            self._send(decision, datagram.interface)

    def _decide(self, packet: DhcpPacket, arrival: Arrival, card: ServedCard | None, now: int) -> Decision:
        if self._boot_service:
            return decide_boot_service(packet, arrival, card, self._identity)
        lease = None if card is None else self._leases.get(card.mac)
        return decide(packet, arrival, card, self._identity, lease, now=now)

    def _record(self, decision: Decision, now: int) -> None:
        """Before the reply leaves: what a card was told must still be known after a power cut."""
        lease: Lease | None = decision.lease if isinstance(decision, (Reply, Recorded)) else None
        if lease is None:
            return
        if lease.state is LeaseState.RELEASED:
            self._leases.release(lease.mac, now)
        else:
            self._leases.put(lease)

    def _report(self, packet: DhcpPacket, card: ServedCard | None, decision: Decision) -> None:
        match decision:
            case Reply():
                self._tell(packet, card, decision.message.name.lower(), decision.reason)
            case Recorded():
                self._tell(packet, card, "recorded", decision.reason)
            case Ignored():
                self._tell(packet, card, "ignored", decision.reason)
            case Unusable():
                self._tell(packet, card, "unusable", decision.reason)

    def _tell(self, packet: DhcpPacket, card: ServedCard | None, decision: str, reason: str) -> None:
        number = packet.number(codec.OPT_MESSAGE_TYPE)
        message = "BOOTP" if number is None else MESSAGES[number].name if number in MESSAGES else str(number)
        self._on_event(
            DhcpDecided(
                mac=packet.mac,
                slot=None if card is None else card.slot,
                message=message.lower(),
                decision=decision,
                reason=reason,
                address=None if card is None else card.address,
            )
        )

    def _send(self, reply: Reply, interface: int) -> None:
        relayed = reply.to.to_relay
        port = self._relay_port if relayed else reply.to.port or self._client_port
        to = Endpoint(reply.to.address, port)
        try:
            self._socket.send(
                codec.serialise(reply.packet, reply.limit),
                to,
                interface=0 if relayed else interface,
                local=self._identity.address,
            )
        except OSError as e:
            self._on_event(ReplyUnsent(NetProtocol.DHCP, str(to), e.strerror or str(e)))
