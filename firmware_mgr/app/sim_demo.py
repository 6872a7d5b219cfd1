"""`tools/demo --sim`: the main job on in-process cards, dealt out over the CPUs, in virtual time.

The same steps and the same tables as with QEMU cards; the seconds of each step are virtual and real ones.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from firmware_mgr.app.demo_seconds import seconds_table
from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.cli.cards import cards_table
from firmware_mgr.cli.main import show
from firmware_mgr.cli.operations import print_operation
from firmware_mgr.cli.screen import screen
from firmware_mgr.lab.sim.card import PAGE
from firmware_mgr.model.errors import FwmgrError, PeerError

#: Virtual seconds for all of it: some ten times of what it takes.
WITHIN = 600.0

console = Console(width=screen().width)


class SimDemo:
    def __init__(self, cards: int, seed: int) -> None:
        self._steps: list[tuple[str, float, float]] = []
        self._system = SimSystem(cards, seed=seed, boards=None, unix_start=time.time())

    def run(self) -> int:
        system = self._system
        try:
            self._step("keys and trust", system.make_site)
            self._step("boot images and package", self._build)
            self._step("master up", system.start_master)
            self._step("images and package added", self._add)
            self._step("burn-all and warm boot", self._burn)
            self._step("page from each card", self._pages)
            return self._report()
        finally:
            system.close()

    def _step(self, name: str, work: Callable[[], None]) -> None:
        console.rule(f"[bold]{name}", align="left")
        virtual, real = self._system.loop.time(), time.perf_counter()
        work()
        self._steps.append((name, self._system.loop.time() - virtual, time.perf_counter() - real))

    def _build(self) -> None:
        used = {bay.card.hardware.board.name for bay in self._system.chassis.bays.values() if bay.card}
        self._images = [self._system.build_image(board, "1.0") for board in sorted(used)]
        self._package = self._system.build_package()

    def _add(self) -> None:
        for image in self._images:
            self._system.post("/v1/images", {"path": str(image.folder)})
            console.print(f"boot image {image.reference.board} {image.reference.version}")
        self._system.post("/v1/packages", {"path": str(self._package)})

    def _burn(self) -> None:
        identifier = self._system.post("/v1/burn-all")["id"]
        operation = self._system.wait_until(
            f"{identifier} is over",
            lambda: seen if (seen := self._system.get(f"/v1/operations/{identifier}"))["finished"] else None,
            WITHIN,
        )
        print_operation(operation)
        boards = {card["slot"]: card["board"] for card in self._system.get("/v1/cards")}
        console.print(seconds_table(operation, boards))
        if operation["state"] != "done":
            raise PeerError(
                "burn-all did not end well", where=identifier, expected="done", found=operation["state"]
            )

    def _pages(self) -> None:
        for slot in self._system.slots:
            page = self._system.page(slot)
            if PAGE not in page:
                raise PeerError("no page from the card", where=f"slot {slot}", expected=PAGE, found=page)
        console.print(f"{len(self._system.slots)} pages: {PAGE}")

    def _report(self) -> int:
        cards = self._system.get("/v1/cards")
        console.rule("[bold]cards in service", align="left")
        console.print(cards_table(cards))
        table = Table("seconds of each phase", "virtual", "real", title="seconds")
        for name, virtual, real in self._steps:
            table.add_row(name, f"{virtual:.1f}", f"{real:.1f}")
        console.print(table)
        console.print(f"{self._system.wire.plan.count} messages on the backplane")
        missing = [card["slot"] for card in cards if not card["in_service"]]
        if missing:
            console.print(f"[red]not in service: slot {', '.join(missing)}")
            return 1
        console.print(f"[green]all {len(cards)} cards are in service")
        return 0


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="tools/demo --sim", description="Pristine cards to service, in process and in virtual time."
    )
    parser.add_argument("--sim", action="store_true", required=True, help="in-process cards")
    parser.add_argument("--cards", type=int, default=3, help="how many cards (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="repeats what was seen with this seed")
    parser.add_argument("--verbose", action="store_true", help="show what master and agents log")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.ERROR, format="%(name)s: %(message)s"
    )
    try:
        sys.exit(SimDemo(options.cards, options.seed).run())
    except FwmgrError as e:
        show(e)
        sys.exit(1)
