"""Reads captures of the backplane: who said what to whom, in bytes. Frames are Ethernet, IPv4, UDP and TCP.

pcap: draft-ietf-opsawg-pcap. DHCP: RFC 2131 §2 and RFC 2132. Knows ports, not what is in their bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from firmware_mgr.lab.plan import mac_of
from firmware_mgr.model.ids import SlotId

_MAGIC = b"\xd4\xc3\xb2\xa1"  # little endian, microseconds
_ETHERNET = 1
_IPV4 = 0x0800
_TCP, _UDP = 6, 17
DHCP_SERVER, DHCP_CLIENT, TFTP, HTTP = 67, 68, 69, 80
_DHCP_NEXT_SERVER = slice(20, 24)  # siaddr
_DHCP_OPTIONS = 240
_DHCP_SERVER_IDENTIFIER = 54
_SYN = 0x02


@dataclass(frozen=True, slots=True)
class Packet:
    """An IPv4 packet with a UDP or TCP payload. `sequence` and `syn` are TCP's."""

    from_mac: str
    to_mac: str
    source: IPv4Address
    target: IPv4Address
    transport: int
    from_port: int
    to_port: int
    payload: bytes
    sequence: int = 0
    syn: bool = False

    @property
    def udp(self) -> bool:
        return self.transport == _UDP

    @property
    def tcp(self) -> bool:
        return self.transport == _TCP


def read_packets(path: Path) -> list[Packet]:
    """All UDP and TCP packets of a capture, but for a last frame that the end of its machine cut off."""
    raw = path.read_bytes()
    assert raw[:4] == _MAGIC, f"{path}: not a pcap file of the kind QEMU writes"
    assert struct.unpack_from("<I", raw, 20)[0] == _ETHERNET
    return [packet for frame in _frames(raw) if (packet := _packet(frame)) is not None]


def _frames(raw: bytes) -> Iterator[bytes]:
    at = 24
    while at + 16 <= len(raw):
        (length,) = struct.unpack_from("<I", raw, at + 8)
        frame = raw[at + 16 : at + 16 + length]
        if len(frame) < length:
            return
        yield frame
        at += 16 + length


def _packet(frame: bytes) -> Packet | None:
    if len(frame) < 34 or int.from_bytes(frame[12:14], "big") != _IPV4:
        return None
    ip = frame[14:]
    head = (ip[0] & 15) * 4
    body = ip[head : int.from_bytes(ip[2:4], "big")]
    transport = ip[9]
    assert not int.from_bytes(ip[6:8], "big") & 0x1FFF, "a fragment: this reader does not put them together"
    ends = (frame[6:12].hex(":"), frame[:6].hex(":"), IPv4Address(ip[12:16]), IPv4Address(ip[16:20]))
    if transport == _UDP:
        from_port, to_port, length = struct.unpack_from(">HHH", body)
        return Packet(*ends, transport, from_port, to_port, body[8:length])
    if transport == _TCP:
        from_port, to_port, sequence = struct.unpack_from(">HHI", body)
        payload = body[(body[12] >> 4) * 4 :]
        return Packet(*ends, transport, from_port, to_port, payload, sequence, bool(body[13] & _SYN))
    return None


def of_card(packets: Iterable[Packet], slot: SlotId) -> list[Packet]:
    """Those that the slot's card sent or that were sent to it, broadcasts to all not counted."""
    mac = str(mac_of(slot)).lower()
    return [packet for packet in packets if mac in (packet.from_mac, packet.to_mac)]


def dhcp_servers(packets: Iterable[Packet]) -> set[tuple[IPv4Address, str, IPv4Address, IPv4Address]]:
    """For each DHCP answer: sender, its MAC address, server identifier (option 54), next server."""
    answers = [packet for packet in packets if packet.udp and packet.from_port == DHCP_SERVER]
    return {
        (
            packet.source,
            packet.from_mac,
            IPv4Address(_dhcp_option(packet.payload, _DHCP_SERVER_IDENTIFIER)),
            IPv4Address(packet.payload[_DHCP_NEXT_SERVER]),
        )
        for packet in answers
    }


def _dhcp_option(message: bytes, wanted: int) -> bytes:
    at = _DHCP_OPTIONS
    while message[at] != 255:
        if message[at] == 0:
            at += 1
            continue
        if message[at] == wanted:
            return message[at + 2 : at + 2 + message[at + 1]]
        at += 2 + message[at + 1]
    raise AssertionError(f"no option {wanted} in a DHCP answer")


def bytes_by_service(packets: Iterable[Packet], slot: SlotId) -> dict[str, int]:
    """Payload bytes that went to the card, by who sent them: `tftp`, `dhcp`, or `tcp PORT` of the sender.

    TFTP's data come from any port (RFC 1350 §4): all UDP that is not DHCP counts as that. Of TCP each byte
    counts once, however often it was sent.
    """
    mac = str(mac_of(slot)).lower()
    counts: dict[str, int] = {}
    first: dict[tuple[IPv4Address, int, int], int] = {}
    furthest: dict[tuple[IPv4Address, int, int], int] = {}
    for packet in packets:
        if packet.from_mac == mac or (packet.to_mac != mac and not packet.payload):
            continue
        if packet.udp:
            name = "dhcp" if packet.from_port == DHCP_SERVER else "tftp"
            if name == "dhcp" or packet.to_mac == mac:
                counts[name] = counts.get(name, 0) + len(packet.payload)
        elif packet.to_mac == mac:
            stream = (packet.source, packet.from_port, packet.to_port)
            if packet.syn:
                first[stream], furthest[stream] = packet.sequence + 1, 0
            elif packet.payload and stream in first:
                end = (packet.sequence - first[stream] + len(packet.payload)) % (1 << 32)
                new = end - furthest[stream]
                if 0 < new < 1 << 31:
                    furthest[stream] = end
                    name = f"tcp {packet.from_port}"
                    counts[name] = counts.get(name, 0) + new
    return counts
