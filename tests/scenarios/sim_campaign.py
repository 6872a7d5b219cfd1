"""`tools/campaign sim`: the in-process scenarios in larger numbers, over several seeds, and counted.

Knows the parts. What must hold is in the modules that the tests use too.
"""

from __future__ import annotations

import argparse
import logging
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from multiprocessing import Pool
from pathlib import Path

from firmware_mgr.flash.device import Cut
from tests.scenarios import flash_cuts, single_faults
from tests.scenarios.damage import both_controls, maps, seeded_cases, side_by_side
from tests.scenarios.interruptions import Victim, interrupted_burn_alls
from tests.scenarios.regions import Area
from tests.scenarios.stage import SimStage

WORKERS = 2
STRIKES_EACH = 4
#: Cases of damage in each area; each has one to so many bytes.
DAMAGED = 20
FLIPS = 3
WITHIN = 1.4


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/campaign sim")
    parser.add_argument("--seed", type=int, default=None, help="repeats what was done with this seed")
    parser.add_argument("--count", type=int, default=3, help="how many seeds (default 3)")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    first = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    failed = 0
    with tempfile.TemporaryDirectory(prefix="fws-") as folder, Pool(WORKERS) as pool:
        two = single_faults.make_site(Path(folder) / "two")
        one = single_faults.make_site(Path(folder) / "one", cards=1)
        for seed in range(first, first + options.count):
            undisturbed = single_faults.run(two, {}, seed=seed, record=True)
            faults = [(seed, number, fault) for number, fault in single_faults.cases(undisturbed)]
            check = partial(_fault, two, undisturbed)
            failed += _report(f"seed {seed}: single faults", pool.imap(check, faults, 8))
            operations = flash_cuts.run(one, None, seed=seed)
            cuts = [(seed, number, cut) for number in range(1, operations + 1) for cut in Cut]
            failed += _report(
                f"seed {seed}: cuts of flash operations", pool.imap(partial(_cut, one), cuts, 8)
            )
            strikes = pool.imap(_strikes, [(seed, victim) for victim in Victim])
            failed += _report(f"seed {seed}: kills of the master, power cuts", strikes)
            damaged = pool.imap(_damage, [(seed, area) for area in Area])
            failed += _report(f"seed {seed}: damaged flash", damaged)
    return 1 if failed else 0


def _report(name: str, outcomes: Iterable[tuple[int, str]]) -> int:
    """Print how many cases there were; how many failed."""
    started, cases, failed = time.monotonic(), 0, 0
    for count, error in outcomes:
        cases += count
        if error:
            failed += 1
            say(error)
    say(f"{name}: {cases} cases, {failed} failed, {time.monotonic() - started:.0f} s")
    return failed


def _tried(name: str, work: Callable[[], int]) -> tuple[int, str]:
    try:
        return work(), ""
    except AssertionError as e:
        return 1, f"{name}: {e}"


def _fault(
    site: Path, undisturbed: single_faults.Outcome, case: tuple[int, int, single_faults.Fault]
) -> tuple[int, str]:
    seed, number, fault = case

    def work() -> int:
        single_faults.check(single_faults.run(site, {number: fault}, seed=seed), undisturbed)
        return 1

    return _tried(f"seed {seed}, {undisturbed.messages[number - 1]} {fault.value}", work)


def _cut(site: Path, case: tuple[int, int, Cut]) -> tuple[int, str]:
    seed, number, cut = case

    def work() -> int:
        flash_cuts.run(site, number, cut, seed=seed)
        return 1

    return _tried(f"seed {seed}, cut {cut.value} operation {number}", work)


def _strikes(case: tuple[int, Victim]) -> tuple[int, str]:
    seed, victim = case

    def work() -> int:
        with tempfile.TemporaryDirectory(prefix="fws-") as folder:
            stage = SimStage(Path(folder), seed)
            try:
                rng = random.Random(f"{seed} {victim.value}")
                burn_alls = interrupted_burn_alls(
                    stage, victim, rng, strikes=20, each=STRIKES_EACH, within=WITHIN
                )
                return sum(len(burn_all.strikes) for burn_all in burn_alls)
            finally:
                stage.close()

    return _tried(f"seed {seed}, {victim.value}", work)


def _damage(case: tuple[int, Area]) -> tuple[int, str]:
    seed, area = case

    def work() -> int:
        with tempfile.TemporaryDirectory(prefix="fws-") as folder:
            stage = SimStage(Path(folder), seed)
            try:
                rng = random.Random(f"{seed} {area.value}")
                rig = stage.burned()
                slot = rig.slots[0]
                flash = maps(stage, rig)[slot]
                cases = [
                    replace(seeded_cases(flash, area, rng, 1, rng.randint(1, FLIPS))[0], name=f"case {n}")
                    for n in range(DAMAGED)
                ]
                if area is Area.CONTROL:
                    cases.append(both_controls(flash, rng))
                rig.start_master()
                return len(side_by_side(stage, rig, {slot: cases}))
            finally:
                stage.close()

    return _tried(f"seed {seed}, damage in {area.value}", work)
