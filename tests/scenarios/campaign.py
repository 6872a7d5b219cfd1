"""The scenarios in larger numbers: `tools/campaign`. Each part prints its seed and what it saw.

Knows the parts and how often each is done. What must hold is in the modules that the tests use too.
"""

from __future__ import annotations

import argparse
import random
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from firmware_mgr.imaging.board import load_board
from firmware_mgr.imaging.manifest import BootImage
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.model.ids import SlotId
from tests.imaging.loader_rows import LoaderBench, every_row
from tests.scenarios import sim_campaign
from tests.scenarios.damage import Case, Outcome, both_controls, maps, seeded_cases, side_by_side
from tests.scenarios.failing_images import COMMITTED_TRIES, TRIES, bring_back, master_options, offer, try_out
from tests.scenarios.interruptions import Victim, interrupted_burn_alls
from tests.scenarios.provisioned import Provisioned, provision
from tests.scenarios.regions import Area
from tests.scenarios.rig import Rig
from tests.scenarios.software import BOARD, TOP, Breakage
from tests.scenarios.stage import QemuStage

#: Interruptions in one burn-all, at most.
STRIKES_EACH = 4
#: … at moments up to so many times what an undisturbed one takes, to strike warm boots too.
WITHIN = 1.4
#: Cases with both copies of control bad, besides those with one byte each.
BOTH_CONTROLS = 4


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def kills(provisioned: Provisioned, rng: random.Random, count: int) -> str:
    return _interruptions(provisioned, rng, count, Victim.MASTER)


def cuts(provisioned: Provisioned, rng: random.Random, count: int) -> str:
    return _interruptions(provisioned, rng, count, Victim.CARD)


def _interruptions(provisioned: Provisioned, rng: random.Random, count: int, victim: Victim) -> str:
    burn_alls = interrupted_burn_alls(
        QemuStage(provisioned), victim, rng, strikes=count, each=STRIKES_EACH, tell=say
    )
    states = sorted({state for b in burn_alls for strike in b.strikes for state in strike.states})
    struck = sum(len(burn_all.strikes) for burn_all in burn_alls)
    return f"{struck} in {len(burn_alls)} burn-alls, all ended in service; cards were {', '.join(states)}"


def damage(provisioned: Provisioned, rng: random.Random, count: int) -> str:
    stage, rig = QemuStage(provisioned), provisioned.rig
    stage.burned()
    flash = maps(stage, rig)
    rig.start_master()
    cases: dict[SlotId, list[Case]] = {slot: [] for slot in rig.slots}
    for board in rig.plan.boards:
        slots = [slot for slot in rig.slots if rig.board(slot) == board]
        drawn = [case for area in Area for case in seeded_cases(flash[slots[0]], area, rng, count)]
        drawn += [both_controls(flash[slots[0]], rng) for _ in range(BOTH_CONTROLS)]
        for number, case in enumerate(drawn):
            cases[slots[number % len(slots)]].append(case)
    outcomes = side_by_side(stage, rig, cases, say)
    names = [*(area.value for area in Area), "both"]
    return "; ".join(
        f"{board}: {_summary(name, [outcome for outcome in outcomes if rig.board(outcome.slot) == board])}"
        for board in rig.plan.boards
        for name in names
    )


def trials(provisioned: Provisioned, rng: random.Random, count: int) -> str:
    """Images that hang and that panic, in turn, on every card; each must end on the old one."""
    stage = QemuStage(provisioned)
    stage.burned()
    rig = provisioned.rig
    rig.start_master(*master_options(stage))
    orders = {slot: rng.sample(list(Breakage), 2) for slot in rig.slots}
    folder = rig.directory / "trials"
    for number in range(count):
        images = {
            slot: offer(stage, rig, folder, slot, order[number % 2], number=number)
            for slot, order in orders.items()
        }

        def one(slot: SlotId, images: dict[SlotId, BootImage] = images) -> None:
            trial = try_out(stage, rig, images[slot], slot, booted=stage.undisturbed[slot].version)
            assert trial.starts == TRIES, (
                f"slot {slot}, {images[slot].manifest.version}: {trial.starts} starts"
            )
            assert images[slot].reference.digest.hex in trial.card["record"]["rejected"]
            say(f"slot {slot}, {rig.board(slot)}: {images[slot].manifest.version}: back on the old one")
            rig.take_out(slot)

        rig.side_by_side(one, rig.slots)
    return f"{count} on each of {len(rig.slots)} cards, all back on the old image after {TRIES} starts"


def committed(provisioned: Provisioned, rng: random.Random, count: int) -> str:
    """The image that a card starts from is one that hangs or panics, in turn; its own is burned again."""
    stage = QemuStage(provisioned)
    stage.burned()
    rig = provisioned.rig
    rig.start_master(*master_options(stage))
    orders = {slot: rng.sample(list(Breakage), 2) for slot in rig.slots}
    images = {
        (slot, breakage): stage.build_image(
            rig.directory / "committed", f"3.{slot.number}-{breakage.name.lower()}", breakage, slot
        )
        for slot in rig.slots
        for breakage in Breakage
    }

    def work(slot: SlotId) -> None:
        for number in range(count):
            breakage = orders[slot][number % 2]
            trial = bring_back(stage, rig, slot, images[slot, breakage])
            assert trial.starts_because("boot") == COMMITTED_TRIES, f"slot {slot}: {trial.console}"
            say(f"slot {slot}, {rig.board(slot)}: committed image {breakage.name.lower()}: burned again")

    rig.side_by_side(work, rig.slots)
    return f"{count} on each of {len(rig.slots)} cards, all burned again after {COMMITTED_TRIES} starts"


def _summary(name: str, outcomes: list[Outcome]) -> str:
    mine = [outcome for outcome in outcomes if outcome.case.name.split()[0] == name]
    burned = sum(outcome.boot_written + outcome.package_written > 0 for outcome in mine)
    seconds = [outcome.seconds for outcome in mine]
    return (
        f"{name}: {len(mine)} back in service, {burned} burned something again, "
        f"median {statistics.median(seconds):.0f} s, longest {max(seconds):.0f} s"
    )


def rows(boards: Sequence[str], folder: Path) -> str:
    """Every row of the decision table on the loader of each U-Boot board. No rig is needed."""
    kinds = [load_board(name) for name in boards]
    kinds = [board for board in kinds if board.firmware.loader == "u-boot"]
    if not kinds:
        raise UsageError("no loader that has rows", expected="a board with U-Boot", found=", ".join(boards))
    for board in kinds:
        place = folder / board.name
        place.mkdir()
        bench = LoaderBench(board, place)
        for row in every_row():
            found = bench.differences(row)
            assert not found, f"{board.name}: {row}: {found}"
    return f"{len(every_row())} rows as the model says: {', '.join(board.name for board in kinds)}"


#: Part, how often it is done unless told otherwise, in the words of issue 2's "done when" 3 and 4.
PARTS: dict[str, tuple[Callable[[Provisioned, random.Random, int], str], int]] = {
    "kills": (kills, 10),
    "cuts": (cuts, 10),
    "damage": (damage, 20),
    "trials": (trials, 4),
    "committed": (committed, 4),
}
#: A part that needs no rig, and no number: the rows are all that there are.
ROWS = "rows"


def main() -> int:
    if sys.argv[1:2] == ["sim"]:
        return sim_campaign.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="tools/campaign", description="Seeded campaigns on QEMU cards.")
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"{', '.join(PARTS)}; all these when none is named; {ROWS}; sim, alone: in process",
    )
    parser.add_argument("--seed", type=int, default=None, help="repeats what was done with this seed")
    counts = ", ".join(f"{part} {count}" for part, (_, count) in PARTS.items())
    parser.add_argument("--count", type=int, default=None, help=f"how often, instead of {counts}")
    parser.add_argument(
        "--board", action="append", help=f"a board; several are dealt out in turn (default {BOARD})"
    )
    parser.add_argument("--cards", type=int, help="cards side by side (default 2, or one of each board)")
    options = parser.parse_args()
    unknown = set(options.parts) - {*PARTS, ROWS}
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="fws-"))
    boards = tuple(options.board or [BOARD])
    cards = options.cards or max(2, len(boards))
    rig = Rig(cards, boards)
    parts = options.parts or list(PARTS)
    part = ""
    try:
        if ROWS in parts:
            part, started = ROWS, time.monotonic()
            say(f"{ROWS}: {rows(boards, folder)}. {(time.monotonic() - started) / 60:.1f} min")
            parts = [name for name in parts if name != ROWS]
        if not parts:
            return 0
        say(f"seed {seed}: one burn-all to begin from")
        (folder / "rig").mkdir()
        provisioned = provision(rig, folder / "rig")
        say(f"burn-all of {cards} cards: {provisioned.seconds:.0f} s")
        for part in parts:
            run, count = PARTS[part]
            started = time.monotonic()
            result = run(provisioned, random.Random(f"{seed} {part}"), options.count or count)
            say(f"{part}: {result}. {(time.monotonic() - started) / 60:.1f} min")
    except (AssertionError, FwmgrError) as e:
        evidence = TOP / "var" / "campaign"
        rig.keep_evidence(evidence)
        say(f"{part} failed: {e}\nlogs: {evidence}")
        again = f"tools/campaign {part} --seed {seed} --cards {cards}"
        again += "".join(f" --board {board}" for board in boards)
        say(f"run again: {again}" + (f" --count {options.count}" if options.count else ""))
        return 1
    finally:
        rig.down()
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
