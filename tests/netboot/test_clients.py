"""Who asks → form of the reply: the whole table, with packets as such clients send them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.clients import (
    ARCHITECTURES,
    CLIENT_NAMES,
    RECOGNISED,
    SHAPES,
    ClientKind,
    boot_file_for,
    client_of,
    user_classes,
)
from firmware_mgr.netboot.dhcp import Ignored, Reply, decide, decide_boot_service
from firmware_mgr.netboot.dhcp_codec import UNSET, DhcpPacket, MessageType
from firmware_mgr.netboot.dhcp_reply import Destination
from firmware_mgr.netboot.served import BootFile, ServedCard

from .goldens import read_golden
from .rack import BROADCAST_ARRIVAL, SERVER, UNICAST_ARRIVAL, blob_of, card, packet

UUID = b"\0" + bytes(range(16))
PI4 = b"\0RPi4" + bytes.fromhex("1431d000320136c29ffefdef")
IPXE_HTTP = b"\x13\x01\x01"
PXE = b"PXEClient"
NAME = b"boot.scr.uimg"
URL = b"http://10.77.0.1/boot.scr.uimg"
MENU = b"\x06\x01\x03\x0a\x04\0PXE\x09"
PI_NAME = b"Raspberry Pi Boot"
ANY_ARCHITECTURE = frozenset(range(64))


@dataclass(frozen=True)
class Case:
    """What a client says (60, 93, 97, 77, 175) and what it is told (60, 43, 97, 175, 67, `file`)."""

    kind: ClientKind
    says: dict[int, bytes]
    told: dict[int, bytes]
    file: bytes = NAME


CASES = [
    Case(ClientKind.PLAIN, {60: b"udhcp 1.35.0"}, {67: NAME}),
    Case(ClientKind.PLAIN, {}, {67: NAME}),
    Case(ClientKind.U_BOOT, {60: b"U-Boot.armv8", 93: b"\0\x16"}, {67: NAME}),
    Case(ClientKind.ONIE, {60: b"onie_vendor:x86_64-kvm"}, {67: NAME}),
    Case(
        ClientKind.UEFI_PXE,
        {60: b"PXEClient:Arch:00007:UNDI:003000", 93: b"\0\x07", 97: UUID},
        {60: PXE, 97: UUID, 67: NAME},
    ),
    Case(
        ClientKind.BIOS_PXE,
        {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\0\0", 97: UUID},
        {60: PXE, 97: UUID, 43: b"\x06\x01\x08\xff", 67: NAME},
    ),
    Case(ClientKind.BIOS_PXE, {60: b"PXEClient"}, {60: PXE, 43: b"\x06\x01\x08\xff", 67: NAME}),
    Case(
        ClientKind.UEFI_HTTP,
        {60: b"HTTPClient:Arch:00016:UNDI:003000", 93: b"\0\x10", 97: UUID},
        {60: b"HTTPClient", 97: UUID, 67: URL},
        file=b"",
    ),
    Case(
        ClientKind.IPXE,
        {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\0\0", 97: UUID, 77: b"iPXE", 175: IPXE_HTTP},
        {97: UUID, 175: b"\xb0\x01\x01", 67: URL},
        file=b"",
    ),
    Case(ClientKind.IPXE, {77: b"\x04iPXE", 175: b"\x12\x01\x01"}, {175: b"\xb0\x01\x01", 67: NAME}),
    Case(
        ClientKind.PI_ROM,
        {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\0\0", 97: b"\0" + b"\x44" * 16},
        {60: PXE, 97: b"\0" + b"\x44" * 16, 43: MENU + b"\x17\0\0\x14" + PI_NAME + b"   \xff", 67: NAME},
    ),
    Case(
        ClientKind.PI_EEPROM,
        {60: b"PXEClient:Arch:00000:UNDI:002001", 93: b"\0\0", 97: PI4},
        {60: PXE, 97: PI4, 43: MENU + b"\x14\0\0\x11" + PI_NAME + b"\xff", 67: NAME},
    ),
]


def offered(says: dict[int, bytes], to: ServedCard) -> DhcpPacket:
    decision = decide(
        packet(MessageType.DISCOVER, options=says), BROADCAST_ARRIVAL, to, SERVER, None, now=1_700_000_000
    )
    assert isinstance(decision, Reply), decision
    return codec.parse(codec.serialise(decision.packet, decision.limit))


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case.kind.value}" for i, case in enumerate(CASES)])
def test_each_client_is_recognised_and_gets_its_form_of_reply(case: Case) -> None:
    sent = packet(MessageType.DISCOVER, options=case.says)
    assert client_of(sent).kind is case.kind
    offer = offered(case.says, replace(card(), client_architectures=ANY_ARCHITECTURE))
    told = {code: offer.options[code] for code in (43, 60, 67, 97, 175) if code in offer.options}
    assert told == case.told
    assert offer.file == case.file
    assert (offer.siaddr, offer.options[66]) == (SERVER.address, b"10.77.0.1")


def test_the_table_has_a_row_and_a_recogniser_for_every_kind_and_all_were_walked() -> None:
    assert set(SHAPES) == set(ClientKind) == {kind for kind, _ in RECOGNISED} == {case.kind for case in CASES}


def test_a_uuid_of_another_length_is_not_echoed() -> None:
    offer = offered({60: b"PXEClient", 93: b"\0\x0b", 97: b"\0" * 200}, card())
    assert codec.OPT_CLIENT_UUID not in offer.options


@pytest.mark.parametrize(
    ("raw", "classes"),
    [
        (b"iPXE", (b"iPXE",)),
        (b"\x04iPXE", (b"iPXE",)),
        (b"\x03abc\x04iPXE", (b"abc", b"iPXE")),
        (b"\x03ab", (b"\x03ab",)),
        (b"\x00", (b"\x00",)),
        (b"", ()),
    ],
)
def test_user_classes_are_read_in_both_forms(raw: bytes, classes: tuple[bytes, ...]) -> None:
    assert user_classes(packet(None, options={77: raw})) == classes


def test_every_architecture_gets_the_file_of_its_row() -> None:
    rows = tuple(BootFile(name, f"{name}.bin") for name in sorted(CLIENT_NAMES))
    held = replace(card(), boot_files=rows)
    for number, name in ARCHITECTURES.items():
        client = client_of(packet(None, options={60: b"PXEClient", 93: number.to_bytes(2, "big")}))
        assert boot_file_for(client, held) == f"{name}.bin"


TABLE = (
    BootFile("bios", "undionly.kpxe", is_ipxe=True),
    BootFile("ipxe", "boot.ipxe"),
    BootFile("uefi-x64", "linux.efi"),
)
BY_CLIENT = [
    ({60: PXE, 93: b"\0\0"}, "undionly.kpxe"),
    ({60: PXE, 93: b"\0\0", 77: b"iPXE"}, "boot.ipxe"),
    ({60: PXE, 93: b"\0\x07", 77: b"iPXE"}, "boot.ipxe"),
    ({60: PXE, 93: b"\0\x07"}, "linux.efi"),
    ({60: PXE, 93: b"\0\x09"}, "linux.efi"),
    ({60: b"HTTPClient", 93: b"\0\x10"}, "linux.efi"),
    ({60: PXE, 93: b"\0\x0b\0\x07"}, "linux.efi"),
    ({60: PXE, 93: b"\0\x0b"}, "boot.scr.uimg"),
    ({}, "boot.scr.uimg"),
]


@pytest.mark.parametrize(("says", "file"), BY_CLIENT)
def test_a_board_with_several_loaders_serves_each_its_own_file(says: dict[int, bytes], file: str) -> None:
    client = client_of(packet(None, options=says))
    assert boot_file_for(client, replace(card(), boot_files=TABLE)) == file


def test_ipxe_is_never_sent_ipxe() -> None:
    only_ipxe = replace(card(boot_file=""), boot_files=TABLE[:1])
    client = client_of(packet(None, options={60: PXE, 93: b"\0\0", 77: b"\x04iPXE"}))
    assert boot_file_for(client, only_ipxe) == ""


def test_a_row_whose_file_the_image_has_goes_before_one_whose_file_it_lacks(tmp_path: Path) -> None:
    held = replace(card({"linux.efi": blob_of(tmp_path / "efi", b"MZ")}), boot_files=TABLE)
    client = client_of(packet(None, options={60: PXE, 93: b"\0\x07", 77: b"iPXE"}))
    assert boot_file_for(client, held) == "linux.efi"


OVMF = read_golden("ovmf-2022.11-x64.txt")
X64 = replace(card(boot_file="linux.efi"), client_architectures=frozenset({7, 16}))


def test_ovmf_asks_port_67_then_the_boot_service_and_is_told_the_file_by_both() -> None:
    for step in ("pxe-discover", "pxe-request"):
        decision = decide(codec.parse(OVMF[step]), BROADCAST_ARRIVAL, X64, SERVER, None, now=1_700_000_000)
        assert isinstance(decision, Reply)
        assert decision.packet.file == b"linux.efi"
        assert decision.packet.options[codec.OPT_VENDOR_CLASS] == PXE
        assert codec.OPT_VENDOR_OPTIONS not in decision.packet.options
    asked = replace(UNICAST_ARRIVAL, port=4011)
    answer = decide_boot_service(codec.parse(OVMF["pxe-boot-service"]), asked, X64, SERVER)
    assert isinstance(answer, Reply)
    assert (answer.message, answer.to) == (MessageType.ACK, Destination(X64.address, port=4011))
    assert (answer.packet.yiaddr, answer.packet.siaddr) == (UNSET, SERVER.address)
    assert answer.packet.file == b"linux.efi"
    assert answer.lease is None


def test_ovmfs_http_boot_is_told_a_url_on_the_port_of_our_http_server() -> None:
    server = replace(SERVER, http_port=8080)
    discover = codec.parse(OVMF["http-discover"])
    decision = decide(discover, BROADCAST_ARRIVAL, X64, server, None, now=1_700_000_000)
    assert isinstance(decision, Reply)
    assert decision.packet.options[codec.OPT_BOOT_FILE] == b"http://10.77.0.1:8080/linux.efi"


def test_real_ipxe_is_recognised_and_fetches_by_http() -> None:
    for sent in read_golden("ipxe-1.0.0-bios.txt").values():
        client = client_of(codec.parse(sent))
        assert (client.kind, client.names, client.fetches_urls) == (ClientKind.IPXE, ("ipxe", "bios"), True)


def test_the_boot_service_answers_only_the_card_itself_at_its_own_address() -> None:
    asked = codec.parse(OVMF["pxe-boot-service"])
    elsewhere = replace(UNICAST_ARRIVAL, source=IPv4Address("10.77.0.99"))
    plain = replace(asked, options={**asked.options, codec.OPT_VENDOR_CLASS: b"udhcp"})
    discover = replace(asked, options={**asked.options, codec.OPT_MESSAGE_TYPE: b"\x01"})
    for sent, arrival, held in (
        (asked, elsewhere, X64),
        (asked, UNICAST_ARRIVAL, None),
        (plain, UNICAST_ARRIVAL, X64),
        (discover, UNICAST_ARRIVAL, X64),
        (asked, UNICAST_ARRIVAL, card()),
        (replace(asked, op=codec.Op.REPLY), UNICAST_ARRIVAL, X64),
    ):
        assert isinstance(decide_boot_service(sent, arrival, held, SERVER), Ignored)


def test_the_boot_service_echoes_the_item_that_was_asked_for() -> None:
    asked = codec.parse(OVMF["pxe-boot-service"])
    item = b"\x47\x04\x80\x00\x00\x00"
    sent = replace(asked, options={**asked.options, 43: b"\0\x06\x01\x08" + item + b"\xff"})
    answer = decide_boot_service(sent, UNICAST_ARRIVAL, X64, SERVER)
    assert isinstance(answer, Reply)
    assert answer.packet.options[codec.OPT_VENDOR_OPTIONS] == item + b"\xff"
