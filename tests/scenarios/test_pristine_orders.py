"""The three pristine orders with the real agent, in process: pristine cards into service, and once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.rack.hands import PowerAction

ORDERS = {
    "store-first": {"order": "store-first"},
    "image-first": {"order": "image-first"},
    "ram-saved": {"order": "from-ram", "save_image": True},
    "ram": {"order": "from-ram", "save_image": False},
}


@pytest.fixture
def system() -> Iterator[SimSystem]:
    """A card for each order, in a class of that name, with image and package in the catalogue."""
    system = SimSystem(len(ORDERS))
    system.make_site()
    system.start_master()
    board = next(bay.card.hardware.board.name for bay in system.chassis.bays.values() if bay.card)
    system.post("/v1/images", {"path": str(system.build_image(board, "1.0").folder)})
    system.post("/v1/packages", {"path": str(system.build_package())})
    for slot, (name, order) in zip(system.slots, ORDERS.items(), strict=True):
        system.post("/v1/classes", {"name": name, **order})
        system.post("/v1/assign", {"class": name, "cards": [str(slot)]})
    yield system
    system.close()


def by_class(system: SimSystem, value: Callable[[dict[str, object]], object]) -> dict[str, object]:
    return {str(card["class"]): value(card) for card in system.get("/v1/cards")}


def in_service(system: SimSystem) -> None:
    system.wait_until(
        "all serve",
        lambda: all(card["state"] == "in service" for card in system.get("/v1/cards")),
        900.0,
    )


def test_cards_of_all_orders_go_through_one_burn_all_and_come_back_each_in_its_way(system: SimSystem) -> None:
    identifier = system.post("/v1/burn-all")["id"]
    operation = system.wait_until(
        "it is over",
        lambda: seen if (seen := system.get(f"/v1/operations/{identifier}"))["finished"] else None,
        900.0,
    )
    assert operation["state"] == "done" and operation["ready_for_use"]
    in_service(system)
    assert by_class(system, lambda card: card["booted_from"]) == {
        "store-first": "a",
        "image-first": "a",
        "ram-saved": "netboot",
        "ram": "netboot",
    }
    starts = {
        name: [state for state, _ in operation["cards"][str(slot)]["history"]].count("booting")
        for slot, name in zip(system.slots, ORDERS, strict=True)
    }
    assert starts == {"store-first": 1, "image-first": 1, "ram-saved": 0, "ram": 0}
    assert all("This card is in service" in system.page(slot) for slot in system.slots)
    bulk = {slot: card["provisioning"]["bulk"] for slot, card in operation["cards"].items()}
    written = {slot: card["boot_written"] for slot, card in operation["cards"].items()}
    assert written[str(system.slots[3])] == 0 and min(bulk.values()) > 0
    # And with their power cut: each in its way, and nothing is stored again.
    before = len(system.get("/v1/record")["document"])
    for slot in system.slots:
        system.run(system.chassis.power(slot, PowerAction.CYCLE))
    system.pass_time(1.0)
    in_service(system)
    assert by_class(system, lambda card: card["booted_from"]) == {
        "store-first": "a",
        "image-first": "a",
        "ram-saved": "a",
        "ram": "netboot",
    }
    assert len(system.get("/v1/record")["document"]) == before
