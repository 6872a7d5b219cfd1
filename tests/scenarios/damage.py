"""A burned card whose flash was damaged while it had no power: does it come back, and what is burned again?

Knows what each kind of damage must bring about. Whatever happens after power-on happens without us.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.flash.boot_partition import PIECE_SIZE
from firmware_mgr.flash.device import FileDevice
from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.flash.gpt import find, read_table
from firmware_mgr.flash.store import Store
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.provisioned import Provisioned
from tests.scenarios.regions import Area, FlashMap, Flip, Part, flip, read_map

#: Longest way back: two tries from flash, netboot, a burn, a reset; each slow on a busy host.
WAY_BACK = 300.0


@dataclass(frozen=True, slots=True)
class Case:
    """What is damaged, as it is called in reports."""

    name: str
    flips: tuple[Flip, ...]

    @property
    def parts(self) -> frozenset[Part]:
        return frozenset(shot.part for shot in self.flips)

    def __str__(self) -> str:
        return f"{self.name}: {', '.join(map(str, self.flips))}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a card came back: seconds from power-on to service, what started it, bytes written on the way."""

    case: Case
    slot: SlotId
    seconds: float
    booted_from: str
    boot_written: int
    package_written: int

    def __str__(self) -> str:
        return (
            f"slot {self.slot}: {self.case}: in service after {self.seconds:.0f} s from {self.booted_from}, "
            f"written: boot image {self.boot_written}, packages {self.package_written}"
        )


def seeded_cases(flash: FlashMap, area: Area, rng: random.Random, count: int, flips: int = 1) -> list[Case]:
    """`count` cases with `flips` flips each."""
    return [
        Case(f"{area.value} {number}", tuple(flash.aim(area, rng) for _ in range(flips)))
        for number in range(1, count + 1)
    ]


def both_controls(flash: FlashMap, rng: random.Random) -> Case:
    return Case("both copies of control", (flash.hit(Part.COPY_0, rng), flash.hit(Part.COPY_1, rng)))


def undergo(provisioned: Provisioned, case: Case, slot: SlotId) -> Outcome:
    """Damage the card of `slot`, give it power, and see. The rig's master is up."""
    rig, flash = provisioned.rig, provisioned.rig.paths(slot).flash
    rig.take_out(slot)
    provisioned.burned.put_back_flash(rig, slot)
    flip(flash, case.flips)
    index_lost = not _opens(flash)
    before = len(rig.burns(slot))
    started = time.monotonic()
    rig.power(slot, PowerAction.ON)
    card = rig.wait_in_service(slot, WAY_BACK)
    seconds = time.monotonic() - started
    burns = rig.burns(slot)[before:]
    outcome = Outcome(
        case,
        slot,
        seconds,
        card["booted_from"],
        sum(burn["boot_bytes_written"] for burn in burns),
        sum(burn["package_bytes_written"] for burn in burns),
    )
    _check_only_what_was_bad(outcome, provisioned, index_lost=index_lost)
    _check_whole(card, str(outcome))
    assert "This card is in service" in rig.page(slot), f"{outcome}: its web server does not answer"
    return outcome


def _opens(flash: Path) -> bool:
    """Whether the store's index can be read, as the format says."""
    with FileDevice(flash) as device:
        try:
            Store.open(find(read_table(device), "store").window(device))
        except (DeviceError, FlashFormatError):
            return False
    return True


def _check_only_what_was_bad(outcome: Outcome, provisioned: Provisioned, *, index_lost: bool) -> None:
    hit = outcome.case.parts
    pieces = len({shot.offset // PIECE_SIZE for shot in outcome.case.flips if shot.part is Part.IMAGE})
    if Part.IMAGE in hit:
        # What the loader starts although a piece is bad goes to the other partition whole.
        assert 0 < outcome.boot_written <= provisioned.image_length(outcome.slot), outcome
        if outcome.booted_from == provisioned_letter(provisioned, outcome.slot):
            assert outcome.boot_written <= pieces * PIECE_SIZE, outcome
    else:
        assert outcome.boot_written == 0, outcome
    if Part.MODULES in hit or index_lost:
        assert 0 < outcome.package_written <= provisioned.package_written(outcome.slot), outcome
    else:
        assert outcome.package_written == 0, outcome


def provisioned_letter(provisioned: Provisioned, slot: SlotId) -> str:
    return read_map(provisioned.burned.flash(slot)).in_use.value


def _check_whole(card: dict[str, object], where: str) -> None:
    """What the card says of its flash now that it is in service."""
    record = card["record"]
    assert isinstance(record, dict)
    flash = record["actual"]
    assert flash["table"] == flash["store"] == "good", f"{where}: {flash}"
    assert flash[f"boot_{card['booted_from']}"]["state"] == "good", f"{where}: {flash}"
    assert [package["bad_modules"] for package in flash["packages"]] == [0], f"{where}: {flash}"
    assert flash["control"]["copy_0"] == flash["control"]["copy_1"] == "good", f"{where}: {flash}"
    assert not record["rejected"], f"{where}: a good image counts as failed"


def side_by_side(
    provisioned: Provisioned,
    cases: Mapping[SlotId, Sequence[Case]],
    tell: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Every card's own cases, one after the other, the cards at once. The first that fails ends it."""
    failed = threading.Event()

    def work(slot: SlotId) -> list[Outcome]:
        outcomes = []
        for case in cases[slot]:
            if not failed.is_set():
                outcomes.append(undergo(provisioned, case, slot))
                tell(str(outcomes[-1]))
        return outcomes

    with ThreadPoolExecutor(len(cases)) as pool:
        futures = [pool.submit(work, slot) for slot in cases]
        try:
            return [outcome for future in futures for outcome in future.result()]
        finally:
            failed.set()
