"""Which versions of Debian packages the archive holds now, each with its address, size and hash.

Knows how to ask apt. Refuses to choose one: an archive holds several when its suites differ.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from firmware_mgr.imaging.debs import URI_LINE, Pin, private_apt, run_apt, update_index
from firmware_mgr.imaging.sources import debian_sources
from firmware_mgr.model.errors import PeerError, UsageError


@dataclass(frozen=True, slots=True, order=True)
class HeldDeb:
    """A package file that the archive holds, and its size in bytes."""

    pin: Pin
    size: int


def held_debs(names: Sequence[str], arch: str, apt_etc: Path = Path("/etc/apt")) -> tuple[HeldDeb, ...]:
    """All versions of these packages for Debian's `arch`, in order of name.

    Raises UsageError when a package is unknown, PeerError when the archive cannot be asked.
    """
    with tempfile.TemporaryDirectory(prefix="fwmgr-apt-") as scratch:
        home = private_apt(Path(scratch), arch, debian_sources(apt_etc), ())
        update_index(home)
        listed = run_apt(home, ["apt-cache", "madison", "--", *sorted(names)], "versions cannot be listed")
        versions = sorted({_name_and_version(line) for line in listed.splitlines() if line.strip()})
        unknown = sorted(set(names) - {name for name, _ in versions})
        if unknown:
            raise UsageError(
                "Debian packages are unknown", where=arch, expected="names of packages", found=unknown
            )
        held: list[HeldDeb] = []
        for turn in _turns(versions):
            command = [
                "apt-get",
                "download",
                "-q",
                "--print-uris",
                "--",
                *(f"{n}={v}" for n, v in turn.items()),
            ]
            answer = run_apt(home, command, "addresses cannot be listed")
            held += [_held(line, arch) for line in answer.splitlines() if line.startswith("'")]
    return tuple(sorted(held))


def _name_and_version(line: str) -> tuple[str, str]:
    """Of a line of madison: `name | version | where it is`."""
    name, version, *_ = (part.strip() for part in line.split("|"))
    return name, version


def _turns(versions: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    """One version of each name at a time: apt gives no more in one answer."""
    turns: list[dict[str, str]] = []
    for name, version in versions:
        place = next((turn for turn in turns if name not in turn), None)
        if place is None:
            turns.append(place := {})
        place[name] = version
    return turns


def _held(line: str, arch: str) -> HeldDeb:
    match = URI_LINE.match(line)
    if match is None:
        raise PeerError("apt said something else than an address with SHA-256", where=arch, found=line)
    name, version, of = (unquote(part) for part in match["file"].rsplit("/")[-1].split("_"))
    return HeldDeb(Pin(name, version, of, match["sha256"], match["uri"]), int(match["size"]))
