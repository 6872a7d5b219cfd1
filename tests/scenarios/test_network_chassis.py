"""A QEMU chassis whose cards cannot read their slots: bound by MAC and by hand, known by key (R-1.7).

One of the two runs its image from RAM, so that partitions just laid out are used without a restart (R-3.1).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_mgr.lab.cards_api import CardsClient
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.rig import Rig
from tests.scenarios.software import TOP, Site, fwmgr
from tests.scenarios.waiting import wait_until

pytestmark = pytest.mark.qemu

BURN_ALL = 400.0
BACK = 300.0
NEW_MAC = "52:54:00:f7:99:01"
#: The slots that the cards are bound to: not the places where the chassis has them.
BEFOREHAND, FOUND = SlotId(5), SlotId(6)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(2, capture=False, backplane=False)
    try:
        site = Site(tmp_path / "site").make()
        shutil.copytree(site.master.directory, rig.master.directory)
        rig.up()
        rig.start_master("--no-hands")
        fwmgr("image", "add", site.image, "--dir", rig.master.directory)
        fwmgr("package", "add", site.package, "--dir", rig.master.directory)
        yield rig
    except BaseException:
        rig.keep_evidence(TOP / "var" / "scenarios" / "network-chassis")
        raise
    finally:
        rig.down()


def test_cards_without_a_register_are_bound_provisioned_and_known_by_their_keys(rig: Rig) -> None:
    master = ("--dir", rig.master.directory)
    here, there = rig.slots
    macs = {register.slot: str(register.mac) for register in asyncio.run(rig._hands.slots())}
    fwmgr("card", "bind", "5", "--mac", macs[here], "--board", "qemu-aarch64", *master)
    rig.power(there, PowerAction.ON)
    stranger = wait_until(
        "the other card is met",
        lambda: next((s for s in rig.client.get("/v1/strangers")["strangers"] if s["boards"]), None),
        120.0,
        describe=rig.log_tail,
    )
    assert stranger["mac"] == macs[there]
    fwmgr("card", "bind", "6", "--mac", stranger["mac"], *master)
    fwmgr("card", "set", "6", "--order", "from-ram", *master)
    rig.power(here, PowerAction.ON)
    operation = rig.wait_burned(rig.burn_all(), BURN_ALL)
    assert operation["ready_for_use"]
    cards = {slot: rig.wait_in_service(slot) for slot in (BEFOREHAND, FOUND)}
    assert {slot: card["booted_from"] for slot, card in cards.items()} == {BEFOREHAND: "a", FOUND: "netboot"}
    for slot in cards:
        assert "This card is in service" in rig.page(slot)
    # Another network interface: the card is recognised by its key, and comes from its flash.
    client = CardsClient(rig.plan.paths.api_socket)
    card = asyncio.run(client.remove(here))
    asyncio.run(client.insert(here, name=card["name"], mac=NEW_MAC))
    rig.power(here, PowerAction.ON)
    wait_until(
        "it is back with the other MAC",
        lambda: (seen := rig.card(BEFOREHAND))["record"]["mac"] == NEW_MAC and seen["in_service"],
        BACK,
        describe=rig.situation,
    )
    assert rig.card(BEFOREHAND)["booted_from"] == "a"
