"""The main job, start to end, on a virtual chassis: what `tools/demo` runs.

Pristine cards of several boards in slots; boot images and a real package built; master up; burn-all with warm
boot; a page fetched from each card; the tables printed. Uses the same commands and APIs as a user does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console

from firmware_mgr.app import sim_demo
from firmware_mgr.app.demo_seconds import seconds_table
from firmware_mgr.cli.cards import cards_table
from firmware_mgr.cli.main import show
from firmware_mgr.cli.operations import print_operation, watch
from firmware_mgr.cli.screen import screen
from firmware_mgr.lab.plan import ChassisPaths
from firmware_mgr.master.client import MasterClient
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.model.errors import FwmgrError, PeerError
from firmware_mgr.model.ids import SlotId

HERE = Path(__file__).resolve().parents[2]
PACKAGE = HERE / "packages" / "lighttpd"
#: Dealt out to the slots in turn, when none is named.
BOARDS = ("qemu-x86_64", "qemu-aarch64", "qemu-armv7")
PAGE_PORT = 8080
UP_SECONDS = 30.0

console = Console(width=screen().width)


FWMGR = (sys.executable, "-m", "firmware_mgr.app.fwmgr")


class Demo:
    def __init__(self, options: argparse.Namespace) -> None:
        self.directory: Path = options.dir.absolute()
        given = tuple(options.board or BOARDS)
        self.cards: int = options.cards or len(given)
        #: Of the boards, those that a card is of.
        self.boards = given[: self.cards]
        self.keep: bool = options.keep
        self.capture: bool = options.capture
        self.chassis = self.directory / "chassis"
        self.master = MasterPaths(self.directory / "master")
        self.client = MasterClient(self.master.api)
        self._process: subprocess.Popen[bytes] | None = None
        self._steps: list[tuple[str, float]] = []
        self._burned: dict[str, Any] = {}

    def run(self) -> int:
        if self.directory.exists():
            self._fwmgr("chassis", "down", "--dir", str(self.chassis), quiet=True)
            shutil.rmtree(self.directory)
        self.directory.mkdir(parents=True)
        try:
            self._step("keys and trust", self._trust)
            self._step("boot images and package", self._build)
            self._step("chassis up", self._chassis_up)
            self._step("master up", self._master_up)
            self._step("boot images and package added", self._add)
            self._step("burn-all and warm boot", self._burn)
            self._step("page from each card", self._pages)
            return self._report()
        finally:
            self._end()

    def _step(self, name: str, work: Any) -> None:
        console.rule(f"[bold]{name}", align="left")
        started = time.monotonic()
        work()
        self._steps.append((name, time.monotonic() - started))

    def _fwmgr(self, *arguments: str, quiet: bool = False) -> None:
        """Run a command as a user would, and show it."""
        if not quiet:
            console.print(f"[dim]$ fwmgr {' '.join(arguments)}[/dim]", highlight=False)
        output = subprocess.DEVNULL if quiet else None
        done = subprocess.run([*FWMGR, *arguments], check=False, stdout=output)
        if done.returncode != 0 and not quiet:
            raise _failed(arguments, done.returncode)

    def _side_by_side(self, commands: list[tuple[str, ...]]) -> None:
        """Run commands that have nothing to do with each other, as many at once as there are CPUs."""

        def run(arguments: tuple[str, ...]) -> tuple[subprocess.CompletedProcess[str], float]:
            started = time.monotonic()
            done = subprocess.run([*FWMGR, *arguments], check=False, stdout=subprocess.PIPE, text=True)
            return done, time.monotonic() - started

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for arguments, (done, seconds) in zip(commands, pool.map(run, commands), strict=True):
                console.print(f"[dim]$ fwmgr {' '.join(arguments)}[/dim]", highlight=False)
                if done.returncode != 0:
                    raise _failed(arguments, done.returncode)
                console.print(f"{done.stdout.strip()}, {seconds:.1f} s", markup=False, highlight=False)

    def _trust(self) -> None:
        keys = self.directory / "keys"
        self._fwmgr("key", "new", "demo", "--dir", str(keys))
        self._fwmgr("master", "trust", str(keys / "demo.pem"), "--dir", str(self.master.directory))

    @property
    def _images(self) -> dict[str, Path]:
        """The folder of each board's boot image."""
        return {board: self.directory / f"image-{Path(board).stem}" for board in self.boards}

    def _build(self) -> None:
        trust, out = str(self.master.trust), self.directory / "lighttpd.fwp"
        key = self.directory / "keys" / "demo.key"
        images: list[tuple[str, ...]] = [
            ("image", "build", "--board", board, "--trust", trust, "--out", str(folder))
            for board, folder in self._images.items()
        ]
        package = ("package", "build", str(PACKAGE), "--key", str(key), "--out", str(out))
        self._side_by_side([*images, package])

    def _chassis_up(self) -> None:
        arguments = ["--dir", str(self.chassis), "--cards", str(self.cards), "--pristine"]
        for board in self.boards:
            arguments += ["--board", board]
        if self.capture:
            arguments.append("--capture")
        self._fwmgr("chassis", "up", *arguments)

    def _master_up(self) -> None:
        arguments = ["master", "run", "--dir", str(self.master.directory), "--chassis", str(self.chassis)]
        for board in self.boards:
            if board.endswith(".toml"):
                arguments += ["--board", str(Path(board).absolute())]
        console.print(f"[dim]$ fwmgr {' '.join(arguments)} &[/dim]", highlight=False)
        with self.master.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*FWMGR, *arguments],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + UP_SECONDS
        while True:
            try:
                status = self.client.get("/v1/status")
                if status["cards"] >= self.cards:
                    return
            except PeerError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    sys.stderr.write(self.master.log.read_text())
                    raise
            time.sleep(0.2)

    def _add(self) -> None:
        for folder in self._images.values():
            self._fwmgr("image", "add", str(folder), "--dir", str(self.master.directory))
        self._fwmgr(
            "package", "add", str(self.directory / "lighttpd.fwp"), "--dir", str(self.master.directory)
        )

    def _burn(self) -> None:
        console.print("[dim]$ fwmgr burn-all[/dim]")
        operation = self.client.post("/v1/burn-all", {})
        operation = watch(self.client, operation["id"], quiet=not sys.stderr.isatty())
        print_operation(operation)
        self._burned = operation
        if operation["state"] != "done":
            self._show_consoles(operation)
            raise PeerError(
                "burn-all did not end well", where=operation["id"], expected="done", found=operation["state"]
            )

    def _show_consoles(self, operation: dict[str, Any]) -> None:
        for slot, card in operation["cards"].items():
            if card["state"] != "in service":
                log = ChassisPaths(self.chassis).slot(SlotId.parse(slot)).console_log
                tail = (
                    "\n".join(log.read_text(errors="replace").splitlines()[-25:])
                    if log.exists()
                    else "no console"
                )
                console.print(f"console of slot {slot}:\n{tail}", markup=False)

    def _pages(self) -> None:
        for card in self.client.get("/v1/cards"):
            url = f"http://{card['address']}:{PAGE_PORT}/"
            fetch = [sys.executable, "-c", _FETCH, url]
            console.print(f"[dim]slot {card['slot']}, {card['board']}: {url}[/dim]")
            self._fetch(["chassis", "enter", "--dir", str(self.chassis), "--", *fetch])

    def _fetch(self, command: list[str]) -> None:
        done = subprocess.run([*FWMGR, *command], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise PeerError("no page from the card", where=command[-1], found=done.stderr.strip())
        console.print(done.stdout.strip(), markup=False)

    def _report(self) -> int:
        cards = self.client.get("/v1/cards")
        console.rule("[bold]cards in service", align="left")
        console.print(cards_table(cards))
        console.print(seconds_table(self._burned, {card["slot"]: card["board"] for card in cards}))
        steps = [*self._steps, ("all", sum(seconds for _, seconds in self._steps))]
        console.print("seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in steps))
        missing = [card["slot"] for card in cards if not card["in_service"]]
        if missing:
            console.print(f"[red]not in service: slot {', '.join(missing)}")
            return 1
        console.print(f"[green]all {len(cards)} cards are in service")
        return 0

    def _end(self) -> None:
        if self.keep:
            console.print(f"left running: chassis {self.chassis}, master {self.master.directory}")
            return
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
        self._fwmgr("chassis", "down", "--dir", str(self.chassis), quiet=True)


def _failed(arguments: Sequence[str], code: int) -> PeerError:
    where = f"fwmgr {' '.join(arguments[:2])}"
    return PeerError("a command failed", where=where, expected=0, found=code)


_FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"


def main() -> None:
    if "--sim" in sys.argv[1:]:
        sim_demo.main()
    parser = argparse.ArgumentParser(
        prog="tools/demo", description="Pristine cards to service, on a virtual chassis."
    )
    parser.add_argument("--cards", type=int, help="how many cards (default: one of each board)")
    parser.add_argument(
        "--board",
        action="append",
        help=f"a board, dealt out in turn when given several times (default: {', '.join(BOARDS)})",
    )
    parser.add_argument("--dir", type=Path, default=HERE / "var" / "demo", help="where it works (made anew)")
    parser.add_argument("--sim", action="store_true", help="in-process cards (options: --sim --help)")
    parser.add_argument("--keep", action="store_true", help="leave chassis and master running at the end")
    parser.add_argument(
        "--capture", action="store_true", help="write each card's network traffic to pcap files"
    )
    try:
        sys.exit(Demo(parser.parse_args()).run())
    except FwmgrError as e:
        show(e)
        sys.exit(1)


if __name__ == "__main__":
    main()
