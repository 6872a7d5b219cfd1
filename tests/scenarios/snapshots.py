"""Copies of a rig's lasting state: flash of every card and the master's directory.

A scenario starts from a burned chassis in seconds instead of burning one. Copies are sparse.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.model.ids import SlotId
from tests.scenarios.rig import Rig


def copy_sparse(source: Path, target: Path) -> None:
    """The copy takes the target's name in one step: a machine that has the old file open keeps that."""
    draft = target.with_name(target.name + ".draft")
    command = ["cp", "--sparse=always", "--reflink=auto", str(source), str(draft)]
    subprocess.run(command, check=True)
    draft.replace(target)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of a rig. All cards must be without power, and the master ended, both ways."""

    directory: Path

    def flash(self, slot: SlotId) -> Path:
        return self.directory / f"flash-{slot.number}.img"

    def variables(self, slot: SlotId) -> Path:
        return self.directory / f"vars-{slot.number}.fd"

    def take(self, rig: Rig) -> Snapshot:
        self.directory.mkdir()
        for slot in rig.slots:
            copy_sparse(rig.paths(slot).flash, self.flash(slot))
            if rig.paths(slot).variables.exists():
                copy_sparse(rig.paths(slot).variables, self.variables(slot))
        shutil.copytree(rig.master.directory, self.directory / "master")
        return self

    def put_back(self, rig: Rig) -> None:
        for slot in rig.slots:
            self.put_back_flash(rig, slot)
        shutil.rmtree(rig.master.directory, ignore_errors=True)
        shutil.copytree(self.directory / "master", rig.master.directory)

    def put_back_flash(self, rig: Rig, slot: SlotId, of: SlotId | None = None) -> None:
        """This card's flash alone, or that of the card which was burned in the slot `of`; with its firmware's
        variables. Captures and logs of writes of the slot are thrown away."""
        copy_sparse(self.flash(of or slot), rig.paths(slot).flash)
        if self.variables(of or slot).exists():
            copy_sparse(self.variables(of or slot), rig.paths(slot).variables)
        else:
            rig.paths(slot).variables.unlink(missing_ok=True)
        for pattern in ("net*.pcap", "writes-*.log"):
            for evidence in rig.paths(slot).directory.glob(pattern):
                evidence.unlink()
