"""U-Boot asks twice in one boot, as itself and as a UEFI PXE client. The packets are real ones (golden/)."""

from __future__ import annotations

import pytest

from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot import tftp_codec
from firmware_mgr.netboot.dhcp import Reply, decide
from firmware_mgr.netboot.dhcp_codec import MessageType
from firmware_mgr.netboot.dhcp_reply import Destination
from firmware_mgr.netboot.relay import BROADCAST
from firmware_mgr.netboot.served import MemoryLeases

from .goldens import read_golden
from .rack import BROADCAST_ARRIVAL, MAC, SERVER, card

PACKETS = read_golden("uboot-2023.01-aarch64.txt")
IDENTITIES = {"script": (b"U-Boot.armv8", (22,)), "efi": (b"PXEClient:Arch:00011:UNDI:003000", (11,))}


@pytest.mark.parametrize("identity", IDENTITIES)
def test_each_identity_is_read(identity: str) -> None:
    vendor_class, architectures = IDENTITIES[identity]
    for step in ("discover", "request"):
        packet = codec.parse(PACKETS[f"{identity}-{step}"])
        assert packet.mac == MAC
        assert packet.file == b"boot.scr.uimg"
        assert packet.options[codec.OPT_VENDOR_CLASS] == vendor_class
        assert packet.architectures == architectures
        assert packet.number(codec.OPT_MAX_SIZE) == 576


@pytest.mark.parametrize("step", ["discover", "request"])
@pytest.mark.parametrize("identity", IDENTITIES)
def test_writing_a_packet_again_gives_the_same_bytes(identity: str, step: str) -> None:
    golden = PACKETS[f"{identity}-{step}"]
    written = codec.serialise(codec.parse(golden))
    shorter = min(len(golden), len(written))
    assert golden[:shorter] == written[:shorter]
    assert not any(golden[shorter:])
    assert not any(written[shorter:])


async def test_both_identities_in_one_boot_get_the_same_address_and_one_lease() -> None:
    held, leases = card(), MemoryLeases()
    for now, name in enumerate(
        ("script-discover", "script-request", "efi-discover", "efi-request"), 1_700_000_000
    ):
        decision = decide(
            codec.parse(PACKETS[name]), BROADCAST_ARRIVAL, held, SERVER, leases.get(MAC), now=now
        )
        assert isinstance(decision, Reply)
        assert decision.message is (MessageType.OFFER if "discover" in name else MessageType.ACK)
        assert decision.to == Destination(BROADCAST)
        assert (decision.packet.yiaddr, decision.packet.file) == (held.address, b"boot.scr.uimg")
        if decision.lease is not None:
            await leases.keep([decision.lease])
    assert [lease.address for lease in leases.held()] == [held.address]


def test_uboots_read_request_asks_for_timeout_and_block_size() -> None:
    request = tftp_codec.parse(PACKETS["script-rrq"])
    assert request == tftp_codec.Request(False, "boot.scr.uimg", "octet", {"timeout": "5", "blksize": "1468"})
