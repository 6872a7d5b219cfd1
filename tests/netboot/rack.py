"""A small rack for netboot tests: one card, its files, the server, and packets as its loaders send them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import MappingProxyType

from firmware_mgr.model.ids import CpuArch, Digest, MacAddress, SlotId
from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.dhcp import Arrival
from firmware_mgr.netboot.dhcp_codec import UNSET, DhcpPacket, MessageType, Op
from firmware_mgr.netboot.relay import BROADCAST
from firmware_mgr.netboot.served import Blob, ServedCard, ServerIdentity

MAC = MacAddress("52:54:00:12:34:56")
SERVER = ServerIdentity(IPv4Address("10.77.0.1"), IPv4Network("10.77.0.0/24"), lease_seconds=3600)
BROADCAST_ARRIVAL = Arrival(2, UNSET, BROADCAST)
UNICAST_ARRIVAL = Arrival(2, IPv4Address("10.77.0.13"), SERVER.address)


NOTHING = Blob(Digest.of(b""), 0, Path("/nonexistent"))


def blob_of(path: Path, data: bytes) -> Blob:
    path.write_bytes(data)
    return Blob(Digest.of(data), len(data), path)


def card(
    files: dict[str, Blob] | None = None,
    *,
    slot: int = 3,
    address: str = "10.77.0.13",
    mac: MacAddress = MAC,
    boot_file: str = "boot.scr.uimg",
) -> ServedCard:
    return ServedCard(
        slot=SlotId(slot),
        mac=mac,
        board="qemu-aarch64",
        arch=CpuArch.AARCH64,
        address=IPv4Address(address),
        hostname=f"slot{slot}",
        boot_file=boot_file,
        files=MappingProxyType(dict({"Image": NOTHING} if files is None else files)),
        client_architectures=frozenset({11, 22}),
    )


def packet(
    message: MessageType | None,
    *,
    mac: MacAddress = MAC,
    ciaddr: IPv4Address = UNSET,
    giaddr: IPv4Address = UNSET,
    flags: int = 0,
    options: dict[int, bytes] | None = None,
) -> DhcpPacket:
    head = {} if message is None else {codec.OPT_MESSAGE_TYPE: bytes((message,))}
    return DhcpPacket(
        op=Op.REQUEST,
        xid=0x26F30339,
        chaddr=mac.to_bytes(),
        ciaddr=ciaddr,
        giaddr=giaddr,
        flags=flags,
        options=MappingProxyType(head | (options or {})),
    )
