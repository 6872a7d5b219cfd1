"""The form of a DHCP reply: fields, options, how it is made to fit, where it goes (RFC 2131 §4.1, table 3).

Knows what a reply says once it has been decided that there is one. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from types import MappingProxyType
from urllib.parse import quote

from firmware_mgr.model.errors import UsageError
from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.clients import (
    SHAPES,
    UUID_LENGTH,
    Client,
    Shape,
    boot_file_for,
    boot_item,
    client_of,
)
from firmware_mgr.netboot.dhcp_codec import UNSET, DhcpPacket, MessageType, Op
from firmware_mgr.netboot.relay import BROADCAST, Way
from firmware_mgr.netboot.served import ServedCard, ServerIdentity

IP_AND_UDP = 28  # bytes of both headers; option 57 counts them, RFC 2132 §9.10
MIN_MESSAGE = 576
MAX_MESSAGE = 1500
MAX_FILE_FIELD = codec.FILE_SIZE - 1
MAX_REASON = 128

#: What is left out, first to last, of a reply that does not fit. 67 only when `file` says the same.
DISPENSABLE = (
    codec.OPT_DOMAIN,
    codec.OPT_HOSTNAME,
    codec.OPT_TFTP_SERVER,
    codec.OPT_BOOT_FILE,
    codec.OPT_RELAY_INFO,
    codec.OPT_CLIENT_ID,
)


@dataclass(frozen=True, slots=True)
class Destination:
    """An address, and whether its port is the relay's (a server's, 67) or the client's (68, or `port`)."""

    address: IPv4Address
    to_relay: bool = False
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What a client is given; without a boot file it is not told a boot server either."""

    address: IPv4Address
    lease_seconds: int
    hostname: str = ""
    boot_file: str = ""


def destination(request: DhcpPacket, message: MessageType, given: IPv4Address | None) -> Destination:
    """Where the reply goes: to the relay, to the address that the client has and is given, or to all.

    The broadcast address also serves a client that would take unicast but has no address yet: RFC 2131 §4.1
    allows it, and unicast there would need a raw socket. A ciaddr that is not the client's is believed by
    nobody: the answer would go to a third.
    """
    if request.giaddr != UNSET:
        return Destination(request.giaddr, to_relay=True)
    if message is MessageType.NAK or request.ciaddr != given:
        return Destination(BROADCAST)
    return Destination(request.ciaddr)


def given_to(card: ServedCard, client: Client, server: ServerIdentity) -> Given:
    """What `client` on `card` is given."""
    return Given(card.address, server.lease_seconds, card.hostname, boot_file_for(client, card))


def reply_packet(
    request: DhcpPacket, message: MessageType, given: Given, way: Way, server: ServerIdentity
) -> tuple[DhcpPacket, int]:
    """OFFER or ACK, and the bytes that it may have. INFORM's ACK carries neither address nor times."""
    informs = request.number(codec.OPT_MESSAGE_TYPE) == MessageType.INFORM
    client = client_of(request)
    shape = SHAPES[client.kind]
    boot_file = given.boot_file
    as_url = bool(boot_file) and shape.url and client.fetches_urls
    boot_text = (url_of(boot_file, server) if as_url else boot_file).encode("ascii")
    options: dict[int, bytes] = {
        codec.OPT_MESSAGE_TYPE: bytes((message,)),
        codec.OPT_SERVER_ID: way.server_id.packed,
        **_identity(request, shape),
    }
    if not informs:
        options[codec.OPT_LEASE_TIME] = _seconds(given.lease_seconds)
        options[codec.OPT_T1] = _seconds(given.lease_seconds // 2)  # RFC 2131 §4.4.5
        options[codec.OPT_T2] = _seconds(given.lease_seconds * 7 // 8)
    subnet = way.subnet
    options[codec.OPT_NETMASK] = subnet.network.netmask.packed
    options |= {
        code: value
        for code, value in (
            (codec.OPT_ROUTER, subnet.router.packed if subnet.router else b""),
            (codec.OPT_HOSTNAME, given.hostname.encode("ascii")),
            (codec.OPT_DOMAIN, server.domain.encode("ascii")),
            (codec.OPT_TFTP_SERVER, str(server.address).encode("ascii") if boot_file else b""),
            (codec.OPT_BOOT_FILE, boot_text),
        )
        if value
    }
    reply = replace(
        _answer(request, options),
        ciaddr=request.ciaddr if message is MessageType.ACK else UNSET,
        yiaddr=UNSET if informs else given.address,
        siaddr=server.address if boot_file else UNSET,
        file=b"" if as_url or len(boot_text) > MAX_FILE_FIELD else boot_text,
    )
    return _fitted(reply, _limit(request))


def boot_service_packet(
    request: DhcpPacket, card: ServedCard, server: ServerIdentity
) -> tuple[DhcpPacket, int]:
    """What the boot service on port 4011 answers: a file, and no address (PXE 2.1 §2.4.5)."""
    client = client_of(request)
    item = boot_item(request)
    boot_file = boot_file_for(client, card).encode("ascii")
    options = {
        codec.OPT_MESSAGE_TYPE: bytes((MessageType.ACK,)),
        codec.OPT_SERVER_ID: server.address.packed,
        **_identity(request, replace(SHAPES[client.kind], vendor_options=item + b"\xff" if item else b"")),
    }
    if boot_file:
        options[codec.OPT_BOOT_FILE] = boot_file
    reply = replace(
        _answer(request, options),
        ciaddr=request.ciaddr,
        siaddr=server.address,
        file=boot_file if len(boot_file) <= MAX_FILE_FIELD else b"",
    )
    return _fitted(reply, _limit(request))


def url_of(name: str, server: ServerIdentity) -> str:
    """Where the server's HTTP has the file of that name."""
    port = "" if server.http_port == 80 else f":{server.http_port}"
    return f"http://{server.address}{port}/{quote(name)}"


def _identity(request: DhcpPacket, shape: Shape) -> dict[int, bytes]:
    """The options by which a boot loader knows a reply meant for it."""
    uuid = request.options.get(codec.OPT_CLIENT_UUID, b"")
    return {
        code: value
        for code, value in (
            (codec.OPT_VENDOR_CLASS, shape.vendor_class),
            (codec.OPT_CLIENT_UUID, uuid if shape.echoes_uuid and len(uuid) == UUID_LENGTH else b""),
            (codec.OPT_VENDOR_OPTIONS, shape.vendor_options),
            (codec.OPT_IPXE, shape.ipxe_options),
        )
        if value
    }


def nak_packet(request: DhcpPacket, way: Way, reason: str) -> tuple[DhcpPacket, int]:
    """NAK with its reason in option 56. Through a relay it asks for broadcast (RFC 2131 §4.3.2)."""
    options = {
        codec.OPT_MESSAGE_TYPE: bytes((MessageType.NAK,)),
        codec.OPT_SERVER_ID: way.server_id.packed,
        codec.OPT_MESSAGE: reason.encode("ascii", "replace")[:MAX_REASON],
    }
    nak = _answer(request, options)
    if request.giaddr != UNSET:
        nak = replace(nak, flags=request.flags | codec.FLAG_BROADCAST)
    return _fitted(nak, _limit(request))


def _answer(request: DhcpPacket, options: dict[int, bytes]) -> DhcpPacket:
    """What every reply takes over: option 61 (RFC 6842) and, last, 82 (RFC 3046 §2.2).

    82 goes back without a giaddr too: a switch that only listens in finds the port to send on by it.
    """
    for code in (codec.OPT_CLIENT_ID, codec.OPT_RELAY_INFO):
        if code in request.options:
            options[code] = request.options[code]
    return DhcpPacket(
        op=Op.REPLY,
        xid=request.xid,
        chaddr=request.chaddr,
        htype=request.htype,
        flags=request.flags,
        giaddr=request.giaddr,
        options=MappingProxyType(options),
    )


def _limit(request: DhcpPacket) -> int:
    """Bytes of UDP payload that the client takes, from option 57."""
    said = request.number(codec.OPT_MAX_SIZE) or MIN_MESSAGE
    return min(max(said, MIN_MESSAGE), MAX_MESSAGE) - IP_AND_UDP


def _fitted(reply: DhcpPacket, limit: int) -> tuple[DhcpPacket, int]:
    """The reply without what must be left out for it to have `limit` bytes."""
    for code in (*DISPENSABLE, None):
        try:
            codec.serialise(reply, limit)
        except UsageError:
            if code is None:
                raise
            if code == codec.OPT_BOOT_FILE and not reply.file:
                continue
            left = {other: value for other, value in reply.options.items() if other != code}
            reply = replace(reply, options=MappingProxyType(left))
        else:
            break
    return reply, limit


def _seconds(value: int) -> bytes:
    return value.to_bytes(4, "big")
