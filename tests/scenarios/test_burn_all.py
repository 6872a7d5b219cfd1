"""Issue 2, done when 2: whose boot image and address cards take, and what travels in a warm boot."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from firmware_mgr.link.messages import BULK_PORT, ENROL_PORT, LINK_PORT
from firmware_mgr.model.ids import SlotId
from tests.scenarios.capture import HTTP, bytes_by_service, dhcp_servers
from tests.scenarios.provisioned import Provisioned

pytestmark = pytest.mark.qemu

MASTER = IPv4Address("10.77.0.1")


def test_every_dhcp_answer_is_the_masters(provisioned: Provisioned) -> None:
    for captures in (provisioned.provisioning, provisioned.warm_boot):
        for slot, packets in captures.items():
            servers = dhcp_servers(packets)
            assert len(servers) == 1, f"slot {slot} had answers from {servers}"
            (source, _, identifier, next_server), *_ = servers
            assert (source, identifier, next_server) == (MASTER, MASTER, MASTER)


def test_whole_boot_image_comes_from_the_master_and_nothing_from_anybody_else(
    provisioned: Provisioned,
) -> None:
    for slot, packets in provisioned.provisioning.items():
        card = IPv4Address(f"10.77.0.{10 + slot.number}")
        speakers = {packet.source for packet in packets if packet.target == card and packet.payload}
        assert speakers == {MASTER}
        served = bytes_by_service(packets, slot)
        assert served["tftp"] >= provisioned.netboot_length(slot)
        # The image's last piece may be all zeros, as pristine flash is: it need not travel.
        assert served[f"tcp {BULK_PORT}"] >= provisioned.image_length(slot) - (1 << 20)


def test_no_byte_of_image_or_package_travels_in_the_warm_boot(provisioned: Provisioned) -> None:
    for slot, packets in provisioned.warm_boot.items():
        served = bytes_by_service(packets, slot)
        assert {name for name in served if name != "dhcp"} == {f"tcp {LINK_PORT}"}, served
        assert served[f"tcp {LINK_PORT}"] < 20_000
        asked = {packet.to_port for packet in packets if packet.target == MASTER and packet.tcp}
        assert not asked & {BULK_PORT, ENROL_PORT, HTTP}, "the card knocked at a port that serves bytes"


def test_the_masters_counters_say_so_too(provisioned: Provisioned) -> None:
    written: dict[str, set[int]] = {}
    for number, work in provisioned.operation["cards"].items():
        slot = SlotId.parse(number)
        assert work["warm_boot"] == {"netboot": 0, "bulk": 0}, f"slot {number}"
        assert work["provisioning"]["netboot"] >= provisioned.netboot_length(slot)
        assert 0 < work["boot_written"] <= provisioned.image_length(slot)
        assert 0 < work["package_written"] <= provisioned.package_length
        written.setdefault(provisioned.rig.board(slot), set()).add(work["package_written"])
    assert all(len(lengths) == 1 for lengths in written.values()), "cards of one board got other bytes"


def test_ready_for_use_was_said_once_all_had_stored(provisioned: Provisioned) -> None:
    operation = provisioned.operation
    assert "all cards have stored: ready for use" in operation["events"]
    moments = [dict(work["history"]) for work in operation["cards"].values()]
    assert max(moment["stored"] for moment in moments) <= min(moment["booting"] for moment in moments)
