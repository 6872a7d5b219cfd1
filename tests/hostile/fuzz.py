"""The fuzzer: `tools/fuzz NAME [--seconds N] [--runs N] [--until N] [--seed N] [--minimise]`.

New inputs go to var/fuzz/NAME/; an input that breaks a rule is written to var/fuzz/, named, and shown with
the command that plays it again. Runs are counted for as long as the code of the parsers stays the same:
`--until N` makes as many as are missing, and may be broken off, and begun twice side by side. `--minimise`
takes the fewest small inputs that reach all that was reached into the corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from .targets import CORPUS, ROOMS, TARGETS

FOUND = ROOMS.parent / "var" / "fuzz"
COUNT_EVERY = 1000


def fuzz(name: str, options: list[str]) -> None:
    """Runs until its limit is reached; the process then ends. A broken rule ends it with 77."""
    import atheris

    target = TARGETS[name]
    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(
        include=[
            "firmware_mgr.netboot",
            "firmware_mgr.link",
            "firmware_mgr.master.https",
            "firmware_mgr.package",
        ]
    ):
        play = target.open(Path(tempfile.mkdtemp(prefix="fwmgr-fuzz-")))

    count, counted = counter(name), 0

    def watched(data: bytes) -> None:
        """An input that breaks a rule is kept before the fuzzer ends the process."""
        nonlocal counted
        counted += 1
        if not counted % COUNT_EVERY:
            count.write_text(str(counted))
        kept = FOUND / f"{name}-broken-{hashlib.sha256(data).hexdigest()[:16]}"
        try:
            play(data)
        except BaseException:
            kept.write_bytes(data)
            sys.stderr.write(f"again by: tools/fuzz {name} --play {kept}\n")
            raise

    atheris.Setup([sys.argv[0], *options], watched)
    atheris.Fuzz()


def counter(name: str) -> Path:
    """Where this process counts; named by the parsers' code."""
    code = hashlib.sha256(b"".join((ROOMS / file).read_bytes() for file in TARGETS[name].parsers))
    return FOUND / "counts" / f"{name}-{code.hexdigest()[:16]}-{os.getpid()}-{time.time_ns()}"


def executions(name: str) -> int:
    """How many inputs were played by all runs with today's code of the parsers."""
    prefix = "-".join(counter(name).name.split("-")[:2])
    return sum(int(path.read_text() or 0) for path in (FOUND / "counts").glob(f"{prefix}-*"))


def minimise(name: str) -> None:
    """Greedy: the input that adds most branches for its size first."""
    import coverage

    target = TARGETS[name]
    logging.disable(logging.CRITICAL)
    files = [str(ROOMS / file) for file in target.parsers]
    paths = [path for folder in (CORPUS / name, FOUND / name) if folder.is_dir() for path in folder.iterdir()]
    measure = coverage.Coverage(data_file=None, include=files, branch=True)
    with tempfile.TemporaryDirectory() as scratch:
        measure.start()
        play = target.open(Path(scratch))
        for number, path in enumerate(paths):
            measure.switch_context(str(number))
            play(path.read_bytes())
        measure.stop()
    data = measure.get_data()
    reach: dict[Path, set[tuple[str, int, int]]] = {}
    for number, path in enumerate(paths):
        data.set_query_context(str(number))
        reach[path] = {(file, *arc) for file in files for arc in data.arcs(file) or []}
    kept, covered = [], set[tuple[str, int, int]]()
    while True:
        best = max(paths, key=lambda path: len(reach[path] - covered) / (path.stat().st_size + 50))
        if not reach[best] - covered:
            break
        kept.append(best.read_bytes())
        covered |= reach[best]
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for path in list(folder.iterdir()):
        path.unlink()
    for content in kept:
        (folder / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    sys.stdout.write(f"{name}: {len(kept)} of {len(paths)} inputs, {sum(map(len, kept))} bytes\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/fuzz", description="Coverage-guided fuzzing of the servers.")
    parser.add_argument("name", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="how long (0: until interrupted)")
    parser.add_argument("--runs", type=int, help="how many inputs, instead of seconds")
    parser.add_argument("--until", type=int, help="how many inputs in all, with those of earlier runs")
    parser.add_argument(
        "--seed", type=int, default=0, help="for the same inputs again (0: chosen and printed)"
    )
    parser.add_argument(
        "--minimise", action="store_true", help="afterwards take what was found into the corpus"
    )
    parser.add_argument("--play", type=Path, help="only play this input")
    chosen = parser.parse_args()
    if chosen.play is not None:
        TARGETS[chosen.name].open(Path(tempfile.mkdtemp(prefix="fwmgr-fuzz-")))(chosen.play.read_bytes())
        return
    (FOUND / chosen.name).mkdir(parents=True, exist_ok=True)
    (FOUND / "counts").mkdir(exist_ok=True)
    if chosen.until is not None:
        done = executions(chosen.name)
        sys.stdout.write(f"{chosen.name}: {done} of {chosen.until} inputs were played by earlier runs\n")
        chosen.runs = max(0, chosen.until - done)
        if not chosen.runs:
            return
    limit = f"-max_total_time={chosen.seconds}" if chosen.runs is None else f"-atheris_runs={chosen.runs}"
    options = [
        str(FOUND / chosen.name),
        str(CORPUS / chosen.name),
        limit,
        f"-max_len={TARGETS[chosen.name].max_input}",
        "-timeout=20",
        "-print_final_stats=1",
        f"-artifact_prefix={FOUND}/{chosen.name}-",
        *([f"-seed={chosen.seed}"] if chosen.seed else []),
    ]
    child = os.fork()  # the fuzzer ends its process
    if child == 0:
        fuzz(chosen.name, options)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.stdout.write(
        f"{chosen.name}: {executions(chosen.name)} inputs played with this code of the parsers\n"
    )
    if status:
        sys.exit(1)
    if chosen.minimise:
        minimise(chosen.name)


if __name__ == "__main__":
    main()
