"""DHCP clients and relays that we did not write: dhclient, dhcpcd, udhcpc; dhcrelay with option 82, dnsmasq.

Needs network namespaces: as root, or where users may make them. Fails where a program is not there.
"""

from __future__ import annotations

from typing import Any

import pytest

from firmware_mgr.netboot import dhcp_codec as codec

from .wires import RELAY, SERVER, said_by

BOUND = [("discover", "offer"), ("request", "ack")]
IP_HEADER, UDP_HEADER = 14, 34


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return said_by("dhcp_clients_in_namespace", tmp_path_factory.mktemp("dhcp"), 300)


def as_pairs(decided: list[list[str]]) -> list[tuple[str, str]]:
    """Without repetitions: a client on a busy machine may ask again."""
    return list(dict.fromkeys((message, decision) for message, decision in decided))


def check_told(told: dict[str, str], address: str, slot: str) -> None:
    expected = {
        "new_ip_address": address,
        "new_subnet_mask": "255.255.255.0",
        "new_host_name": slot,
        "new_tftp_server_name": "10.77.0.1",
        "new_bootfile_name": "boot.scr.uimg",
        "new_dhcp_lease_time": "3600",
        "new_dhcp_server_identifier": "10.77.0.1",
    }
    assert {key: told.get(key) for key in expected} == expected


def test_dhclient_is_bound_and_told_everything_and_releases(said: dict[str, Any]) -> None:
    check_told(said["dhclient"]["told"], "10.77.0.13", "slot1")
    assert as_pairs(said["dhclient"]["decided"]) == [*BOUND, ("release", "recorded")]


def test_dhcpcd_is_bound_and_told_everything(said: dict[str, Any]) -> None:
    check_told(said["dhcpcd"]["told"], "10.77.0.13", "slot1")
    assert as_pairs(said["dhcpcd"]["decided"])[:2] == BOUND


def test_udhcpc_after_the_others_is_the_same_card(said: dict[str, Any]) -> None:
    told = said["udhcpc"]["told"]
    assert (told["ip"], told["mask"], told["hostname"], told["bootfile"]) == (
        "10.77.0.13", "24", "slot1", "boot.scr.uimg"
    )  # fmt: skip
    assert as_pairs(said["udhcpc"]["decided"]) == BOUND


@pytest.mark.parametrize("relay", ["dhcrelay", "dnsmasq"])
def test_clients_behind_a_relay_are_bound_in_its_subnet(said: dict[str, Any], relay: str) -> None:
    told = said[relay]["udhcpc"]["told"]
    assert (told["ip"], told["mask"], told["hostname"], told["router"]) == (
        "10.78.0.13",
        "24",
        "slot2",
        str(RELAY),
    )
    assert as_pairs(said[relay]["udhcpc"]["decided"]) == BOUND
    check_told(said[relay]["dhclient"]["told"], "10.78.0.13", "slot2")
    assert as_pairs(said[relay]["dhclient"]["decided"])[:2] == BOUND


def payloads(frames: list[str], source: str, destination: str) -> list[codec.DhcpPacket]:
    """DHCP packets from one address and port 67 to another address and port 67, of a capture."""
    found = []
    for raw in map(bytes.fromhex, frames):
        is_udp = (
            raw[12:14] == b"\x08\x00"
            and raw[23] == 17
            and raw[UDP_HEADER : UDP_HEADER + 4] == b"\0\x43\0\x43"
        )
        addresses = (".".join(map(str, raw[26:30])), ".".join(map(str, raw[30:34])))
        if is_udp and addresses == (source, destination):
            found.append(codec.parse(raw[UDP_HEADER + 8 :]))
    return found


@pytest.mark.parametrize("relay", ["dhcrelay", "dnsmasq"])
def test_the_answer_goes_to_the_relays_own_address_and_server_port(said: dict[str, Any], relay: str) -> None:
    answers = payloads(said[relay]["frames"], str(SERVER.address), str(RELAY))
    assert [answer.number(codec.OPT_MESSAGE_TYPE) for answer in answers[:2]] == [2, 5]
    assert all(answer.giaddr == RELAY for answer in answers)


def test_option_82_goes_back_as_the_relay_wrote_it(said: dict[str, Any]) -> None:
    frames = said["dhcrelay"]["frames"]
    requests = [
        packet
        for source in ("10.77.0.9", str(RELAY))
        for packet in payloads(frames, source, str(SERVER.address))
    ]
    answers = payloads(frames, str(SERVER.address), str(RELAY))
    sent = {packet.options[codec.OPT_RELAY_INFO] for packet in requests}
    assert len(sent) == 1 and b"relay1" in next(iter(sent))
    assert {packet.options[codec.OPT_RELAY_INFO] for packet in answers} == sent
    assert "Discarding" not in said["dhcrelay"]["log"], said["dhcrelay"]["log"]


def test_a_card_behind_the_relay_fetches_its_files(said: dict[str, Any]) -> None:
    assert said["dhcrelay"]["fetched"]
