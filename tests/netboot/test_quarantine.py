"""Clients that fit no card: the table of answers, the addresses lent, and what a flood can do."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot import dhcp_codec as codec
from firmware_mgr.netboot.dhcp import Decision, Ignored, Reply, decide
from firmware_mgr.netboot.dhcp_codec import UNSET, DhcpPacket, MessageType
from firmware_mgr.netboot.limits import RateLimit
from firmware_mgr.netboot.quarantine import (
    ANSWERS,
    LEASE_SECONDS,
    SKIP_SECONDS,
    Answer,
    Misfit,
    QuarantinePool,
)
from firmware_mgr.netboot.served import Lease, LeaseState, ServedCard, Subnet

from .rack import BROADCAST_ARRIVAL, MAC, SERVER, card, packet

LENT = IPv4Address("10.77.0.230")
NOW = 1_700_000_000
LOADER = {60: b"PXEClient:Arch:00011:UNDI:003000", 93: b"\0\x0b"}
WRONG = {60: b"PXEClient:Arch:00007:UNDI:003000", 93: b"\0\x07"}
DECLINED = Lease(card().address, MAC, b"", NOW + 20, LeaseState.DECLINED)

#: Reason → the card in whose name is asked, its lease, and the options of a loader that meets it.
MISFITS: dict[Misfit, tuple[ServedCard | None, Lease | None, dict[int, bytes]]] = {
    Misfit.UNKNOWN: (None, None, LOADER),
    Misfit.WRONG_ARCHITECTURE: (card(), None, WRONG),
    Misfit.WRONG_SUBNET: (card(address="10.99.0.3"), None, LOADER),
    Misfit.NO_IMAGE: (card({}), None, LOADER),
    Misfit.ADDRESS_IN_USE: (card(), DECLINED, LOADER),
    Misfit.ADDRESS_UNUSABLE: (card(address="10.77.0.1"), None, LOADER),
}


def judge(misfit: Misfit, sent: DhcpPacket, spare: IPv4Address | None = LENT) -> Decision:
    held, lease, _ = MISFITS[misfit]
    return decide(sent, BROADCAST_ARRIVAL, held, SERVER, lease, now=NOW, spare=spare)


def discover(options: dict[int, bytes], giaddr: IPv4Address = UNSET) -> DhcpPacket:
    return packet(MessageType.DISCOVER, options=options, giaddr=giaddr)


def request(options: dict[int, bytes], address: IPv4Address, *, selecting: bool = True) -> DhcpPacket:
    ours = {54: SERVER.address.packed} if selecting else {}
    return packet(MessageType.REQUEST, options={**options, **ours, 50: address.packed})


@pytest.mark.parametrize(("misfit", "answer"), [(misfit, ANSWERS[misfit, True]) for misfit in Misfit])
def test_a_loader_gets_the_answer_of_the_table(misfit: Misfit, answer: Answer) -> None:
    held, _, options = MISFITS[misfit]
    decision = judge(misfit, discover(options))
    if answer in (Answer.IGNORE, Answer.REFUSE):
        assert isinstance(decision, Ignored)
        assert decision.misfit is misfit
        return
    assert isinstance(decision, Reply)
    offer = decision.packet
    assert decision.misfit is misfit
    assert (offer.file, offer.siaddr) == (b"", UNSET)
    assert not {codec.OPT_BOOT_FILE, codec.OPT_TFTP_SERVER} & set(offer.options)
    assert decision.lease is None
    if answer is Answer.BARE:
        assert held is not None
        assert (offer.yiaddr, decision.lent_for) == (held.address, 0)
    else:
        assert (offer.yiaddr, offer.number(codec.OPT_LEASE_TIME)) == (LENT, LEASE_SECONDS)
        assert decision.lent_for > 0


def test_every_reason_has_an_answer_for_loaders_and_others() -> None:
    assert set(ANSWERS) == {(misfit, loader) for misfit in Misfit for loader in (True, False)}
    assert set(MISFITS) == set(Misfit)


def test_anybodys_machine_is_not_answered_and_one_behind_our_relay_is() -> None:
    assert isinstance(judge(Misfit.UNKNOWN, discover({60: b"MSFT 5.0"})), Ignored)
    behind = judge(Misfit.UNKNOWN, discover({60: b"MSFT 5.0"}, IPv4Address("10.77.0.200")))
    assert isinstance(behind, Reply)
    assert behind.packet.yiaddr == LENT


def test_a_card_that_runs_from_flash_needs_no_boot_image_here() -> None:
    decision = judge(Misfit.NO_IMAGE, discover({60: b"udhcp 1.35.0"}))
    assert isinstance(decision, Reply)
    assert decision.misfit is None


def test_a_lent_address_is_acknowledged_to_whom_it_is_lent() -> None:
    ack = judge(Misfit.UNKNOWN, request(LOADER, LENT))
    assert isinstance(ack, Reply)
    assert (ack.message, ack.packet.yiaddr, ack.lent_for) == (MessageType.ACK, LENT, LEASE_SECONDS)
    assert ack.lease is None
    nak = judge(Misfit.UNKNOWN, request(LOADER, card().address))
    assert isinstance(nak, Reply)
    assert nak.message is MessageType.NAK


def test_an_unknown_client_of_perhaps_another_server_meets_silence() -> None:
    asks = request(LOADER, IPv4Address("192.168.1.5"), selecting=False)
    assert isinstance(judge(Misfit.UNKNOWN, asks), Ignored)
    chose = packet(MessageType.REQUEST, options={**LOADER, 54: b"\x0a\x4d\0\x63", 50: b"\x0a\x4d\0\x63"})
    assert isinstance(judge(Misfit.UNKNOWN, chose), Ignored)


def test_without_a_free_address_the_reason_says_so() -> None:
    decision = judge(Misfit.UNKNOWN, discover(LOADER), spare=None)
    assert isinstance(decision, Ignored)
    assert "no quarantine address is free" in decision.reason


POOL = Subnet(SERVER.network, None, tuple(IPv4Address(f"10.77.0.{n}") for n in range(220, 224)))
MACS = [MacAddress(f"02:00:00:00:00:{n:02x}") for n in range(6)]


def test_lent_addresses_are_never_lent_twice_and_come_back() -> None:
    pool = QuarantinePool()
    lent = []
    for mac in MACS[:4]:
        address = pool.spare(mac, POOL, 0.0)
        assert address is not None
        pool.lend(mac, address, 100.0)
        lent.append(address)
    assert sorted(lent) == list(POOL.quarantine)
    assert pool.spare(MACS[4], POOL, 99.0) is None
    assert pool.spare(MACS[0], POOL, 99.0) == lent[0]
    assert pool.spare(MACS[4], POOL, 100.0) is not None


def test_another_master_draws_the_same_address_for_the_same_mac() -> None:
    assert QuarantinePool().spare(MAC, POOL, 0.0) == QuarantinePool().spare(MAC, POOL, 5000.0)


def test_an_offer_does_not_shorten_a_lease() -> None:
    pool = QuarantinePool()
    pool.lend(MAC, POOL.quarantine[0], 120.0)
    pool.lend(MAC, POOL.quarantine[0], 20.0)
    assert pool.spare(MAC, POOL, 100.0) == POOL.quarantine[0]


def test_a_barred_address_is_not_lent() -> None:
    pool = QuarantinePool()
    assert pool.spare(MAC, POOL, 0.0, POOL.quarantine[1:]) == POOL.quarantine[0]
    assert pool.spare(MAC, POOL, 0.0, POOL.quarantine) is None
    assert pool.spare(MAC, replace(POOL, quarantine=()), 0.0) is None


def test_a_lent_address_found_in_use_is_left_alone_for_a_while() -> None:
    pool = QuarantinePool()
    first = pool.spare(MAC, POOL, 0.0)
    assert first is not None
    pool.declined(MAC, 0.0)  # nothing is lent yet: not believed
    assert pool.spare(MAC, POOL, 0.0) == first
    pool.lend(MAC, first, 120.0)
    pool.declined(MAC, 1.0)
    assert pool.spare(MAC, POOL, 2.0) not in (first, None)
    assert pool.spare(MAC, POOL, 1.0 + SKIP_SECONDS) == first


def test_a_rate_is_kept_for_each_key_and_few_keys_are_remembered() -> None:
    limit = RateLimit(per_second=1.0, burst=3.0, keys=2)
    assert [limit.allows("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert limit.allows("b", 0.0)
    assert limit.allows("a", 1.0)
    assert not limit.allows("a", 1.5)
    for i in range(1000):
        limit.allows(i, 2.0)
    assert len(limit) == 2
