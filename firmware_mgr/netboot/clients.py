"""Who asks, by what its DHCP packet says of it, and the form of reply that such a client takes.

Knows the identities of boot loaders (PXE 2.1, RFC 4578, RFC 3004, iPXE, UEFI, U-Boot, Raspberry Pi). Refuses
to know cards: which file a client gets is the card's table, read here by the client's names. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.dhcp_codec import DhcpPacket
from firmware_mgr.netboot.served import ServedCard


class ClientKind(Enum):
    PLAIN = "plain DHCP"
    U_BOOT = "U-Boot"
    UEFI_PXE = "UEFI PXE"
    BIOS_PXE = "BIOS PXE"
    UEFI_HTTP = "UEFI HTTP"
    IPXE = "iPXE"
    PI_ROM = "Raspberry Pi ROM"
    PI_EEPROM = "Raspberry Pi EEPROM"
    ONIE = "ONIE"


PXE_CLASS = b"PXEClient"
HTTP_CLASS = b"HTTPClient"
U_BOOT_CLASS = b"U-Boot"
ONIE_CLASS = b"onie_vendor"
IPXE_USER_CLASS = b"iPXE"
UUID_LENGTH = 17  # option 97: a type byte and 16 bytes, RFC 4578 §2.3
BIOS = 0  # option 93: "Intel x86PC"

#: Option 93 (IANA, processor architecture types) → the client's name in a board's table of boot files.
ARCHITECTURES: Mapping[int, str] = MappingProxyType(
    {
        0: "bios",
        6: "uefi-ia32",
        7: "uefi-x64",
        9: "uefi-x64",  # "EBC", which x64 firmware says
        10: "uefi-arm32",
        11: "uefi-arm64",
        15: "http-ia32",
        16: "http-x64",
        18: "http-arm32",
        19: "http-arm64",
        21: "uboot-arm32",
        22: "uboot-arm64",
        23: "uboot-http-arm32",
        24: "uboot-http-arm64",
        25: "uefi-riscv32",
        26: "http-riscv32",
        27: "uefi-riscv64",
        28: "http-riscv64",
        29: "uefi-riscv128",
        30: "http-riscv128",
        41: "rpiboot",
    }
)
IPXE_NAME = "ipxe"
#: All names that may stand in a board's table.
CLIENT_NAMES = frozenset({IPXE_NAME, *ARCHITECTURES.values()})


@dataclass(frozen=True, slots=True)
class Client:
    """What a client is. `names` are those it goes by in a board's table of boot files, the best first."""

    kind: ClientKind
    architectures: tuple[int, ...]
    names: tuple[str, ...]
    fetches_urls: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of a reply. `vendor_class` is option 60, `vendor_options` 43, `ipxe_options` 175; empty: none.

    `echoes_uuid`: option 97 goes back. `url`: the boot file is told as a URL in option 67 alone.
    """

    vendor_class: bytes = b""
    vendor_options: bytes = b""
    ipxe_options: bytes = b""
    echoes_uuid: bool = False
    url: bool = False


#: PXE 2.1 §2.2.5: tag 6 (discovery control) = 8: no discovery, boot the file that this reply names.
_BOOT_THIS_FILE = bytes((6, 1, 8, 255))
#: iPXE's option 176 = 1: do not wait for a proxy's offer.
_NO_PROXY = bytes((176, 1, 1))


def _pi_menu(name: bytes) -> bytes:
    """What the Pi looks for: discovery control 3, a prompt "PXE", a menu with its name as item 0."""
    prompt = bytes((10, 4, 0)) + b"PXE"
    menu = bytes((9, len(name) + 3, 0, 0, len(name))) + name
    return bytes((6, 1, 3)) + prompt + menu + bytes((255,))


#: Kind of client → form of the reply to it. Every kind has one.
SHAPES: Mapping[ClientKind, Shape] = MappingProxyType(
    {
        ClientKind.PLAIN: Shape(),
        ClientKind.U_BOOT: Shape(),
        ClientKind.ONIE: Shape(),
        # With option 43 UEFI firmware takes the reply for a boot menu and asks for one on port 4011.
        ClientKind.UEFI_PXE: Shape(vendor_class=PXE_CLASS, echoes_uuid=True),
        ClientKind.BIOS_PXE: Shape(vendor_class=PXE_CLASS, vendor_options=_BOOT_THIS_FILE, echoes_uuid=True),
        ClientKind.UEFI_HTTP: Shape(vendor_class=HTTP_CLASS, echoes_uuid=True, url=True),
        # Without option 60 iPXE takes this for a plain offer and asks no boot server.
        ClientKind.IPXE: Shape(ipxe_options=_NO_PROXY, echoes_uuid=True, url=True),
        # The 3B's ROM compares three spaces too.
        ClientKind.PI_ROM: Shape(
            vendor_class=PXE_CLASS, vendor_options=_pi_menu(b"Raspberry Pi Boot   "), echoes_uuid=True
        ),
        ClientKind.PI_EEPROM: Shape(
            vendor_class=PXE_CLASS, vendor_options=_pi_menu(b"Raspberry Pi Boot"), echoes_uuid=True
        ),
    }
)


def client_of(packet: DhcpPacket) -> Client:
    """The client that sent `packet`."""
    kind = next(kind for kind, fits in RECOGNISED if fits(packet))
    said = packet.architectures
    names = tuple(dict.fromkeys(name for number in said for name in _names(number)))
    if kind is ClientKind.IPXE:
        return Client(kind, said, (IPXE_NAME, *names), _ipxe_fetches_http(packet))
    return Client(kind, said, names, SHAPES[kind].url)


def boot_file_for(client: Client, card: ServedCard) -> str:
    """The name of the file that `client` on `card` boots; empty when there is none for it.

    The first row for one of its names whose file the card's image has; else the first row; else the card's
    boot file. iPXE is never sent iPXE again: that chain would have no end.
    """
    rows = [
        row
        for name in client.names
        for row in card.boot_files
        if row.client == name and not (row.is_ipxe and client.kind is ClientKind.IPXE)
    ]
    there = next((row.file for row in rows if row.file in card.files), None)
    if there is not None:
        return there
    return rows[0].file if rows else card.boot_file


def _names(architecture: int) -> tuple[str, ...]:
    """An HTTP client also takes what the same firmware would take by TFTP."""
    name = ARCHITECTURES.get(architecture)
    if name is None:
        return ()
    return (name, name.replace("http-", "uefi-", 1)) if name.startswith("http-") else (name,)


def boot_item(packet: DhcpPacket) -> bytes:
    """Tag 71 of option 43, whole: the item that a client asks the boot service for (PXE 2.1 §2.2.5)."""
    raw = packet.options.get(codec.OPT_VENDOR_OPTIONS, b"")
    at = 0
    while at + 2 <= len(raw) and raw[at] != 255:
        if raw[at] == 0:
            at += 1
            continue
        end = at + 2 + raw[at + 1]
        if raw[at] == 71 and raw[at + 1] == 4 and end <= len(raw):
            return raw[at:end]
        at = end
    return b""


def _vendor_class(packet: DhcpPacket) -> bytes:
    return packet.options.get(codec.OPT_VENDOR_CLASS, b"")


def user_classes(packet: DhcpPacket) -> tuple[bytes, ...]:
    """Option 77: the classes of RFC 3004 (each behind its length), or the whole when it has not that form."""
    raw = packet.options.get(codec.OPT_USER_CLASS, b"")
    classes, at = [], 0
    while at < len(raw):
        length = raw[at]
        if length == 0 or at + 1 + length > len(raw):
            return (raw,)  # as iPXE sends it
        classes.append(raw[at + 1 : at + 1 + length])
        at += 1 + length
    return tuple(classes)


def _is_ipxe(packet: DhcpPacket) -> bool:
    return (
        IPXE_USER_CLASS in user_classes(packet) or packet.options.get(codec.OPT_USER_CLASS) == IPXE_USER_CLASS
    )


def _ipxe_fetches_http(packet: DhcpPacket) -> bool:
    """Option 175 lists the features built in, each as tag, length, version; 19 is HTTP."""
    raw = packet.options.get(codec.OPT_IPXE, b"")
    at = 0
    while at + 2 <= len(raw):
        tag, length = raw[at], raw[at + 1]
        if tag == 19:
            return any(raw[at + 2 : at + 2 + length])
        at += 2 + length
    return False


def _uuid(packet: DhcpPacket) -> bytes:
    """Option 97 without its type byte, empty when it has another length."""
    raw = packet.options.get(codec.OPT_CLIENT_UUID, b"")
    return raw[1:] if len(raw) == UUID_LENGTH else b""


def _is_pi_eeprom(packet: DhcpPacket) -> bool:
    """Its UUID begins with a name such as RPi4."""
    return _vendor_class(packet).startswith(PXE_CLASS) and _uuid(packet)[:3] == b"RPi"


def _is_pi_rom(packet: DhcpPacket) -> bool:
    """It says x86; its UUID is one word four times: 0x44444444 (3B), or its serial number (3B+)."""
    uuid = _uuid(packet)
    return (
        _vendor_class(packet).startswith(b"PXEClient:Arch:00000:UNDI:002001")
        and uuid != b""
        and uuid == uuid[:4] * 4
        and any(uuid)
        and uuid != b"\xff" * 16
    )


def _is_bios(packet: DhcpPacket) -> bool:
    """PXE firmware that names no architecture, or this one alone, is a BIOS (RFC 4578 came after it)."""
    return _vendor_class(packet).startswith(PXE_CLASS) and set(packet.architectures) <= {BIOS}


def _begins(prefix: bytes) -> Callable[[DhcpPacket], bool]:
    return lambda packet: _vendor_class(packet).startswith(prefix)


#: The first that fits. iPXE says PXEClient as the firmware below it does; a Pi says that it is a BIOS.
RECOGNISED: tuple[tuple[ClientKind, Callable[[DhcpPacket], bool]], ...] = (
    (ClientKind.IPXE, _is_ipxe),
    (ClientKind.PI_EEPROM, _is_pi_eeprom),
    (ClientKind.PI_ROM, _is_pi_rom),
    (ClientKind.UEFI_HTTP, _begins(HTTP_CLASS)),
    (ClientKind.BIOS_PXE, _is_bios),
    (ClientKind.UEFI_PXE, _begins(PXE_CLASS)),
    (ClientKind.U_BOOT, _begins(U_BOOT_CLASS)),
    (ClientKind.ONIE, _begins(ONIE_CLASS)),
    (ClientKind.PLAIN, lambda _: True),
)
