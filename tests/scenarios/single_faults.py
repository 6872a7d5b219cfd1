"""Burn-all and warm boot of two in-process cards with one message mistreated: every message, every fault.

Knows the undisturbed run, and what a fault may cost. `tools/campaign sim` does it for more seeds.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.lab.sim.faults import Fault, Passed
from firmware_mgr.lab.sim.image import starts

CARDS = 2
#: Small, so that few messages suffice: one piece, and some blocks of TFTP in two windows.
IMAGE_BYTES = 24_000
PROGRAM_BYTES = 6_000
#: As small as the board's layout allows: reading it back is most of the work.
FLASH_BYTES = 13 << 20
#: Virtual seconds. The longest way back: deadlines of every state on the way, power cycles, netboot again.
WITHIN = 1500.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run. `written` are bytes of boot image and packages as each card told them."""

    state: str
    seconds: float
    power_ons: tuple[int, ...]
    written: tuple[tuple[int, int], ...]
    most_wear: int
    messages: tuple[Passed, ...]


def make_site(folder: Path, cards: int = CARDS) -> Path:
    """A master's directory with trust, a boot image and a package, to begin every run from."""
    system = SimSystem(cards)
    try:
        system.make_site()
        system.start_master()
        image = system.build_image("sim-aarch64", "1.0", size=IMAGE_BYTES)
        system.post("/v1/images", {"path": str(image.folder)})
        system.post("/v1/packages", {"path": str(system.build_package(program_bytes=PROGRAM_BYTES))})
        system.stop_master()
        shutil.copytree(system.paths.directory, folder)
    finally:
        system.close()
    return folder


def run(site: Path, single: Mapping[int, Fault], *, seed: int = 0, record: bool = False) -> Outcome:
    """One burn-all from pristine flash; messages count from its beginning.

    Fails unless all cards end in service.
    """
    system = SimSystem(CARDS, seed=seed, site=site, flash_bytes=FLASH_BYTES)
    try:
        system.start_master()
        plan, begun = system.wire.plan, system.loop.time()
        plan.count, plan.single, plan.record = 0, single, record
        identifier = system.post("/v1/burn-all")["id"]

        def situation() -> str:
            return "; ".join(f"{c['slot']}: {c['state']} ({c['reason']})" for c in system.get("/v1/cards"))

        operation = system.wait_until(
            "the burn-all is over",
            lambda: seen if (seen := system.get(f"/v1/operations/{identifier}"))["finished"] else None,
            WITHIN,
            describe=situation,
            step=2.0,
        )
        passed = tuple(plan.passed)
        plan.single, plan.record = {}, False
        assert operation["state"] == "done", situation()
        assert operation["ready_for_use"]
        for slot in system.slots:
            assert "This card is in service" in system.page(slot), situation()
        cards = operation["cards"].values()
        return Outcome(
            operation["state"],
            system.loop.time() - begun,
            tuple(bay.power_on_count for bay in system.chassis.bays.values()),
            tuple((card["boot_written"], card["package_written"]) for card in cards),
            max(_image_wear(system)),
            passed,
        )
    finally:
        system.close()


def _image_wear(system: SimSystem) -> Iterator[int]:
    """How often the blocks of each card's boot partitions were written, at most."""
    for slot in system.slots:
        flash = system.chassis.card(slot).hardware.flash
        windows = system.chassis.card(slot).boot_windows()
        yield max(
            count
            for block, count in flash.wear.items()
            if any(w.offset <= block * flash.block_size < w.offset + w.size for w in windows)
        )
        assert any(starts(window, "sim-aarch64") for window in windows)


def check(outcome: Outcome, undisturbed: Outcome) -> None:
    """Nothing is written twice, unless the master had to cut a card's power for it."""
    extra = sum(outcome.power_ons) - sum(undisturbed.power_ons)
    assert outcome.most_wear <= undisturbed.most_wear + extra, outcome
    for card, before in zip(outcome.written, undisturbed.written, strict=True):
        if not extra:
            assert card == before, outcome


def cases(undisturbed: Outcome) -> list[tuple[int, Fault]]:
    return [(message.number, fault) for message in undisturbed.messages for fault in Fault]
