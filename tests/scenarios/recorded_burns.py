"""Records of what real cards write to their flash: a first burn, and an update to another set.

Knows how both are brought about on a rig and where their records are kept. What is made of them is in
`recorded_cuts`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_mgr.master.site import MasterPaths
from firmware_mgr.model.ids import SlotId
from firmware_mgr.packaging.manifest import load_manifest
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios.provisioned import Provisioned, provision, recorded_folder
from tests.scenarios.recorded_cuts import PRISTINE, UPDATE, CardRecord, Wanted
from tests.scenarios.rig import Rig
from tests.scenarios.software import PACKAGE, fwmgr
from tests.scenarios.variables import Watch, keep_logs

PAGE = "This card is in service"
#: The new set: other boot images, and another version of the package with another page.
NEW_VERSION = "recorded-update"
NEW_PACKAGE = "9.9.9"
NEW_PAGE = "This card serves the new set"
_WANTED = "wanted.json"
#: Four machines on two processors take turns: a card is not late for that.
DEADLINES = ("--deadlines", '{"booting": 600, "netbooting": 600, "agent_up": 300, "validated": 300}')
PATIENCE = 1800.0


@dataclass(frozen=True)
class Records:
    """All records of a rig's cards, in one folder. `boards` are dealt out to the slots as the rig does it."""

    folder: Path
    boards: dict[SlotId, str]

    @property
    def complete(self) -> bool:
        return (self.folder / _WANTED).exists()

    @property
    def _rig(self) -> Path:
        return self.folder / "rig"

    @property
    def _update(self) -> Path:
        return self.folder / UPDATE

    def master(self, kind: str) -> Path:
        """The master's directory before the burn: it knows no more than was so then."""
        return self._update / "master" if kind == UPDATE else self._rig / "fresh" / "master"

    def of(self, kind: str, slot: SlotId) -> CardRecord:
        folder, snapshot = (self._update, "burned") if kind == UPDATE else (self._rig, "fresh")
        return CardRecord(
            kind,
            slot,
            self.boards[slot],
            self._rig / snapshot / f"flash-{slot.number}.img",
            recorded_folder(folder, slot),
            MasterPaths(self.master(kind)),
        )

    def wanted(self, kind: str, slot: SlotId) -> Wanted:
        document: dict[str, Any] = json.loads((self.folder / _WANTED).read_text())
        return Wanted(**document[f"{kind} {slot}"])

    def make(self, rig: Rig) -> None:
        """Burn the cards of this rig, which is not up yet, and bring them to the new set, all recorded."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._rig.mkdir(parents=True)
        provisioned = provision(rig, self._rig, within=PATIENCE, options=DEADLINES)
        wanted = {f"{PRISTINE} {slot}": wanted_first(provisioned, slot) for slot in rig.slots}
        for slot in rig.slots:
            self.of(PRISTINE, slot).check_ends(provisioned.burned.flash(slot))
        self._make_software(provisioned, rig)
        self._record_update(provisioned, rig)
        wanted |= {
            f"{UPDATE} {slot}": Wanted(NEW_VERSION, f"lighttpd={NEW_PACKAGE}", NEW_PAGE) for slot in rig.slots
        }
        documents = {
            name: {"image": one.image, "package": one.package, "page": one.page}
            for name, one in wanted.items()
        }
        (self.folder / _WANTED).write_text(json.dumps(documents))

    def _image(self, board: str) -> Path:
        return self._update / f"image-{board}"

    @property
    def _package(self) -> Path:
        return self._update / "lighttpd.fwp"

    def _make_software(self, provisioned: Provisioned, rig: Rig) -> None:
        self._update.mkdir()
        for board in rig.plan.boards:
            provisioned.site.build_image(self._image(board), version=NEW_VERSION, board=board)
        source = self._update / "lighttpd"
        shutil.copytree(PACKAGE, source)
        version = load_manifest(PACKAGE / "manifest.toml").package.version
        _replace(source / "manifest.toml", f'"{version}"', f'"{NEW_PACKAGE}"')
        _replace(source / "index.html", PAGE, NEW_PAGE)
        fwmgr("package", "build", source, "--key", provisioned.site.key, "--out", self._package)

    def _record_update(self, provisioned: Provisioned, rig: Rig) -> None:
        rig.stop_master()
        rig.all_off()
        provisioned.burned.put_back(rig)
        rig.start_master()
        for board in rig.plan.boards:
            fwmgr("image", "add", self._image(board), "--dir", rig.master.directory)
        fwmgr("package", "add", self._package, "--dir", rig.master.directory)
        for slot in rig.slots:
            wish = {"slot": str(slot), "image": NEW_VERSION, "packages": [f"lighttpd={NEW_PACKAGE}"]}
            rig.post("/v1/card/want", wish)
        rig.stop_master()
        shutil.copytree(rig.master.directory, self.master(UPDATE))
        rig.start_master(*DEADLINES)
        first = {slot: rig.power_ons(slot) + 1 for slot in rig.slots}
        with Watch([(rig.paths(slot), recorded_folder(self._update, slot)) for slot in rig.slots]):
            for slot in rig.slots:
                rig.power(slot, PowerAction.ON)
            for slot in rig.slots:
                rig.wait_booted(slot, NEW_VERSION, PATIENCE)
                assert NEW_PAGE in rig.page(slot)
            rig.stop_master()
            rig.all_off()
        for slot in rig.slots:
            keep_logs(rig.paths(slot), recorded_folder(self._update, slot), first[slot])
            self.of(UPDATE, slot).check_ends(rig.paths(slot).flash)


def wanted_first(provisioned: Provisioned, slot: SlotId) -> Wanted:
    """The set that the rig's cards are burned with first."""
    version = load_manifest(PACKAGE / "manifest.toml").package.version
    return Wanted(provisioned.image(slot).manifest.version, f"lighttpd={version}", PAGE)


def of_rig(provisioned: Provisioned, slots: Sequence[SlotId]) -> list[CardRecord]:
    """The records of the first burn of these cards."""
    return [
        CardRecord(
            PRISTINE,
            slot,
            provisioned.rig.board(slot),
            provisioned.fresh.flash(slot),
            recorded_folder(provisioned.folder, slot),
            MasterPaths(provisioned.fresh.directory / "master"),
        )
        for slot in slots
    ]


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path}: no {old}"
    path.write_text(text.replace(old, new))
