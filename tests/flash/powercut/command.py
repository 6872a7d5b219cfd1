"""`tools/powercut`: a campaign of power cuts, shown as it goes, kept so that it goes on, reported at the end.

Knows arguments, files and the screen. What is tried is in `campaign`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.flash.powercut.campaign import Outcome, Unit, all_operations, by_operation, plan, replay, run

STATES = 1_000_000
KEPT = Path("var/powercut")
#: Seconds between two lines when nobody watches, and between two changes of the line when somebody does.
QUIET, WATCHED = 60.0, 0.5
KINDS = ("before", "torn", "after", "pair")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Progress:
    """One line that changes on a terminal; a line now and then elsewhere."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._live = sys.stderr.isatty()
        self._shown = 0.0
        self._began = time.monotonic()

    def show(self, done: int, failures: int, unit: str) -> None:
        now = time.monotonic()
        if now - self._shown < (WATCHED if self._live else QUIET):
            return
        self._shown = now
        share = done / self._wanted if self._wanted else 1.0
        seconds = now - self._began
        text = f"{done:>9,} of {self._wanted:,} states ({share:.0%}), {failures} failures, {seconds:.0f} s"
        text += f": {unit}"
        sys.stderr.write(f"\r\x1b[K{text:.120}" if self._live else text + "\n")
        sys.stderr.flush()

    def end(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[K")


class Journal:
    """What is done, in a file that is replaced whole after each unit."""

    def __init__(self, path: Path, *, go_on: bool) -> None:
        self._path = path
        self.units: dict[str, dict[str, Any]] = {}
        if go_on and path.exists():
            self.units = json.loads(path.read_text())["units"]

    def add(self, unit: Unit, outcome: Outcome, owed: int, seconds: float) -> None:
        self.units[unit.name] = {**outcome.document(), "owed": owed, "seconds": round(seconds, 1)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"units": self.units}))
        fresh.replace(self._path)


def campaign(
    states: int, seed: int, shard: int, shards: int, *, go_on: bool, names: Sequence[str]
) -> list[Outcome]:
    """Every unit of this shard; those of an earlier run are taken over with `go_on`."""
    operations = [
        op for op in all_operations() if not names or any(op.name.startswith(name) for name in names)
    ]
    units = plan(operations, states, shard, shards)
    key = "-".join([f"seed{seed}", f"{states}", f"{shard}of{shards}", *names]).replace(" ", "_")
    journal = Journal(KEPT / f"{key}.json", go_on=go_on)
    progress = Progress(sum(unit.quota for unit in units))
    outcomes: list[Outcome] = []
    done = failures = owed = 0
    for unit in units:
        known = journal.units.get(unit.name)
        if known is not None:
            outcome, owed = Outcome.of_document(known), known["owed"]
        else:
            began = time.monotonic()
            outcome = Outcome(unit.operation.name)
            more = 0 if unit.operation.weight < 0.5 else owed  # the slow ones do not make up for others
            for outcome in run(unit, seed, more, every=states >= STATES):
                progress.show(done + outcome.states, failures + len(outcome.failures), unit.name)
            owed += unit.quota - outcome.states
            journal.add(unit, outcome, owed, time.monotonic() - began)
        for failure in outcome.failures:
            say(str(failure))
        outcomes.append(outcome)
        done += outcome.states
        failures += len(outcome.failures)
    progress.end()
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """One row for each operation, and the sum."""
    rows = by_operation(outcomes)
    total = Outcome("all")
    for row in rows:
        total = total + row
    width = max(len(row.operation) for row in [*rows, total])
    head = f"{'operation':<{width}} {'states':>9} " + " ".join(f"{kind:>8}" for kind in KINDS)
    lines = [head + f" {'tried':>9} {'media':>8} {'failures':>8}"]
    for row in [*rows, total]:
        kinds = " ".join(f"{row.kinds[kind]:>8,}" for kind in KINDS)
        lines.append(
            f"{row.operation:<{width}} {row.states:>9,} {kinds} {row.tried:>9,} {row.recovered:>8,}"
            f" {len(row.failures):>8}"
        )
    return "\n".join(lines)


def report(outcomes: Sequence[Outcome], **run_of: Any) -> dict[str, Any]:
    rows = by_operation(outcomes)
    return {
        **run_of,
        "states": sum(row.states for row in rows),
        "failures": sum(len(row.failures) for row in rows),
        "operations": [row.document() for row in rows],
    }


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not 1 <= int(number) <= int(count):
        raise ValueError(text)
    return int(number), int(count)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="tools/powercut", description=__doc__)
    parser.add_argument("names", nargs="*", help="only operations whose names begin so: store control.trial")
    parser.add_argument("--states", type=int, default=STATES, help="distinct states over all shards")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="K/N", help="the K-th of N parts")
    parser.add_argument("--resume", action="store_true", help="go on where this very run was interrupted")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--merge", type=Path, nargs="+", metavar="FILE", help="add up reports of shards")
    parser.add_argument("--only", metavar="STATE", help="one state, as a failure names it")
    given = parser.parse_args(arguments)
    if given.only:
        try:
            failures = replay(all_operations(), given.only, given.seed)
        except (ValueError, IndexError) as e:
            parser.error(str(e))
        for failure in failures:
            say(str(failure))
        say(f"{given.only}: {'failed' if failures else 'holds'}")
        return 1 if failures else 0
    if given.merge:
        documents = [json.loads(path.read_text()) for path in given.merge]
        outcomes = [Outcome.of_document(row) for document in documents for row in document["operations"]]
        if len({(document["seed"], tuple(document["shard"])) for document in documents}) < len(documents):
            parser.error("the same shard twice")
        made: dict[str, Any] = {"seed": documents[0]["seed"], "shard": [1, 1]}
    else:
        began = time.monotonic()
        try:
            outcomes = campaign(given.states, given.seed, *given.shard, go_on=given.resume, names=given.names)
        except KeyboardInterrupt:
            say("interrupted; the same command with --resume goes on")
            return 130
        made = {"seed": given.seed, "shard": list(given.shard), "seconds": round(time.monotonic() - began)}
    document = report(outcomes, **made)
    say(table(outcomes))
    if given.json:
        given.json.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if document["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
