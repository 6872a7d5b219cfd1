"""DHCP and TFTP as a boot ROM and a card's userland speak them: real packets, strict about the answers.

Knows how a client asks and what it takes. Where packets go is handed in: the backplane in memory, or real
sockets.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError
from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot import dhcp_codec, tftp_codec
from firmware_mgr.netboot.dhcp_codec import DhcpPacket, MessageType, Op

CLIENT_PORT, SERVER_PORT, TFTP_PORT = 68, 67, 69
NOWHERE = "0.0.0.0"
EVERYBODY = "255.255.255.255"
#: Seconds to wait for an answer to DISCOVER or REQUEST, try by try.
DHCP_PATIENCE = (1.0, 2.0, 4.0, 4.0)
TFTP_PATIENCE = 1.0
TFTP_TRIES = 8
BLKSIZE, WINDOW = 1468, 16
PARAMETERS = bytes((1, 3, 12, 15, 51, 54, 66, 67))


@dataclass(frozen=True, slots=True)
class Came:
    """A datagram as it came."""

    data: bytes
    source: str
    port: int


class Socket(Protocol):
    """A bound UDP socket."""

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        """Raises OSError."""

    async def receive(self) -> Came: ...

    def close(self) -> None: ...


class Jack(Protocol):
    """A card's network jack. A seam."""

    def open(self, port: int, address: str) -> Socket:
        """From NOWHERE only broadcasts can be sent. Raises OSError for an address that is not held."""
        ...

    def hold(self, address: str | None) -> None:
        """The card has this address from now on."""
        ...


@dataclass(frozen=True, slots=True)
class Offered:
    """What DHCP's answer says, as far as a card wants to know."""

    address: str
    netmask: str
    next_server: str
    server: str
    hostname: str
    boot_file: str
    lease_seconds: int


async def ask_dhcp(
    jack: Jack, mac: MacAddress, rng: random.Random, identity: Mapping[int, bytes] | None = None
) -> Offered:
    """DISCOVER, OFFER, REQUEST, ACK. Holds the address then. Raises DeviceError when nobody answers."""
    socket = jack.open(CLIENT_PORT, NOWHERE)
    try:
        client = _DhcpClient(socket, mac, rng.getrandbits(32), identity or {})
        for patience in DHCP_PATIENCE:
            offer = await client.ask(MessageType.DISCOVER, {}, {MessageType.OFFER}, patience)
            if offer is None:
                continue
            words = {
                dhcp_codec.OPT_REQUESTED_ADDRESS: offer.yiaddr.packed,
                dhcp_codec.OPT_SERVER_ID: offer.options[dhcp_codec.OPT_SERVER_ID],
            }
            ack = await client.ask(
                MessageType.REQUEST, words, {MessageType.ACK, MessageType.NAK}, patience, offer
            )
            if ack is not None and ack.number(dhcp_codec.OPT_MESSAGE_TYPE) == MessageType.ACK:
                jack.hold(str(ack.yiaddr))
                return _offered(ack)
    finally:
        socket.close()
    raise DeviceError("no answer to DHCP", where="network", expected=f"one in {len(DHCP_PATIENCE)} tries")


class _DhcpClient:
    def __init__(self, socket: Socket, mac: MacAddress, xid: int, identity: Mapping[int, bytes]) -> None:
        self._socket = socket
        self._mac = mac
        self._xid = xid
        self._identity = identity

    async def ask(
        self,
        kind: MessageType,
        words: Mapping[int, bytes],
        answers: set[MessageType],
        patience: float,
        offer: DhcpPacket | None = None,
    ) -> DhcpPacket | None:
        options = {
            dhcp_codec.OPT_MESSAGE_TYPE: bytes((kind,)),
            dhcp_codec.OPT_PARAMETERS: PARAMETERS,
            **self._identity,
            **words,
        }
        packet = DhcpPacket(
            Op.REQUEST,
            self._xid,
            bytes.fromhex(str(self._mac).replace(":", "")),
            flags=dhcp_codec.FLAG_BROADCAST,
            options=options,
        )
        self._socket.send(dhcp_codec.serialise(packet), (EVERYBODY, SERVER_PORT))
        try:
            async with asyncio.timeout(patience):
                while True:
                    answer = self._read(await self._socket.receive(), answers, offer)
                    if answer is not None:
                        return answer
        except TimeoutError:
            return None

    def _read(self, came: Came, answers: set[MessageType], offer: DhcpPacket | None) -> DhcpPacket | None:
        """The packet, if it answers us. What is for others is passed over; nonsense to us is an error."""
        packet = dhcp_codec.parse(came.data)
        if packet.op is not Op.REPLY or packet.xid != self._xid or packet.mac != self._mac:
            return None
        if packet.number(dhcp_codec.OPT_MESSAGE_TYPE) not in answers:
            return None
        server = packet.address(dhcp_codec.OPT_SERVER_ID)
        assert came.port == SERVER_PORT, f"a DHCP server answers from port {came.port}"
        assert server is not None, "a DHCP answer without its server (54)"
        if packet.number(dhcp_codec.OPT_MESSAGE_TYPE) == MessageType.NAK:
            return packet
        assert int(packet.yiaddr), "a DHCP answer without an address"
        assert dhcp_codec.OPT_LEASE_TIME in packet.options, "a lease without end (51)"
        if offer is not None:
            assert packet.yiaddr == offer.yiaddr, "ACK for another address than was offered"
            assert server == offer.address(dhcp_codec.OPT_SERVER_ID), "ACK by another server"
        return packet


def _offered(ack: DhcpPacket) -> Offered:
    def text(code: int) -> str:
        return ack.options.get(code, b"").decode("ascii", "replace")

    return Offered(
        str(ack.yiaddr),
        str(ack.address(dhcp_codec.OPT_NETMASK) or IPv4Address("255.255.255.0")),
        str(ack.siaddr),
        str(ack.address(dhcp_codec.OPT_SERVER_ID)),
        text(dhcp_codec.OPT_HOSTNAME),
        text(dhcp_codec.OPT_BOOT_FILE) or ack.file.decode("ascii", "replace"),
        ack.number(dhcp_codec.OPT_LEASE_TIME) or 0,
    )


async def fetch_tftp(jack: Jack, address: str, server: str, name: str) -> bytes:
    """A file, by windows of blocks (RFC 1350, 2347, 2348, 7440). Raises DeviceError or PeerError."""
    socket = jack.open(0, address)
    try:
        return await _Fetch(socket, server, name).run()
    finally:
        socket.close()


class _Fetch:
    def __init__(self, socket: Socket, server: str, name: str) -> None:
        self._socket = socket
        self._server = server
        self._name = name
        self._peer: tuple[str, int] | None = None
        self._parts: list[bytes] = []
        self._blksize, self._window = tftp_codec.DEFAULT_BLKSIZE, 1
        self._since_ack = 0
        self._told_gap = False
        self._done = False

    async def run(self) -> bytes:
        asked = {"blksize": str(BLKSIZE), "windowsize": str(WINDOW), "tsize": "0"}
        request = tftp_codec.serialise(tftp_codec.Request(False, self._name, "octet", asked))
        self._socket.send(request, (self._server, TFTP_PORT))
        tries = 0
        while not self._done:
            try:
                async with asyncio.timeout(TFTP_PATIENCE):
                    came = await self._socket.receive()
            except TimeoutError:
                tries += 1
                if tries == TFTP_TRIES:
                    raise DeviceError(
                        "TFTP server is silent", where=f"{self._name} from {self._server}"
                    ) from None
                if self._peer is None:
                    self._socket.send(request, (self._server, TFTP_PORT))
                else:
                    self._ack()
                continue
            if self._take(came):
                tries = 0
        return b"".join(self._parts)

    def _take(self, came: Came) -> bool:
        """Whether it was of use."""
        if came.source != self._server:
            return False
        if self._peer is not None and (came.source, came.port) != self._peer:
            return False  # another transfer that our repeated request began: it ends by itself
        packet = tftp_codec.parse(came.data)
        if isinstance(packet, tftp_codec.Error):
            raise PeerError("TFTP server refuses", where=self._name, found=f"{packet.code} {packet.text}")
        self._peer = (came.source, came.port)
        if isinstance(packet, tftp_codec.OptionAck):
            return self._agreed(packet.options)
        assert isinstance(packet, tftp_codec.Data), f"a TFTP server sent {type(packet).__name__}"
        return self._data(packet)

    def _agreed(self, options: Mapping[str, str]) -> bool:
        assert set(options) <= {"blksize", "windowsize", "tsize"}, "an option that was not asked for"
        if self._parts:
            return False
        self._blksize = int(options.get("blksize", self._blksize))
        self._window = int(options.get("windowsize", 1))
        assert self._blksize <= BLKSIZE and self._window <= WINDOW, "more than was asked for"
        self._ack()
        return True

    def _data(self, packet: tftp_codec.Data) -> bool:
        expected = (len(self._parts) + 1) % tftp_codec.BLOCK_NUMBERS
        if packet.block != expected:
            if not self._told_gap:
                self._told_gap = True
                self._ack()
            return False
        assert len(packet.payload) <= self._blksize, "a block longer than agreed"
        self._told_gap = False
        self._parts.append(packet.payload)
        self._since_ack += 1
        self._done = len(packet.payload) < self._blksize
        if self._done or self._since_ack == self._window:
            self._ack()
        return True

    def _ack(self) -> None:
        self._since_ack = 0
        assert self._peer is not None
        block = len(self._parts) % tftp_codec.BLOCK_NUMBERS
        self._socket.send(tftp_codec.serialise(tftp_codec.Ack(block)), self._peer)


Tell = Callable[[str], None]
NETWORK_ERRORS = (OSError, FwmgrError)
