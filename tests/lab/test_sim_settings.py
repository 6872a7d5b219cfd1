"""Settings, logs and an absent master with the real agent and the real master in one process."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.lab.sim.card import SimCard
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction

SECRET = b"\0\xffsecret" * 20_000


@pytest.fixture
def system() -> Iterator[SimSystem]:
    """Two cards, provisioned; without a master they run what they have after 5 s."""
    system = SimSystem(2)
    system.make_site()
    system.start_master(no_master_policy="run", no_master_seconds=5.0)
    for board in {bay.card.hardware.board.name for bay in system.chassis.bays.values() if bay.card}:
        system.post("/v1/images", {"path": str(system.build_image(board, "1.0").folder)})
    system.post("/v1/packages", {"path": str(system.build_package())})
    yield system
    system.close()


def card(system: SimSystem, slot: SlotId) -> SimCard:
    found = system.chassis.bays[slot].card
    assert found is not None
    return found


def in_service(system: SimSystem) -> None:
    system.wait_until(
        "all are in service", lambda: all(row["in_service"] for row in system.get("/v1/cards")), 600.0
    )


def restart(system: SimSystem, slot: SlotId) -> None:
    off(system, slot)
    system.run(system.chassis.power(slot, PowerAction.ON))


def off(system: SimSystem, slot: SlotId) -> None:
    """Without power, and nothing of what ran is looked at any more."""
    system.run(system.chassis.power(slot, PowerAction.OFF))
    card(system, slot).worlds = None


def found(system: SimSystem, slot: SlotId) -> tuple[dict[str, str], dict[str, bytes]]:
    """Environment and settings files of the card's first process, once it has been started."""
    system.wait_until(
        f"slot {slot} runs", lambda: (worlds := card(system, slot).worlds) and worlds.worlds, 300.0
    )
    world = card(system, slot).worlds.world  # type: ignore[union-attr]
    system.wait_until(f"slot {slot} has started a process", lambda: world.orders, 60.0)
    place = world.order.shared["run/settings"]
    files = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    return dict(world.orders[0].environment), files


def test_settings_reach_their_card_survive_without_a_master_and_are_taken_away(system: SimSystem) -> None:
    first, second = system.slots
    key = {"path": "web/key", "mode": 0o400, "uid": 0, "gid": 0, "secret": True}
    system.post(
        "/v1/settings",
        {
            "owner": f"slot/{first}",
            "hostname": "web-1",
            "addresses": ["10.99.0.7/24"],
            "files": [{**key, "content": base64.b64encode(SECRET).decode()}],
            "variables": [{"name": "LEVEL", "value": "debug"}],
        },
    )
    system.post("/v1/burn-all")
    in_service(system)
    environment, files = found(system, first)
    assert environment["LEVEL"] == "debug" and files == {"web/key": SECRET}
    assert card(system, first).dressed == ("web-1", ("10.99.0.7/24",))
    environment, files = found(system, second)
    assert "LEVEL" not in environment and files == {}

    # A change is at the card at once, and for its processes at the next start, with no master there.
    system.post(
        "/v1/settings", {"owner": f"slot/{first}", "variables": [{"name": "LEVEL", "value": "quiet"}]}
    )
    system.wait_until(
        "it is kept", lambda: system.get("/v1/card", slot=str(first))["settings"]["state"] == "kept", 60.0
    )
    assert found(system, first)[0]["LEVEL"] == "debug"
    system.stop_master()
    restart(system, first)
    environment, files = found(system, first)
    assert environment["LEVEL"] == "quiet" and files == {"web/key": SECRET}
    assert card(system, first).dressed == ("web-1", ("10.99.0.7/24",))

    # Taken away while the card is away: it forgets with its next hello.
    system.start_master()
    off(system, first)
    system.post("/v1/settings", {"owner": f"slot/{first}", "without_all": True})
    system.run(system.chassis.power(first, PowerAction.ON))
    in_service(system)
    environment, files = found(system, first)
    assert "LEVEL" not in environment and files == {}
    assert card(system, first).dressed == ("", ())


def test_logs_of_a_running_card_are_read_in_pieces_and_nothing_else_waits(system: SimSystem) -> None:
    (first, _) = system.slots
    system.post("/v1/burn-all")
    in_service(system)
    kept = system.get("/v1/card/kept", slot=str(first))
    (name,) = [log["name"] for log in kept["logs"] if log["name"] != "agent:"]
    worlds = card(system, first).worlds
    assert worlds is not None
    log = worlds.world.order.shared["run"].parent / "log" / f"{name}.log"
    log.write_bytes(SECRET)
    data = b""
    while len(data) < len(SECRET):
        piece = system.get("/v1/card/log", slot=str(first), name=name, start=str(len(data)))
        assert piece["start"] == len(data) and piece["end"] == len(SECRET)
        data += base64.b64decode(piece["data"])
    assert data == SECRET
    assert system.state(first) == "in service"
