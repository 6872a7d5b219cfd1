"""The three pristine orders with the real agent, on both kinds of cards: into service, and once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.sim_rig import SimRig
from tests.scenarios.words import BURN_ALL, IN_SERVICE, Words

ORDERS = {
    "store-first": {"order": "store-first"},
    "image-first": {"order": "image-first"},
    "ram-saved": {"order": "from-ram", "save_image": True},
    "ram": {"order": "from-ram", "save_image": False},
}


@pytest.fixture
def system() -> Iterator[SimSystem]:
    """A card for each order, and image and package in the catalogue."""
    system = SimSystem(len(ORDERS))
    system.make_site()
    system.start_master()
    board = next(bay.card.hardware.board.name for bay in system.chassis.bays.values() if bay.card)
    system.post("/v1/images", {"path": str(system.build_image(board, "1.0").folder)})
    system.post("/v1/packages", {"path": str(system.build_package())})
    yield system
    system.close()


@pytest.fixture(params=["sim", pytest.param("qemu", marks=[pytest.mark.qemu, pytest.mark.waits])])
def cards(request: pytest.FixtureRequest) -> Words:
    """Pristine cards, each in a class of its order's name; a master that has image and package."""
    rig: Words
    if request.param == "sim":
        rig = SimRig(request.getfixturevalue("system"))
    else:
        rig = request.getfixturevalue("fresh")
        rig.start_master()
    for slot, (name, order) in zip(rig.slots, ORDERS.items(), strict=True):
        rig.post("/v1/classes", {"name": name, **order})
        rig.post("/v1/assign", {"class": name, "cards": [str(slot)]})
    return rig


def by_class(rig: Words, value: Callable[[dict[str, object]], object]) -> dict[str, object]:
    return {str(card["class"]): value(card) for card in rig.get("/v1/cards")}


def in_service(rig: Words) -> None:
    for slot in rig.slots:
        rig.wait_in_service(slot, IN_SERVICE)


def test_cards_of_all_orders_go_through_one_burn_all_and_come_back_each_in_its_way(cards: Words) -> None:
    operation = cards.wait_burned(cards.burn_all(), BURN_ALL)
    in_service(cards)
    assert by_class(cards, lambda card: card["booted_from"]) == {
        "store-first": "a",
        "image-first": "a",
        "ram-saved": "netboot",
        "ram": "netboot",
    }
    starts = {
        name: [state for state, _ in operation["cards"][str(slot)]["history"]].count("booting")
        for slot, name in zip(cards.slots, ORDERS, strict=True)
    }
    moments = {
        state: [at for work in operation["cards"].values() for name, at in work["history"] if name == state]
        for state in ("stored", "validated")
    }
    assert len(moments["stored"]) == len(ORDERS)
    assert max(moments["stored"]) <= min(moments["validated"]), "one ran before all had stored"
    assert starts == {"store-first": 1, "image-first": 1, "ram-saved": 0, "ram": 0}
    assert all("This card is in service" in cards.page(slot) for slot in cards.slots)
    bulk = {slot: card["provisioning"]["bulk"] for slot, card in operation["cards"].items()}
    written = {slot: card["boot_written"] for slot, card in operation["cards"].items()}
    assert written[str(cards.slots[3])] == 0 and min(bulk.values()) > 0
    # And with their power cut: each in its way, and nothing is stored again.
    before = len(cards.get("/v1/record")["document"])
    for slot in cards.slots:
        cards.take_out(slot)
        cards.power(slot, PowerAction.ON)
    in_service(cards)
    assert by_class(cards, lambda card: card["booted_from"]) == {
        "store-first": "a",
        "image-first": "a",
        "ram-saved": "a",
        "ram": "netboot",
    }
    assert len(cards.get("/v1/record")["document"]) == before
