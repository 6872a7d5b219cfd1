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
from collections.abc import Callable
from pathlib import Path

from firmware_mgr.model.errors import FwmgrError
from tests.scenarios import sim_campaign
from tests.scenarios.damage import Outcome, both_controls, seeded_cases, side_by_side
from tests.scenarios.interruptions import Victim, interrupted_burn_alls
from tests.scenarios.provisioned import Provisioned, provision
from tests.scenarios.regions import Area, read_map
from tests.scenarios.rig import Rig
from tests.scenarios.software import TOP
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
    rig = provisioned.rig
    rig.stop_master()
    rig.all_off()
    provisioned.burned.put_back(rig)
    rig.start_master()
    flash = read_map(provisioned.burned.flash(rig.slots[0]))
    cases = [case for area in Area for case in seeded_cases(flash, area, rng, count)]
    cases += [both_controls(flash, rng) for _ in range(BOTH_CONTROLS)]
    outcomes = side_by_side(provisioned, cases, say)
    return "; ".join(_summary(area.value, outcomes) for area in Area) + "; " + _summary("both", outcomes)


def _summary(name: str, outcomes: list[Outcome]) -> str:
    mine = [outcome for outcome in outcomes if outcome.case.name.split()[0] == name]
    burned = sum(outcome.boot_written + outcome.package_written > 0 for outcome in mine)
    seconds = [outcome.seconds for outcome in mine]
    return (
        f"{name}: {len(mine)} back in service, {burned} burned something again, "
        f"median {statistics.median(seconds):.0f} s, longest {max(seconds):.0f} s"
    )


#: Part, how often it is done unless told otherwise, in the words of issue 2's "done when" 3 and 4.
PARTS: dict[str, tuple[Callable[[Provisioned, random.Random, int], str], int]] = {
    "kills": (kills, 10),
    "cuts": (cuts, 10),
    "damage": (damage, 20),
}


def main() -> int:
    if sys.argv[1:2] == ["sim"]:
        return sim_campaign.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="tools/campaign", description="Seeded campaigns on QEMU cards.")
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"{', '.join(PARTS)}; all when none is named; sim, alone: in process",
    )
    parser.add_argument("--seed", type=int, default=None, help="repeats what was done with this seed")
    parser.add_argument("--count", type=int, default=None, help="how often, instead of 10, 10, 20 per area")
    parser.add_argument("--cards", type=int, default=2, help="cards side by side (default 2)")
    options = parser.parse_args()
    unknown = set(options.parts) - PARTS.keys()
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="fws-"))
    rig = Rig(options.cards)
    part = ""
    try:
        say(f"seed {seed}: one burn-all to begin from")
        provisioned = provision(rig, folder)
        say(f"burn-all of {options.cards} cards: {provisioned.seconds:.0f} s")
        for part in options.parts or PARTS:
            run, count = PARTS[part]
            started = time.monotonic()
            result = run(provisioned, random.Random(f"{seed} {part}"), options.count or count)
            say(f"{part}: {result}. {(time.monotonic() - started) / 60:.1f} min")
    except (AssertionError, FwmgrError) as e:
        evidence = TOP / "var" / "campaign"
        rig.keep_evidence(evidence)
        say(f"{part} failed: {e}\nlogs: {evidence}")
        again = f"tools/campaign {part} --seed {seed} --cards {options.cards}"
        say(f"run again: {again}" + (f" --count {options.count}" if options.count else ""))
        return 1
    finally:
        rig.down()
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
