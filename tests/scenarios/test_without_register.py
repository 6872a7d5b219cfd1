"""A chassis without a slot register, in process: cards found by message, bound by MAC or key (R-1.7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.model.ids import MacAddress, SlotId
from firmware_mgr.rack.hands import PowerAction

NEW_MAC = MacAddress("52:54:00:f7:99:01")
Make = Callable[..., SimSystem]


@pytest.fixture
def make() -> Iterator[Make]:
    systems: list[SimSystem] = []

    def make_system(cards: int = 2, **options: Any) -> SimSystem:
        system = SimSystem(cards, backplane=False)
        systems.append(system)
        system.make_site()
        system.start_master(**options)
        system.post("/v1/images", {"path": str(system.build_image("sim-aarch64", "1.0").folder)})
        system.post("/v1/packages", {"path": str(system.build_package())})
        return system

    yield make_system
    for system in systems:
        system.close()


def mac_in(system: SimSystem, slot: SlotId) -> MacAddress:
    card = system.chassis.bays[slot].card
    assert card is not None
    return card.hardware.mac


def power(system: SimSystem, slot: SlotId, action: PowerAction) -> None:
    system.run(system.chassis.power(slot, action))


def burn(system: SimSystem, meanwhile: Callable[[], None] = lambda: None) -> dict[str, Any]:
    identifier = system.post("/v1/burn-all")["id"]
    meanwhile()
    return system.wait_until(
        "it is over",
        lambda: seen if (seen := system.get(f"/v1/operations/{identifier}"))["finished"] else None,
        900.0,
    )


def states(system: SimSystem) -> dict[str, str]:
    return {card["slot"]: card["state"] for card in system.get("/v1/cards")}


def test_one_card_bound_beforehand_and_one_found_are_provisioned_and_known_by_their_keys(make: Make) -> None:
    system = make()
    here, there = system.slots
    system.post("/v1/card/bind", {"slot": "5", "mac": str(mac_in(system, here)), "board": "sim-aarch64"})
    # The other one asks for an address, and is shown with who it is and what to do.
    power(system, there, PowerAction.ON)
    stranger = system.wait_until(
        "it is met",
        lambda: next((s for s in system.get("/v1/strangers")["strangers"] if s["boards"]), None),
        60.0,
    )
    assert (
        stranger["mac"] == str(mac_in(system, there))
        and "fwmgr card bind SLOT --mac" in stranger["next_step"]
    )
    system.post("/v1/card/bind", {"slot": "6", "mac": stranger["mac"]})
    operation = burn(system, lambda: power(system, here, PowerAction.ON))
    assert operation["state"] == "done" and operation["ready_for_use"], operation
    assert states(system) == {"5": "in service", "6": "in service"}
    # Its network interface is another one: the card is recognised by its key.
    power(system, here, PowerAction.OFF)
    card = system.chassis.bays[here].card
    assert card is not None
    card.hardware.mac = NEW_MAC
    power(system, here, PowerAction.ON)
    system.wait_until(
        "it is back with the other MAC",
        lambda: (
            (record := system.get("/v1/card", slot="5"))["record"]["mac"] == str(NEW_MAC)
            and record["in_service"]
            and record["booted_from"] == "a"
        ),
        300.0,
    )


def test_a_burned_card_of_nobody_waits_and_serves_once_it_is_bound_by_its_key(make: Make) -> None:
    system = make(1)
    (slot,) = system.slots
    system.post("/v1/card/bind", {"slot": "1", "mac": str(mac_in(system, slot)), "board": "sim-aarch64"})
    assert burn(system, lambda: power(system, slot, PowerAction.ON))["state"] == "done"
    system.post("/v1/card/unbind", {"slot": "1"})
    power(system, slot, PowerAction.CYCLE)
    waiting = system.wait_until("it waits", lambda: system.get("/v1/waiting"), 120.0)
    assert waiting[0]["board"] == "sim-aarch64" and "fwmgr card bind SLOT --key" in waiting[0]["hint"]
    system.post("/v1/card/bind", {"slot": "1", "key": waiting[0]["key"][:16]})
    system.wait_until("it serves again", lambda: states(system) == {"1": "in service"}, 300.0)


def test_unknown_cards_are_adopted_where_asked_and_burned_without_anybodys_hand(make: Make) -> None:
    system = make(2, adopt=1)
    for slot in system.slots:
        power(system, slot, PowerAction.ON)
    system.wait_until("both are adopted", lambda: set(states(system)) == {"1", "2"}, 120.0)
    assert burn(system)["state"] == "done"
    assert set(states(system).values()) == {"in service"}
