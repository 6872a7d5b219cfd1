"""A master exported while it runs, and another made of it: burned cards come up and are not burned again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.master.export.export_file import opened_export, write_export
from firmware_mgr.master.export.gather import gather
from firmware_mgr.master.export.restore import restore
from firmware_mgr.rack.hands import PowerAction
from tests.master.small_site import CHEAP, PASSPHRASE


@pytest.fixture
def system() -> Iterator[SimSystem]:
    system = SimSystem(2)
    system.make_site()
    system.start_master()
    system.post("/v1/images", {"path": str(system.build_image("sim-aarch64", "1.0").folder)})
    system.post("/v1/packages", {"path": str(system.build_package())})
    yield system
    system.close()


def written(system: SimSystem) -> list[int]:
    records = system.run(system.master.master.burn_log.entries())  # type: ignore[union-attr]
    return [entry.burned.boot_bytes_written for entry in records]


def wait_in_service(system: SimSystem) -> None:
    system.wait_until(
        "all are in service", lambda: all(card["in_service"] for card in system.get("/v1/cards")), 300.0
    )


def test_burned_cards_come_up_with_the_restored_master_and_are_not_burned_again(
    system: SimSystem, tmp_path: Path
) -> None:
    system.post("/v1/burn-all")
    wait_in_service(system)
    burns = written(system)

    snapshot = Path(system.post("/v1/snapshot")["path"])
    write_export(tmp_path / "a.fwx", gather(system.paths, snapshot, 1), PASSPHRASE, cost=CHEAP)
    snapshot.unlink()
    for slot in system.slots:
        system.run(system.chassis.power(slot, PowerAction.OFF))
    system.stop_master()
    shutil.rmtree(system.paths.directory)
    with opened_export(tmp_path / "a.fwx", PASSPHRASE) as archive:
        restore(archive, system.paths.directory)

    system.start_master()
    for slot in system.slots:
        system.run(system.chassis.power(slot, PowerAction.ON))
    wait_in_service(system)
    assert written(system) == burns
    cards = system.get("/v1/cards")
    assert [card["booted_from"] for card in cards] == ["a", "a"]
    assert len(system.get("/v1/operations")) == 1
    assert "This card is in service" in system.page(system.slots[0])
