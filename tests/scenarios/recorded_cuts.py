"""A disk image made from a legal cut of what a real burn wrote: looked at, booted, burned to the end.

Knows a card's record, what the cut may show, and what the card must come to. Whatever happens after power-on
happens without us, but for a key that the cut has lost: the user lets the new one in, as with a swapped card.
"""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from firmware_mgr.card.settings import BOOT_TYPES
from firmware_mgr.flash.gpt import FlashLayout, read_table
from firmware_mgr.imaging.board import Board, load_board
from firmware_mgr.link.messages import BootSource
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.master.site_root import site_trust
from firmware_mgr.model.ids import CpuArch, SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.flash.powercut.bench import Cut
from tests.flash.powercut.medium import SECTOR, Medium, Powered
from tests.flash.recorded.cuts import cuts, phase_of
from tests.flash.recorded.phases import with_phases
from tests.flash.recorded.recording import Recording
from tests.flash.recorded.view import DAMAGED, EMPTY, NETBOOT, NEW, NOTHING, OLD, Reader, View, check
from tests.scenarios.rig import Rig
from tests.scenarios.snapshots import copy_sparse
from tests.scenarios.variables import Watched, logs_in, power_on_of

#: The kinds of records: of empty flash, and of flash that holds the old set.
PRISTINE, UPDATE = "pristine", "update"
NETWORK = "network"
#: Netboot, a burn, a reset and a start from flash, beside three other cards on a busy host.
WAY_BACK = 1800.0
#: States in which the master has read a card's hello, and what it said of its flash.
_HEARD = ("burning", "stored", "ready", "validated", "in service", "held")


@dataclass(frozen=True)
class Wanted:
    """What the cards must come to: boot image, package, and what its page says."""

    image: str
    package: str
    page: str


@dataclass
class CardRecord:
    """What one card wrote from flash `base` on. `folder` holds the logs and the variables that were seen."""

    kind: str
    slot: SlotId
    board: str
    base: Path
    folder: Path
    master: MasterPaths

    @cached_property
    def recording(self) -> Recording:
        recording = Recording.of_logs(self.base, logs_in(self.folder))
        return with_phases(recording, read_table(Powered(recording.last)))

    @cached_property
    def reader(self) -> Reader:
        board = load_board(self.board)
        cpu = CpuArch(board.board.cpu)
        return Reader.between(self.recording, _layout(board), site_trust(self.master), cpu)

    def check_ends(self, flash: Path | None = None) -> None:
        """The record begins and ends with what it should; replayed whole it gives what was in flash then."""
        first, last = self.reader.look(self.recording.first), self.reader.look(self.recording.last)
        assert (last.boots, last.stored, last.validated) == (NEW, NEW, NEW), f"{self.name}: ends as {last}"
        old = (NETBOOT, EMPTY) if first.table == NOTHING else (OLD, OLD)
        assert (first.boots, first.stored) == old, f"{self.name}: begins as {first}"
        if flash is not None:
            replayed, found = self.recording.last.contents(), flash.read_bytes()
            assert replayed == found, f"{self.name}: the log is not all that was written"

    @property
    def name(self) -> str:
        return f"{self.kind} {self.slot}"

    def chosen(self, seed: int, count: int) -> list[Cut]:
        return list(islice(cuts(self.recording, seed, self.name), count))

    def variables(self, cut: Cut, seed: int) -> Path | None:
        """UEFI's variables as they were when power failed."""
        log = logs_in(self.folder)[self.recording.power_on(cut.number)]
        rng = random.Random(f"{seed} {cut} variables")
        return Watched(self.folder).at(power_on_of(log), self.recording.position(cut), rng)


def _layout(board: Board) -> FlashLayout:
    flash, boot_type = board.flash, BOOT_TYPES[board.firmware.loader]
    return FlashLayout(flash.control, flash.boot, flash.store or 0, flash.state, boot_type, flash.data or 0)


@dataclass(frozen=True)
class Outcome:
    """How a card came back from a cut. `source` is what it came up from first: old, new or network."""

    record: str
    board: str
    cut: str
    phase: str
    view: str
    source: str
    new_key: bool
    starts: int
    boot_written: int
    package_written: int
    seconds: float

    def __str__(self) -> str:
        burned = f"boot image {self.boot_written}, packages {self.package_written}"
        return (
            f"{self.record} {self.cut} ({self.phase}): {self.view}; "
            f"came up from {self.source}, {self.starts} power-ons, written: {burned}; "
            f"in service after {self.seconds:.0f} s"
        )


def lay(medium: Medium, base: Path, target: Path) -> None:
    """The flash file of a card that has no power: the base with the sectors that differ."""
    copy_sparse(base, target)
    descriptor = os.open(target, os.O_WRONLY)
    try:
        run: list[bytes] = []
        start = 0
        for sector in sorted(medium.over):
            if run and sector != start + len(run):
                os.pwrite(descriptor, b"".join(run), start * SECTOR)
                run = []
            if not run:
                start = sector
            run.append(medium.over[sector])
        if run:
            os.pwrite(descriptor, b"".join(run), start * SECTOR)
    finally:
        os.close(descriptor)


class Stopped(Exception):
    """The user has enough of it: what the card would have come to is not known."""


def undergo(
    rig: Rig, record: CardRecord, cut: Cut, seed: int, wanted: Wanted, *, over: threading.Event | None = None
) -> Outcome:
    """Look at what the cut leaves, give it to the card, switch it on, and see. The rig's master is up.

    Raises AssertionError when something does not hold, Stopped soon after `over` was set.
    """
    slot, left = record.slot, record.recording.left(cut, seed)
    where = f"{record.name} {cut}"
    view = check(record.reader, record.recording, cut, left)
    rig.take_out(slot)
    paths = rig.paths(slot)
    lay(left, record.base, paths.flash)
    paths.variables.unlink(missing_ok=True)
    variables = record.variables(cut, seed)
    if variables is not None:
        copy_sparse(variables, paths.variables)
    before, powered = len(rig.burns(slot)), rig.power_ons(slot)
    rig.wait_until(f"slot {slot} has no link", lambda: not rig.card(slot)["linked"], 60.0)
    started = time.monotonic()
    rig.power(slot, PowerAction.ON)
    coming = _Coming(rig, slot, over or threading.Event())
    rig.wait_until(
        f"{where}: in service with {wanted.image}",
        lambda: coming.arrived(wanted),
        WAY_BACK,
        describe=lambda: f"{view}; {coming.first}. {rig.situation()}",
    )
    seconds = time.monotonic() - started
    burns = rig.burns(slot)[before:]
    _check_hello(coming, view, record, where)
    page = rig.page(slot)
    assert wanted.page in page, f"{where}: its web server says {page!r:.200}"
    return Outcome(
        record.name,
        record.board,
        str(cut),
        phase_of(record.recording, cut).value,
        str(view),
        coming.source(wanted),
        coming.new_key,
        rig.power_ons(slot) - powered,
        sum(burn["boot_bytes_written"] for burn in burns),
        sum(burn["package_bytes_written"] for burn in burns),
        round(seconds, 1),
    )


class _Coming:
    """A card on its way into service, as the master tells of it. `first` is what its first hello said."""

    def __init__(self, rig: Rig, slot: SlotId, over: threading.Event) -> None:
        self._over = over
        self._rig = rig
        self._slot = slot
        self.first: dict[str, Any] = {}
        self.new_key = False

    def source(self, wanted: Wanted) -> str:
        if self.first["booted_from"] == BootSource.NETBOOT.value:
            return NETWORK
        return NEW if self.first["boot_version"] == wanted.image else OLD

    def arrived(self, wanted: Wanted) -> bool:
        if self._over.is_set():
            raise Stopped
        card = self._rig.card(self._slot)
        if (card["refusal"] or {}).get("fingerprint"):
            self.new_key = True
            self._rig.post("/v1/card/approve", {"slot": str(self._slot)})
            return False
        if not self.first and card["linked"] and card["state"] in _HEARD:
            self.first = {**card, "flash": card["record"]["actual"]}
        if not card["in_service"] or card["boot_version"] != wanted.image:
            return False
        flash = card["record"]["actual"]
        held = {f"{one['name']}={one['version']}": one["bad_modules"] for one in flash["packages"]}
        return held.get(wanted.package) == 0 and flash["store"] == "good" and bool(self.first)


def _check_hello(coming: _Coming, view: View, record: CardRecord, where: str) -> None:
    """What the card itself said of its flash is what our reading code saw in the image: whole, or nothing."""
    first, flash = coming.first, coming.first["flash"]
    said = f"{where}: {view}, and the card says {first['booted_from']}, {flash}"
    assert not coming.new_key or record.kind == PRISTINE, f"{where}: the card's key is lost"
    legal = {BootSource.NETBOOT.value if view.boots == NETBOOT else view.loader}
    if load_board(record.board).firmware.uefi is not None:
        legal.add(BootSource.NETBOOT.value)  # SPEC-uefi-boot: BootNext is gone, and not written again yet
    assert first["booted_from"] in legal, said
    assert (flash["table"] == "good") is (view.table != NOTHING), said
    assert (flash["store"] == "good") is (view.store not in (NOTHING, DAMAGED)), said
    assert "bad" not in (flash["boot_a"]["state"], flash["boot_b"]["state"]), said
    looked_at = [package for package in flash["packages"] if package["modules"]]
    assert not any(package["bad_modules"] for package in looked_at), said
    assert bool(flash["packages"]) is (view.stored != EMPTY), said
