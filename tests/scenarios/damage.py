"""A burned card whose flash was damaged while it had no power: does it come back, and what is burned again?

Knows what each kind of damage must bring about. Whatever happens after power-on happens without us.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from firmware_mgr.flash.boot_partition import PIECE_SIZE
from firmware_mgr.flash.device import FlashDevice
from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.flash.gpt import find, read_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.flash.store import Store
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.regions import Area, FlashMap, Flip, Part, flip, read_map
from tests.scenarios.stage import Stage, Undisturbed
from tests.scenarios.words import Words

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


def maps(stage: Stage, rig: Words) -> dict[SlotId, FlashMap]:
    """Where things lie in every card's flash as it was burned. No card has power."""
    found = {}
    for slot in rig.slots:
        with stage.flash(slot) as device:
            found[slot] = read_map(device)
    return found


def undergo(stage: Stage, rig: Words, case: Case, slot: SlotId) -> Outcome:
    """Damage the card of `slot`, give it power, and see. The rig's master is up."""
    rig.take_out(slot)
    stage.put_back_flash(slot)
    with stage.flash(slot) as device:
        in_use = read_map(device).in_use
        flip(device, case.flips)
        index_lost = not _opens(device)
    before, started = len(rig.burns(slot)), rig.now()
    rig.power(slot, PowerAction.ON)
    try:
        card = rig.wait_in_service(slot, WAY_BACK)
    except AssertionError as e:
        raise AssertionError(f"slot {slot}: {case}: {e}") from e
    seconds = rig.now() - started
    burns = rig.burns(slot)[before:]
    outcome = Outcome(
        case,
        slot,
        seconds,
        card["booted_from"],
        sum(burn["boot_bytes_written"] for burn in burns),
        sum(burn["package_bytes_written"] for burn in burns),
    )
    _check_only_what_was_bad(outcome, stage.undisturbed[slot], in_use, index_lost=index_lost)
    _check_whole(card, str(outcome))
    assert "This card is in service" in rig.page(slot), f"{outcome}: its web server does not answer"
    return outcome


def _opens(device: FlashDevice) -> bool:
    """Whether the store's index can be read, as the format says."""
    try:
        Store.open(find(read_table(device), "store").window(device))
    except (DeviceError, FlashFormatError):
        return False
    return True


def _check_only_what_was_bad(
    outcome: Outcome, undisturbed: Undisturbed, in_use: Letter, *, index_lost: bool
) -> None:
    hit = outcome.case.parts
    pieces = len({shot.offset // PIECE_SIZE for shot in outcome.case.flips if shot.part is Part.IMAGE})
    if Part.IMAGE in hit:
        # What the loader starts although a piece is bad goes to the other partition whole.
        assert 0 < outcome.boot_written <= undisturbed.image_length, outcome
        if outcome.booted_from == in_use.value:
            assert outcome.boot_written <= pieces * PIECE_SIZE, outcome
    else:
        assert outcome.boot_written == 0, outcome
    if Part.MODULES in hit or index_lost:
        assert 0 < outcome.package_written <= undisturbed.package_written, outcome
    else:
        assert outcome.package_written == 0, outcome


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
    stage: Stage,
    rig: Words,
    cases: Mapping[SlotId, Sequence[Case]],
    tell: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Every card's own cases, one after the other, the cards at once. The first that fails ends it."""
    failed = threading.Event()

    def work(slot: SlotId) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for case in cases[slot]:
            if failed.is_set():
                break
            try:
                outcomes.append(undergo(stage, rig, case, slot))
            except BaseException:
                failed.set()
                raise
            tell(str(outcomes[-1]))
        return outcomes

    return [outcome for outcomes in rig.side_by_side(work, list(cases)) for outcome in outcomes]
