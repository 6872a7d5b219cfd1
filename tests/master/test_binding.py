"""Cards on a network without a slot register: recognised by key or MAC, waiting, bound, moved, refused."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware_mgr.link import messages as m
from firmware_mgr.master.binding import BINDS, CLAIMS, Showing, showing
from firmware_mgr.master.bindings import MAX_WAITING, Claimant, Wish
from firmware_mgr.master.trust import key_fingerprint
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import MacAddress, SlotId
from firmware_mgr.model.lifecycle import OperationState
from tests.master.rack_twin import Rack, TwinCard
from tests.master.test_service import kinds

ONE, TWO = MacAddress("52:54:00:00:00:01"), MacAddress("52:54:00:00:00:02")
STRANGE = "10.77.0.240"


@asynccontextmanager
async def network(folder: Path, **settings: Any) -> AsyncIterator[Rack]:
    """A master without hands, on an ordinary network."""
    rack = Rack(folder, slots=0)
    rack.settings = replace(rack.settings, **settings)
    rack.hands = None  # type: ignore[assignment]
    rack.master = rack._make()
    rack.hands = type("Off", (), {"powered": {}, "power_ons": dict.fromkeys(range(1, 9), 0)})()
    async with rack:
        yield rack


class Asker:
    """A card as it enrols: a key and a MAC."""

    def __init__(self, rack: Rack, mac: MacAddress) -> None:
        self._rack = rack
        self.mac = mac
        self._key = Ed25519PrivateKey.generate()
        self.fingerprint = key_fingerprint(self._key.public_key())

    async def enrol(self, address: str = STRANGE) -> SlotId:
        """The slot in the certificate that it gets. Raises PeerError."""
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(self._key, None)
        csr = request.public_bytes(serialization.Encoding.PEM).decode()
        document = {"slot": None, "mac": str(self.mac), "board": "qemu-aarch64", "csr": csr}
        pem = await self._rack.master.enrol(address, document)
        names = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        (uri,) = names.value.get_values_for_type(x509.UniformResourceIdentifier)
        return SlotId.parse(uri.removeprefix("fwmgr:slot/"))

    def card(self, number: int, address: str = "") -> TwinCard:
        """The card as it then speaks on the link."""
        card = TwinCard(self._rack, number, self.fingerprint)
        card.mac = str(self.mac)
        card.address = address or card.address
        return card


def own_address(rack: Rack, number: int) -> str:
    return str(rack.settings.card_address(SlotId(number)))


def test_the_tables_are_total() -> None:
    assert set(CLAIMS) == set(itertools.product(Showing, (False, True)))
    assert set(BINDS) == set(itertools.product((False, True), repeat=2))
    x, y = SlotId(1), SlotId(2)
    pairs = [(None, None), (x, None), (None, x), (x, x), (x, y)]
    assert [showing(*pair) for pair in pairs] == list(Showing)


async def test_an_unknown_card_waits_and_is_shown_with_the_next_step(tmp_path: Path) -> None:
    async with network(tmp_path) as rack:
        asker = Asker(rack, ONE)
        with pytest.raises(PeerError, match=r"no slot is bound.*fwmgr card bind SLOT --key") as caught:
            await asker.enrol()
        assert str(ONE) in str(caught.value) and asker.fingerprint[:16] in str(caught.value)
        (shown,) = rack.master.bindings.document()
        assert (shown["mac"], shown["board"], shown["key"]) == (str(ONE), "qemu-aarch64", asker.fingerprint)
        await rack.master.bind(SlotId(1), Wish(key=asker.fingerprint[:16]))
        assert rack.master.bindings.document() == []
        assert await asker.enrol() == SlotId(1)


async def test_a_slot_bound_to_a_mac_takes_the_first_key_that_comes_from_its_address(tmp_path: Path) -> None:
    async with network(tmp_path) as rack:
        await rack.master.bind(SlotId(3), Wish(ONE, board="qemu-aarch64"))
        served = rack.master.roster.card_by_mac(ONE)
        assert served is not None and str(served.address) == own_address(rack, 3)
        first, second = Asker(rack, ONE), Asker(rack, ONE)
        with pytest.raises(PeerError, match="does not sit where it says"):
            await first.enrol()  # the MAC is only said; whoever has the slot's address was told so by DHCP
        assert await first.enrol(own_address(rack, 3)) == SlotId(3)
        with pytest.raises(PeerError, match="another key"):
            await second.enrol(own_address(rack, 3))


async def test_a_key_brings_its_card_back_with_another_mac_and_from_any_address(tmp_path: Path) -> None:
    async with network(tmp_path) as rack:
        await rack.master.bind(SlotId(1), Wish(ONE, board="qemu-aarch64"))
        asker = Asker(rack, ONE)
        await asker.enrol(own_address(rack, 1))
        asker.mac = TWO
        assert await asker.enrol() == SlotId(1)
        assert rack.master.roster.get(SlotId(1)).record.mac == TWO
        # The same on the link, for a card that has its certificate already.
        asker.mac = ONE
        assert kinds(await asker.card(1, STRANGE).hello())[0] == "welcome"
        assert rack.master.roster.get(SlotId(1)).record.mac == ONE
        await rack.restart()
        assert rack.master.roster.card_by_mac(ONE) is not None
        assert kinds(await asker.card(1, STRANGE).hello())[0] == "welcome"


async def test_two_cards_with_one_key_are_told_apart_while_the_first_is_linked(tmp_path: Path) -> None:
    async with network(tmp_path) as rack:
        await rack.master.bind(SlotId(1), Wish(ONE, board="qemu-aarch64"))
        asker = Asker(rack, ONE)
        await asker.enrol(own_address(rack, 1))
        first = asker.card(1)
        await first.hello()
        asker.mac = TWO
        with pytest.raises(PeerError, match="two cards claim one slot"):
            await asker.enrol()
        (refused,) = await asker.card(1, STRANGE).hello()
        assert isinstance(refused, m.Refused) and refused.error["what"] == "two cards claim one slot"
        assert rack.master.roster.get(SlotId(1)).record.mac == ONE
        await first.lose()
        assert kinds(await asker.card(1, STRANGE).hello())[0] == "welcome"


async def test_key_of_one_slot_and_mac_of_another_wait_for_the_user_who_moves_the_card(
    tmp_path: Path,
) -> None:
    async with network(tmp_path) as rack:
        one, two = Asker(rack, ONE), Asker(rack, TWO)
        for number, asker in ((1, one), (2, two)):
            await rack.master.bind(SlotId(number), Wish(asker.mac, board="qemu-aarch64"))
            await asker.enrol(own_address(rack, number))
        one.mac = TWO
        with pytest.raises(PeerError, match="key and MAC are of different slots"):
            await one.enrol()
        with pytest.raises(UsageError, match=r"another card's.*fwmgr card unbind 2"):
            await rack.master.bind(SlotId(2), Wish(key=one.fingerprint))
        await rack.master.unbind(SlotId(2))
        await rack.master.bind(SlotId(2), Wish(key=one.fingerprint))
        assert rack.master.roster.get(SlotId(1)).record.key_fingerprint is None
        assert await one.enrol() == SlotId(2)


async def test_a_moved_card_takes_its_key_along_and_leaves_the_slots_software(tmp_path: Path) -> None:
    async with network(tmp_path) as rack:
        asker = Asker(rack, ONE)
        await rack.master.bind(SlotId(1), Wish(ONE, board="qemu-aarch64"))
        await asker.enrol(own_address(rack, 1))
        await rack.master.want(SlotId(1), "1", None)
        await rack.master.bind(SlotId(7), Wish(ONE))
        left, new = (rack.master.roster.get(SlotId(number)).record for number in (1, 7))
        assert (left.mac, left.key_fingerprint, left.present) == (None, None, False)
        assert left.wanted is not None and new.wanted is None
        assert (new.mac, new.key_fingerprint, new.board) == (ONE, asker.fingerprint, "qemu-aarch64")
        assert await asker.enrol() == SlotId(7)


async def test_unknown_cards_are_adopted_into_free_slots_where_asked(tmp_path: Path) -> None:
    async with network(tmp_path, adopt=1) as rack:
        assert await Asker(rack, ONE).enrol() == SlotId(1)
        assert await Asker(rack, TWO).enrol() == SlotId(2)
        await rack.restart()
        assert [str(entry.slot) for entry in rack.master.roster] == ["1", "2"]


async def test_what_cannot_be_bound_is_refused(tmp_path: Path) -> None:
    async with network(tmp_path) as rack:
        for slot, wish, why in (
            (SlotId(1), Wish(), "nothing to bind to"),
            (SlotId(1), Wish(ONE), "which board is it"),
            (SlotId(1), Wish(ONE, board="toaster"), "no such board"),
            (SlotId(1), Wish(key="abcd"), "no card with this key waits"),
            (SlotId(201), Wish(ONE, board="qemu-aarch64"), "no address for this slot"),
        ):
            with pytest.raises(UsageError, match=why):
                await rack.master.bind(slot, wish)
        assert list(rack.master.roster) == []
        await rack.master.bind(SlotId(1), Wish(port="0x01/0x02", board="qemu-aarch64"))
        with pytest.raises(UsageError, match="port is another slot's"):
            await rack.master.bind(SlotId(2), Wish(port="0x01/0x02"))
        assert rack.master.roster.card_by_port(b"\x01", b"\x02") is not None
        await rack.restart()
        assert rack.master.roster.card_by_port(b"\x01", b"\x02") is not None
        await rack.master.unbind(SlotId(1))
        assert rack.master.roster.card_by_port(b"\x01", b"\x02") is None


async def test_a_slot_of_a_register_is_not_bound_to_a_mac(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        with pytest.raises(UsageError, match="the slot register says"):
            await rack.master.bind(SlotId(1), Wish(ONE))
        with pytest.raises(UsageError, match="not bound"):
            await rack.master.unbind(SlotId(1))


async def test_waiting_cards_are_kept_up_to_a_bound(tmp_path: Path) -> None:
    async with network(tmp_path) as rack:
        for number in range(MAX_WAITING + 5):
            claimant = Claimant(None, f"{number:064x}", "x", STRANGE)
            with pytest.raises(PeerError):
                await rack.master.bindings.recognise(claimant)
        waiting = rack.master.bindings.document()
        assert len(waiting) == MAX_WAITING and waiting[0]["key"] == f"{MAX_WAITING + 4:064x}"


async def test_a_burn_all_without_hands_resets_over_the_link_and_says_whom_to_power_cycle(
    tmp_path: Path,
) -> None:
    async with network(tmp_path) as rack:
        cards = []
        for number, mac in ((1, ONE), (2, TWO)):
            asker = Asker(rack, mac)
            await rack.master.bind(SlotId(number), Wish(mac, board="qemu-aarch64"))
            await asker.enrol(own_address(rack, number))
            cards.append(asker.card(number))
        first = cards[0]
        await first.hello()
        operation = await rack.master.burn_all(None, False)
        await rack.settle()
        assert first.told()[-1] == m.Reset("the master asks for it", netboot=True)
        assert "power-cycle it by hand" in rack.reason(2) and "by hand" not in rack.reason(1)
        await first.lose()
        for card in cards:
            rack.hands.power_ons[card.slot.number] += 1
            assert kinds(await card.hello()) == ["welcome", "burn"]
        said = {card.slot: kinds(await card.burn()) for card in cards}
        await rack.settle()
        said[first.slot] += kinds(first.told())
        assert set(map(tuple, said.values())) == {("hold", "reset")}
        for card in cards:
            await card.lose()
            rack.hands.power_ons[card.slot.number] += 1
            card.source = m.BootSource.A
            assert kinds(await card.hello()) == ["welcome", "run"]
            await card.run()
        assert rack.master.desk.operations[operation.id].state is OperationState.DONE
