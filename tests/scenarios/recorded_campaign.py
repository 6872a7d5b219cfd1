"""`tools/recorded-cuts`: cuts of recorded burns in larger numbers, shown as they go, kept and reported.

Knows arguments, files and the screen. What a cut is and what must hold is in `recorded_cuts`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from firmware_mgr.model.errors import FwmgrError
from firmware_mgr.model.ids import SlotId
from tests.flash.powercut.bench import Cut, read_cuts
from tests.flash.recorded.cuts import phase_of
from tests.scenarios.burned_cache import burned_key
from tests.scenarios.recorded_burns import DEADLINES, Records
from tests.scenarios.recorded_cuts import PRISTINE, UPDATE, CardRecord, Outcome, Stopped, undergo
from tests.scenarios.recorded_report import Failed, again, table
from tests.scenarios.rig import Rig
from tests.scenarios.software import TOP

BOARDS = ("qemu-aarch64", "qemu-x86_64")
KEPT = TOP / "var" / "recorded-cuts"
COUNT = 100


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


@dataclass
class Journal:
    """What is done, by name, in a file that is replaced whole after each cut."""

    path: Path
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: dict[str, Failed] = field(default_factory=dict)

    def read(self) -> None:
        if self.path.exists():
            document = json.loads(self.path.read_text())
            self.outcomes = {name: Outcome(**one) for name, one in document["outcomes"].items()}
            self.failures = {name: Failed(**one) for name, one in document["failures"].items()}

    def knows(self, name: str) -> bool:
        return name in self.outcomes or name in self.failures

    def add(self, name: str, one: Outcome | Failed) -> None:
        if isinstance(one, Outcome):
            self.outcomes[name] = one
        else:
            self.failures[name] = one
        document = {
            "outcomes": {name: asdict(one) for name, one in self.outcomes.items()},
            "failures": {name: asdict(one) for name, one in self.failures.items()},
        }
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(document, indent=1))
        fresh.replace(self.path)


class Campaign:
    """Cuts of all cards' records, on a rig of the same cards."""

    def __init__(self, records: Records, rig: Rig, seed: int, journal: Journal) -> None:
        self._records = records
        self._rig = rig
        self._seed = seed
        self._journal = journal
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._done = 0
        self._total = 0

    def run(self, todo: dict[str, dict[SlotId, list[Cut]]]) -> None:
        """One kind of record after the other, the cards side by side."""
        self._total = sum(len(cuts) for by_slot in todo.values() for cuts in by_slot.values())
        for kind, by_slot in todo.items():
            if not any(by_slot.values()):
                continue
            self._begin(kind)
            with ThreadPoolExecutor(len(by_slot)) as pool:
                futures = [pool.submit(self._work, kind, slot, cuts) for slot, cuts in by_slot.items()]
                try:
                    for future in futures:
                        future.result()
                finally:
                    self._over.set()
            self._over.clear()

    def _begin(self, kind: str) -> None:
        rig = self._rig
        rig.stop_master()
        rig.all_off()
        shutil.rmtree(rig.master.directory, ignore_errors=True)
        shutil.copytree(self._records.master(kind), rig.master.directory)
        rig.start_master(*DEADLINES)
        for slot in rig.slots:
            if kind == PRISTINE:
                rig.want(slot, self._records.wanted(kind, slot).image)

    def _work(self, kind: str, slot: SlotId, cuts: Sequence[Cut]) -> None:
        record, wanted = self._records.of(kind, slot), self._records.wanted(kind, slot)
        for cut in cuts:
            if self._over.is_set():
                return
            try:
                one: Outcome | Failed = undergo(self._rig, record, cut, self._seed, wanted, over=self._over)
            except Stopped:
                return
            except (AssertionError, FwmgrError, LookupError, ValueError) as e:
                one = self._failed(record, cut, e)
            self._tell(f"{record.name} {cut}", one)

    def _failed(self, record: CardRecord, cut: Cut, error: Exception) -> Failed:
        evidence = KEPT / "failures" / f"{record.name} {cut}".replace(" ", "-")
        self._rig.keep_evidence(evidence)
        (evidence / "error.txt").write_text("".join(traceback.format_exception(error)))
        what = f"{type(error).__name__}: {error}"
        return Failed(record.name, record.board, str(cut), phase_of(record.recording, cut).value, what)

    def _tell(self, name: str, one: Outcome | Failed) -> None:
        with self._lock:
            self._done += 1
            self._journal.add(name, one)
            failed = len(self._journal.failures)
            head = f"{self._done} of {self._total}, {failed} failed:"
            if isinstance(one, Outcome):
                say(f"{head} {one}")
            else:
                say(f"{head} {name} ({one.phase}) FAILED: {one.what}\n  again: {again(one, self._seed)}")


def _only(text: str) -> tuple[str, SlotId, Cut]:
    kind, slot, cut = text.split()
    (one,) = read_cuts(cut)
    if kind not in (PRISTINE, UPDATE):
        raise ValueError(text)
    return kind, SlotId.parse(slot), one


def _todo(
    records: Records, options: argparse.Namespace, journal: Journal
) -> dict[str, dict[SlotId, list[Cut]]]:
    """For each kind of record the cuts of each card that are not done yet."""
    if options.only:
        kind, slot, cut = options.only
        return {kind: {slot: [cut]}}
    todo: dict[str, dict[SlotId, list[Cut]]] = {PRISTINE: {}, UPDATE: {}}
    for kind, by_slot in todo.items():
        for slot, board in records.boards.items():
            same = [one for one, of in records.boards.items() if of == board]
            share = options.count // 2 + (options.count % 2 and kind == UPDATE)
            mine = share // len(same) + (same.index(slot) < share % len(same))
            record = records.of(kind, slot)
            chosen = record.chosen(options.seed, mine)
            by_slot[slot] = [cut for cut in chosen if not journal.knows(f"{record.name} {cut}")]
    return todo


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/recorded-cuts", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same seed and records give the same cuts")
    parser.add_argument("--count", type=int, default=COUNT, help="cuts on each board")
    parser.add_argument("--board", action="append", help=f"default: {' and '.join(BOARDS)}")
    parser.add_argument(
        "--cards", type=int, default=4, help="cards side by side; boards are dealt out in turn"
    )
    parser.add_argument("--resume", action="store_true", help="go on where this seed was interrupted")
    parser.add_argument("--only", type=_only, metavar="STATE", help="one cut, such as 'update 2 310.torn.77'")
    options = parser.parse_args()
    # Whoever ends it in whatever way: machines are not left behind. A shell's `&` would have Ctrl-C ignored.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    boards = tuple(options.board or BOARDS)
    folder = KEPT / burned_key(boards, options.cards, record_writes=True)
    slots = [SlotId(number + 1) for number in range(options.cards)]
    records = Records(folder, {slot: boards[number % len(boards)] for number, slot in enumerate(slots)})
    journal = Journal(folder / f"seed-{options.seed}{'-only' if options.only else ''}.json")
    if options.resume:
        journal.read()
    try:
        if not records.complete:
            say(f"recording: {options.cards} cards are burned, and brought to another set")
            with _rig(options.cards, boards, record_writes=True) as rig:
                records.make(rig)
        todo = _todo(records, options, journal)
        with _rig(options.cards, boards) as rig:
            rig.up()
            Campaign(records, rig, options.seed, journal).run(todo)
    except KeyboardInterrupt:
        say("interrupted; what is done is kept: --resume goes on")
        return 130
    outcomes, failures = list(journal.outcomes.values()), list(journal.failures.values())
    say(f"seed {options.seed}:\n{table(outcomes, failures)}")
    for one in failures:
        say(f"{one.record} {one.cut}: {one.what:.400}\n  again: {again(one, options.seed)}")
    return 1 if failures else 0


@contextmanager
def _rig(cards: int, boards: tuple[str, ...], *, record_writes: bool = False) -> Iterator[Rig]:
    """One whose processes end with the block. Frames are captured only where the burn is recorded too."""
    rig = Rig(cards, boards, capture=record_writes, record_writes=record_writes)
    try:
        yield rig
    except (AssertionError, FwmgrError):
        rig.keep_evidence(KEPT / "failures" / "rig")
        raise
    finally:
        rig.down()


if __name__ == "__main__":
    sys.exit(main())
