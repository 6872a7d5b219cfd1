"""The DHCP port, and PXE's boot service: reads packets, has them judged, records leases, sends replies.

Tells what happened. Knows the order: a lease is durable before the reply that grants it leaves, and packets
are judged in the order in which they came. Refuses to know the rules.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from firmware_mgr.model.errors import FwmgrError
from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.clients import client_of
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
from firmware_mgr.netboot.dhcp_codec import UNSET, DhcpPacket
from firmware_mgr.netboot.events import DhcpDecided, NetbootEvent, NetProtocol, PacketUnusable, ReplyUnsent
from firmware_mgr.netboot.limits import RateLimit
from firmware_mgr.netboot.names import printable
from firmware_mgr.netboot.quarantine import QuarantinePool
from firmware_mgr.netboot.relay import relay_info, way_of
from firmware_mgr.netboot.served import Directory, Lease, Leases, ServedCard, ServerIdentity
from firmware_mgr.netboot.sockets import Datagram, Endpoint, PacketSocket

PACKETS_PER_WAKE = 32
WAITING_PACKETS = 256  # while leases are being kept; one more is dropped, its client asks again
BATCH_PACKETS = 64  # leases of so many packets are kept by one commit
#: Answers to one card, and to one stranger and all of them, a second.
CARD_ANSWERS = (16.0, 64.0)
STRANGER_ANSWERS = (1.0, 4.0)
ALL_STRANGERS_ANSWERS = (16.0, 32.0)
REMEMBERED_MACS = 1024
_TOO_OFTEN = "; asks too often to be answered each time"


@dataclass(frozen=True, slots=True)
class _Judged:
    """A packet, who sent it, and what is to become of it."""

    packet: DhcpPacket
    datagram: Datagram
    card: ServedCard | None
    decision: Decision

    @property
    def lease(self) -> Lease | None:
        return self.decision.lease if isinstance(self.decision, (Reply, Recorded)) else None


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
        self._waiting: deque[tuple[DhcpPacket, Datagram]] = deque()
        self._keeping: asyncio.Task[None] | None = None
        self._pool = QuarantinePool()
        self._cards = RateLimit(per_second=CARD_ANSWERS[0], burst=CARD_ANSWERS[1], keys=REMEMBERED_MACS)
        self._strangers = RateLimit(
            per_second=STRANGER_ANSWERS[0], burst=STRANGER_ANSWERS[1], keys=REMEMBERED_MACS
        )
        self._all_strangers = RateLimit(
            per_second=ALL_STRANGERS_ANSWERS[0], burst=ALL_STRANGERS_ANSWERS[1], keys=1
        )

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def stop(self) -> None:
        """Nothing is answered from now on; a lease that is being kept may be kept."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._waiting.clear()
        if self._keeping is not None:
            self._keeping.cancel()
        self._socket.close()

    def _readable(self) -> None:
        for _ in range(PACKETS_PER_WAKE):
            datagram = self._socket.receive()
            if datagram is None:
                break
            self._received(datagram)
        self._work()

    def _received(self, datagram: Datagram) -> None:
        try:
            if not datagram.whole:
                raise codec.DhcpFormatError("packet too long", found=f"over {len(datagram.data)} bytes")
            packet = codec.parse(datagram.data)
        except codec.DhcpFormatError as e:
            self._on_event(PacketUnusable(NetProtocol.DHCP, datagram.peer, str(e)))
            return
        if len(self._waiting) >= WAITING_PACKETS:
            self._tell(packet, None, Ignored(f"{WAITING_PACKETS} packets are waiting already"))
            return
        self._waiting.append((packet, datagram))

    def _work(self) -> None:
        """Judge what waits, in its order, until leases are to be kept; then go on when they are."""
        while self._waiting and self._keeping is None:
            batch = self._judge_batch()
            leases = {judged.lease.mac: judged.lease for judged in batch if judged.lease is not None}
            if not leases:
                self._perform(batch)
                continue
            self._keeping = asyncio.get_running_loop().create_task(self._keep(batch, tuple(leases.values())))
            self._keeping.add_done_callback(self._kept)

    def _judge_batch(self) -> list[_Judged]:
        """A packet sees the leases of those before it in the batch."""
        batch: list[_Judged] = []
        fresh: dict[MacAddress, Lease] = {}
        while self._waiting and len(batch) < BATCH_PACKETS:
            packet, datagram = self._waiting.popleft()
            card = self._card_of(packet)
            judged = _Judged(packet, datagram, card, self._judge(packet, datagram, card, fresh))
            batch.append(judged)
            if judged.lease is not None:
                fresh[judged.lease.mac] = judged.lease
        return batch

    def _card_of(self, packet: DhcpPacket) -> ServedCard | None:
        """By the relay port that a slot is bound to, then by the MAC: the port says where the card is."""
        if packet.mac is None:
            return None
        if packet.giaddr != UNSET:
            port = relay_info(packet).port
            card = None if port is None else self._directory.card_by_port(port.remote_id, port.circuit_id)
            if card is not None:
                return card
        return self._directory.card_by_mac(packet.mac)

    def _judge(
        self,
        packet: DhcpPacket,
        datagram: Datagram,
        card: ServedCard | None,
        fresh: dict[MacAddress, Lease],
    ) -> Decision:
        arrival = Arrival(datagram.interface, datagram.source, datagram.destination, datagram.port)
        if self._boot_service:
            decision = decide_boot_service(packet, arrival, card, self._identity)
        else:
            mac, now = packet.mac, self._clock.monotonic()
            lease = None if mac is None else fresh.get(mac) or self._leases.get(mac)
            way = way_of(packet, arrival.source, arrival.destination, self._identity)
            spare = None
            if mac is not None and not isinstance(way, str):
                barred = (
                    self._identity.address,
                    way.server_id,
                    *filter(None, (way.relay, way.subnet.router)),
                )
                spare = self._pool.spare(mac, way.subnet, now, barred)
            unix = int(self._clock.unix())
            decision = decide(packet, arrival, card, self._identity, lease, now=unix, spare=spare)
        return self._limited(packet, card, decision)

    def _limited(self, packet: DhcpPacket, card: ServedCard | None, decision: Decision) -> Decision:
        """Nobody is answered without end; what is lent is counted as lent."""
        now = self._clock.monotonic()
        if packet.mac is None or not isinstance(decision, (Reply, Recorded)):
            declines = packet.number(codec.OPT_MESSAGE_TYPE) == codec.MessageType.DECLINE
            if packet.mac is not None and declines:
                self._pool.declined(packet.mac, now)
            return decision
        misfit = decision.misfit if isinstance(decision, Reply) else None
        if misfit is None:
            # By the card, not by the MAC: behind a relay port a card may claim many.
            if self._cards.allows(packet.mac if card is None else card.address, now):
                return decision
            return Ignored(f"{decision.reason}{_TOO_OFTEN}")
        if not self._strangers.allows(packet.mac, now) or not self._all_strangers.allows("", now):
            return Ignored(f"{decision.reason}{_TOO_OFTEN}", misfit)
        if isinstance(decision, Reply) and decision.lent_for:
            self._pool.lend(packet.mac, decision.packet.yiaddr, now + decision.lent_for)
        return decision

    async def _keep(self, batch: list[_Judged], leases: tuple[Lease, ...]) -> None:
        """What a card was told must still be known after a power cut: first the disk, then the reply."""
        try:
            await self._leases.keep(leases)
        except FwmgrError as e:
            for judged in batch:
                if judged.lease is not None:
                    self._tell(judged.packet, judged.card, None, f"leases: {e}")
            batch = [judged for judged in batch if judged.lease is None]
        self._perform(batch)

    def _kept(self, task: asyncio.Task[None]) -> None:
        self._keeping = None
        if task.cancelled():
            return
        self._work()
        task.result()  # a fault of ours is shown, and does not end the service

    def _perform(self, batch: list[_Judged]) -> None:
        for judged in batch:
            self._tell(judged.packet, judged.card, judged.decision)
            if isinstance(judged.decision, Reply):
                self._send(judged.decision, judged.datagram.interface)

    def _tell(
        self, packet: DhcpPacket, card: ServedCard | None, decision: Decision | None, failure: str = ""
    ) -> None:
        number = packet.number(codec.OPT_MESSAGE_TYPE)
        message = "BOOTP" if number is None else MESSAGES[number].name if number in MESSAGES else str(number)
        misfit = decision.misfit if isinstance(decision, (Reply, Ignored)) else None
        address = None if card is None else card.address
        if isinstance(decision, Reply) and decision.lent_for:
            address = decision.packet.yiaddr
        relayed = packet.giaddr != UNSET
        port = relay_info(packet).port if relayed else None
        self._on_event(
            DhcpDecided(
                mac=packet.mac,
                slot=None if card is None else card.slot,
                message=message.lower(),
                decision=_word(decision),
                reason=failure if decision is None else decision.reason,
                address=address,
                misfit=misfit,
                client=client_of(packet).kind.value,
                vendor_class=_said(packet.options.get(codec.OPT_VENDOR_CLASS, b"")),
                architectures=packet.architectures,
                uuid=packet.options.get(codec.OPT_CLIENT_UUID, b"")[:64].hex(),
                relay=packet.giaddr if relayed else None,
                port="" if port is None else str(port),
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


def _word(decision: Decision | None) -> str:
    match decision:
        case Reply():
            return decision.message.name.lower()
        case Recorded():
            return "recorded"
        case Ignored():
            return "ignored"
        case Unusable():
            return "unusable"
        case None:
            return "failed"


def _said(raw: bytes) -> str:
    """A client's text, printable and short."""
    return printable(raw[:64].decode("utf-8", "replace"))
