"""A whole chassis in process: from pristine to service, the same for one seed, and as strict as it says."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.flash.gpt import FlashLayout
from firmware_mgr.lab.sim.around import WireJack
from firmware_mgr.lab.sim.image import Behaviour, SimImage
from firmware_mgr.lab.sim.loop import Deadlock, SimLoop
from firmware_mgr.lab.sim.process import SimProcess
from firmware_mgr.lab.sim.sockets import dial
from firmware_mgr.lab.sim.wire import Wire
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.rack.hands import PowerAction

MakeSystem = Callable[..., SimSystem]


@pytest.fixture
def make() -> Iterator[MakeSystem]:
    systems: list[SimSystem] = []

    def make_system(cards: int = 2, **options: object) -> SimSystem:
        system = SimSystem(cards, **options)  # type: ignore[arg-type]
        systems.append(system)
        system.make_site()
        system.start_master()
        for board in {bay.card.hardware.board.name for bay in system.chassis.bays.values() if bay.card}:
            system.post("/v1/images", {"path": str(system.build_image(board, "1.0").folder)})
        system.post("/v1/packages", {"path": str(system.build_package())})
        return system

    yield make_system
    for system in systems:
        system.close()


def burn(system: SimSystem) -> str:
    """A burn-all to its end; its state."""
    identifier = system.post("/v1/burn-all")["id"]
    operation = system.wait_until(
        "it is over",
        lambda: seen if (seen := system.get(f"/v1/operations/{identifier}"))["finished"] else None,
        600.0,
    )
    return str(operation["state"])


def states(system: SimSystem) -> list[str]:
    return [card["state"] for card in system.get("/v1/cards")]


def test_cards_of_three_cpus_come_into_service(make: MakeSystem) -> None:
    system = make(3, boards=None)
    assert burn(system) == "done"
    assert states(system) == ["in service"] * 3
    assert all("This card is in service" in system.page(slot) for slot in system.slots)


def test_one_seed_gives_one_run_and_another_seed_another(make: MakeSystem) -> None:
    def run(seed: int) -> tuple[float, int]:
        system = make(2, seed=seed)
        burn(system)
        return system.loop.time(), system.wire.plan.count

    assert run(1) == run(1) != run(2)


def test_a_card_without_power_serves_nothing_and_comes_back_from_flash(make: MakeSystem) -> None:
    system = make(1)
    burn(system)
    (slot,) = system.slots
    system.run(system.chassis.power(slot, PowerAction.OFF))
    assert system.page(slot) == ""
    system.wait_until("it is missed", lambda: states(system) == ["absent"], 30.0)
    system.run(system.chassis.power(slot, PowerAction.ON))
    system.wait_until("it is back", lambda: states(system) == ["in service"], 60.0)
    assert system.get("/v1/cards")[0]["booted_from"] == "a"


@pytest.mark.parametrize("how", ["power", "reset"])
def test_an_ended_boot_leaves_no_open_file(make: MakeSystem, how: str) -> None:
    system = make(1)
    burn(system)
    (slot,) = system.slots

    def end_a_boot() -> None:
        card = system.chassis.card(slot)
        boots = card.boots
        if how == "power":
            system.run(system.chassis.power(slot, PowerAction.CYCLE))
        else:
            card.restart("as the test wants it")
        system.wait_until("it starts anew", lambda: card.boots > boots, 10.0)
        system.wait_until("it is missed", lambda: states(system) != ["in service"], 60.0)
        system.wait_until("it is back", lambda: states(system) == ["in service"], 120.0)

    end_a_boot()
    before = open_files()
    for _ in range(10):
        end_a_boot()
    assert open_files() == before


def open_files() -> list[str]:
    """What this process has open, by kind."""
    kinds = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            kinds.append(re.sub(r"\d+", "N", os.readlink(entry)))
    return sorted(kinds)


def test_a_killed_master_leaves_no_word_and_its_successor_goes_on(make: MakeSystem) -> None:
    system = make(2)
    identifier = system.post("/v1/burn-all")["id"]
    system.wait_until("they burn", lambda: "burning" in states(system), 60.0, step=0.01)
    assert system.master is not None
    before = system.master.commits
    system.kill_master()
    system.pass_time(5.0)
    system.start_master()
    assert system.master.commits < before
    system.wait_until("all in service", lambda: states(system) == ["in service"] * 2, 300.0)
    assert system.get(f"/v1/operations/{identifier}")["masters"] == 2


def test_a_master_can_be_killed_right_after_a_commit(make: MakeSystem) -> None:
    system = make(1)
    assert system.master is not None
    dead = system.master
    system.kill_after_commit = dead.commits + 1
    system.run(system.chassis.power(system.slots[0], PowerAction.ON))
    system.wait_until("it dies", lambda: system.master is None, 60.0)
    commits = dead.commits
    system.pass_time(30.0)
    assert dead.process.dead and dead.commits == commits
    system.start_master()
    assert burn(system) == "done"


def test_a_card_cannot_send_from_an_address_that_it_does_not_hold(make: MakeSystem) -> None:
    system = make(1)
    jack = system.chassis.bay(system.slots[0]).around.jack()
    socket = jack.open(7, "10.77.0.99")
    with pytest.raises(OSError, match="assign requested address"):
        socket.send(b"x", ("10.77.0.1", 67))
    with pytest.raises(OSError, match="unreachable"):
        jack.open(8, "0.0.0.0").send(b"x", ("10.77.0.1", 67))
    jack.hold("10.77.0.99")
    with pytest.raises(AssertionError, match="is slot 1's"):
        WireJack(system.wire, system.wire.host("other")).hold("10.77.0.99")


def test_a_client_without_a_certificate_does_not_get_a_blob(make: MakeSystem) -> None:
    system = make(1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=str(system.paths.trust / "authority.pem"))

    def ask() -> bytes:
        stream = dial("10.77.0.1", 7402, context)
        stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return stream.makefile("rb").read(1)

    stranger = SimProcess("stranger", system.wire.host("stranger", "10.77.0.99"))

    async def run() -> bytes:
        return await asyncio.to_thread(ask)

    async def as_stranger() -> bytes:
        return await stranger.spawn(run())

    with pytest.raises(OSError, match=r"CERTIFICATE_REQUIRED|certificate required|reset"):
        system.run(as_stranger())


def test_an_image_with_one_wrong_bit_does_not_start() -> None:
    image = SimImage(
        "sim-armv7", CpuArch.ARMV7, "1", FlashLayout(1 << 20, 3 << 20, 0, 2 << 20), {}, Behaviour.HANG
    )
    raw = bytearray(image.encode(20_000))
    assert SimImage.decode(bytes(raw)) == image
    raw[10_000] ^= 1
    with pytest.raises(PeerError, match="checksum"):
        SimImage.decode(bytes(raw))


def test_waiting_for_what_never_comes_is_found_out() -> None:
    loop = SimLoop()
    Wire(loop)
    with pytest.raises(Deadlock, match="nothing will happen"):
        loop.run_until_complete(loop.create_future())
    loop.close()
