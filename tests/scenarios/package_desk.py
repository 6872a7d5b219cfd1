"""Packages of one small file, as releasers make them; what is said when they are given or chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.model.ids import SlotId
from tests.scenarios.key_desk import KeyDesk
from tests.scenarios.software import Said
from tests.scenarios.words import Words

#: When packages were built and, where nothing else is said, signed; from then on `old` signs no more.
BUILT, IN_TIME = "2026-01-01", "2025-12-31"


@dataclass(frozen=True, slots=True)
class PackageDesk:
    """Builds packages of one small file."""

    desk: KeyDesk
    folder: Path

    def build(self, name: str, version: str, signers: Sequence[str], *options: str) -> Path:
        source, out = self.folder / f"{name}-{version}", self.folder / f"{name}-{version}.fwp"
        source.mkdir()
        (source / "note.txt").write_text(f"{name} {version}\n")
        (source / "manifest.toml").write_text(
            f'[package]\nname = "{name}"\nversion = "{version}"\nbuild_date = {BUILT}T00:00:00Z\n'
            f'[[file]]\npath = "usr/share/{name}/note.txt"\nsource = "note.txt"\nkind = "data"\n'
        )
        keys = [word for signer in signers for word in ("--key", self.desk.private(signer))]
        self.desk.say("package", "build", source, *keys, "--out", out, *options)
        return out


def refused(said: Said, *words: str) -> None:
    text = " ".join(said.error.split())
    assert said.code != 0 and not said.out, said
    for word in words:
        assert word in text, f"no “{word}” in: {text}"


def accepted(said: Said) -> str:
    """The warnings."""
    assert said.code == 0, said
    return said.error


def wish(rig: Words, slot: SlotId, *packages: str) -> Said:
    """The card is to run these."""
    return rig.says("card", "set", str(slot), *(word for one in packages for word in ("--package", one)))
