"""DHCP packets: parse and serialise (RFC 2131 §2, options RFC 2132, long options RFC 3396).

Knows the form of packets, not what to answer. `parse` raises DhcpFormatError and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address
from types import MappingProxyType

from construct import Bytes, Const, ConstructError, Int8ub, Int16ub, Int32ub, Struct

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import MacAddress

MAGIC_COOKIE = bytes((99, 130, 83, 99))  # RFC 2131 §3
SNAME_SIZE = 64
FILE_SIZE = 128
HEADER_SIZE = 240  # with the magic cookie
MIN_PACKET = 300  # a BOOTP packet; some clients drop shorter ones, RFC 1542 §2.1
MAX_PACKET = 65507  # what fits in a UDP datagram
HTYPE_ETHERNET = 1
FLAG_BROADCAST = 0x8000

OPT_PAD = 0
OPT_NETMASK = 1
OPT_ROUTER = 3
OPT_HOSTNAME = 12
OPT_DOMAIN = 15
OPT_VENDOR_OPTIONS = 43
OPT_REQUESTED_ADDRESS = 50
OPT_LEASE_TIME = 51
OPT_OVERLOAD = 52
OPT_MESSAGE_TYPE = 53
OPT_SERVER_ID = 54
OPT_PARAMETERS = 55
OPT_MESSAGE = 56
OPT_MAX_SIZE = 57
OPT_T1 = 58
OPT_T2 = 59
OPT_VENDOR_CLASS = 60
OPT_CLIENT_ID = 61
OPT_TFTP_SERVER = 66
OPT_BOOT_FILE = 67
OPT_USER_CLASS = 77  # RFC 3004
OPT_RELAY_INFO = 82  # RFC 3046
OPT_CLIENT_ARCH = 93  # RFC 4578 §2.1
OPT_CLIENT_UUID = 97  # RFC 4578 §2.3
OPT_IPXE = 175  # encapsulated, iPXE's own
OPT_END = 255

MAX_ARCHITECTURES = 16  # ours: loaders name one to three, and whoever is refused is repeated in words

OVERLOAD_FILE = 1
OVERLOAD_SNAME = 2

#: Options whose length is fixed, RFC 2132 §9 (those that decisions read).
FIXED_LENGTHS = {
    OPT_REQUESTED_ADDRESS: 4,
    OPT_LEASE_TIME: 4,
    OPT_OVERLOAD: 1,
    OPT_MESSAGE_TYPE: 1,
    OPT_SERVER_ID: 4,
    OPT_MAX_SIZE: 2,
}

Header = Struct(
    "op" / Int8ub,
    "htype" / Int8ub,
    "hlen" / Int8ub,
    "hops" / Int8ub,
    "xid" / Int32ub,
    "secs" / Int16ub,
    "flags" / Int16ub,
    "ciaddr" / Bytes(4),
    "yiaddr" / Bytes(4),
    "siaddr" / Bytes(4),
    "giaddr" / Bytes(4),
    "chaddr" / Bytes(16),
    "sname" / Bytes(SNAME_SIZE),
    "file" / Bytes(FILE_SIZE),
    "cookie" / Const(MAGIC_COOKIE),
)
assert Header.sizeof() == HEADER_SIZE


class DhcpFormatError(PeerError):
    """A packet that is no DHCP packet."""


class Op(IntEnum):
    REQUEST = 1
    REPLY = 2


class MessageType(IntEnum):
    """RFC 2132 §9.6."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


UNSET = IPv4Address(0)


@dataclass(frozen=True, slots=True)
class DhcpPacket:
    """A DHCP packet with its options joined (RFC 3396) and taken out of `file` and `sname` (option 52).

    `options` maps codes to contents, in the order in which they first came; PAD, END and 52 are never in it.
    `chaddr` has `hlen` bytes. `sname` and `file` are without padding, empty when they held options.
    """

    op: Op
    xid: int
    chaddr: bytes
    htype: int = HTYPE_ETHERNET
    hops: int = 0
    secs: int = 0
    flags: int = 0
    ciaddr: IPv4Address = UNSET
    yiaddr: IPv4Address = UNSET
    siaddr: IPv4Address = UNSET
    giaddr: IPv4Address = UNSET
    sname: bytes = b""
    file: bytes = b""
    options: Mapping[int, bytes] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def mac(self) -> MacAddress | None:
        """The Ethernet address, or None for other hardware."""
        if self.htype != HTYPE_ETHERNET or len(self.chaddr) != 6:
            return None
        return MacAddress.from_bytes(self.chaddr)

    @property
    def broadcast(self) -> bool:
        return bool(self.flags & FLAG_BROADCAST)

    def address(self, code: int) -> IPv4Address | None:
        """An option that holds one address (its length was checked when the packet was parsed)."""
        raw = self.options.get(code)
        return None if raw is None else IPv4Address(raw)

    def number(self, code: int) -> int | None:
        raw = self.options.get(code)
        return None if raw is None else int.from_bytes(raw, "big")

    @property
    def architectures(self) -> tuple[int, ...]:
        """Option 93: the client's architectures, first the preferred one; no more than MAX_ARCHITECTURES."""
        raw = self.options.get(OPT_CLIENT_ARCH, b"")[: 2 * MAX_ARCHITECTURES]
        return tuple(int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2))


def parse(data: bytes) -> DhcpPacket:
    """Read a UDP payload. Raises DhcpFormatError. Bytes after END are padding and are not looked at."""
    try:
        header = Header.parse(data)
        op = Op(header.op)
    except (ConstructError, ValueError) as e:
        raise DhcpFormatError("not a DHCP packet", found=f"{len(data)} bytes: {_first_line(e)}") from e
    if header.hlen > 16:
        raise DhcpFormatError("hardware address too long", expected="16 bytes at most", found=header.hlen)
    pieces = _read_area(data[HEADER_SIZE:], "options")
    overload = _overload(pieces)
    if overload & OVERLOAD_FILE:  # RFC 3396 §5: options, then file, then sname
        pieces += _read_area(header.file, "file")
    if overload & OVERLOAD_SNAME:
        pieces += _read_area(header.sname, "sname")
    return DhcpPacket(
        op=op,
        xid=header.xid,
        chaddr=header.chaddr[: header.hlen],
        htype=header.htype,
        hops=header.hops,
        secs=header.secs,
        flags=header.flags,
        ciaddr=IPv4Address(header.ciaddr),
        yiaddr=IPv4Address(header.yiaddr),
        siaddr=IPv4Address(header.siaddr),
        giaddr=IPv4Address(header.giaddr),
        sname=b"" if overload & OVERLOAD_SNAME else _until_nul(header.sname),
        file=b"" if overload & OVERLOAD_FILE else _until_nul(header.file),
        options=MappingProxyType(_joined(pieces)),
    )


def serialise(packet: DhcpPacket, limit: int = MAX_PACKET) -> bytes:
    """The packet in at most `limit` bytes and at least MIN_PACKET. Raises UsageError when it cannot be.

    Options that find no room in the options area go into `file`, then `sname`, where those are empty.
    """
    if len(packet.chaddr) > 16 or len(packet.sname) > SNAME_SIZE or len(packet.file) > FILE_SIZE:
        raise UsageError(
            "field too long for a DHCP packet",
            expected=f"chaddr 16, sname {SNAME_SIZE}, file {FILE_SIZE} at most",
            found=f"{len(packet.chaddr)}, {len(packet.sname)}, {len(packet.file)}",
        )
    pieces = [_option_bytes(code, value) for code, value in packet.options.items()]
    options, in_file, in_sname = _arranged(
        pieces,
        limit - HEADER_SIZE - 1,
        FILE_SIZE - 1 if not packet.file else 0,
        SNAME_SIZE - 1 if not packet.sname else 0,
    )
    overload = (OVERLOAD_FILE if in_file else 0) | (OVERLOAD_SNAME if in_sname else 0)
    if overload:
        options = _option_bytes(OPT_OVERLOAD, bytes((overload,))) + options
    end = bytes((OPT_END,))
    header = Header.build(
        {
            "op": packet.op,
            "htype": packet.htype,
            "hlen": len(packet.chaddr),
            "hops": packet.hops,
            "xid": packet.xid,
            "secs": packet.secs,
            "flags": packet.flags,
            "ciaddr": packet.ciaddr.packed,
            "yiaddr": packet.yiaddr.packed,
            "siaddr": packet.siaddr.packed,
            "giaddr": packet.giaddr.packed,
            "chaddr": packet.chaddr.ljust(16, b"\0"),
            "sname": ((in_sname + end) if in_sname else packet.sname).ljust(SNAME_SIZE, b"\0"),
            "file": ((in_file + end) if in_file else packet.file).ljust(FILE_SIZE, b"\0"),
        }
    )
    return bytes((header + options + end).ljust(MIN_PACKET, b"\0"))


def _arranged(pieces: list[bytes], room: int, file_room: int, sname_room: int) -> tuple[bytes, bytes, bytes]:
    """Each option whole into one area, the options area first. Raises UsageError when one fits nowhere."""
    overloading = sum(map(len, pieces)) > room
    areas = [b"", b"", b""]
    rooms = [room - 3 if overloading else room, file_room, sname_room]  # option 52 takes three bytes
    for piece in pieces:
        for i, area in enumerate(areas):
            if len(area) + len(piece) <= rooms[i]:
                areas[i] = area + piece
                break
        else:
            raise UsageError(
                "DHCP options do not fit", expected=f"{rooms} bytes", found=f"{sum(map(len, pieces))} bytes"
            )
    return areas[0], areas[1], areas[2]


def _option_bytes(code: int, value: bytes) -> bytes:
    """One option; a value over 255 bytes becomes several of the same code (RFC 3396 §6)."""
    if not OPT_PAD < code < OPT_END:
        raise UsageError("not an option code", expected="1 to 254", found=code)
    cuts = range(0, max(len(value), 1), 255)
    return b"".join(bytes((code, len(value[i : i + 255]))) + value[i : i + 255] for i in cuts)


def _read_area(area: bytes, name: str) -> list[tuple[int, bytes]]:
    pieces: list[tuple[int, bytes]] = []
    at = 0
    while at < len(area):
        code = area[at]
        if code == OPT_END:
            return pieces
        if code == OPT_PAD:
            at += 1
            continue
        if at + 2 > len(area) or at + 2 + area[at + 1] > len(area):
            raise DhcpFormatError(f"option {code} runs over the end", where=name)
        length = area[at + 1]
        pieces.append((code, area[at + 2 : at + 2 + length]))
        at += 2 + length
    raise DhcpFormatError("options without END", where=name)


def _overload(pieces: list[tuple[int, bytes]]) -> int:
    found = [value for code, value in pieces if code == OPT_OVERLOAD]
    if not found:
        return 0
    if len(found) > 1 or len(found[0]) != 1 or found[0][0] not in (1, 2, 3):
        raise DhcpFormatError("option 52 is wrong", expected="one byte, 1 to 3, once", found=found)
    return found[0][0]


def _joined(pieces: list[tuple[int, bytes]]) -> dict[int, bytes]:
    """Options of one code are one option, RFC 3396 §7; lengths are checked on the whole."""
    parts: dict[int, list[bytes]] = {}
    for code, value in pieces:
        parts.setdefault(code, []).append(value)
    parts.pop(OPT_OVERLOAD, None)
    options = {code: b"".join(values) for code, values in parts.items()}
    for code, length in FIXED_LENGTHS.items():
        if code in options and len(options[code]) != length:
            raise DhcpFormatError(
                f"option {code} has a wrong length", expected=length, found=len(options[code])
            )
    if len(options.get(OPT_CLIENT_ARCH, b"")) % 2:
        raise DhcpFormatError("option 93 has a wrong length", expected="pairs of bytes")
    return options


def _until_nul(raw: bytes) -> bytes:
    return raw.split(b"\0", 1)[0]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
