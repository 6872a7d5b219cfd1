"""The corpus: Debian packages at two releases each, for all CPUs, fixed by a lock file. docs/IMPORTING.md.

Knows the list, the lock, and how the two releases are chosen. Refuses to know what is done with the .debs.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import Field

from firmware_mgr.imaging.deb_versions import HeldDeb, held_debs
from firmware_mgr.imaging.debs import DEBIAN_ARCH, DebFile, Pin, fetch_pins
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.packaging.deb_needs import Outside
from firmware_mgr.packaging.debian_control import ALL
from firmware_mgr.packaging.debian_version import DebianVersion
from firmware_mgr.packaging.import_manifest import DropEntry, ExtraManifest, parse_depend
from firmware_mgr.packaging.manifest import Section, Texts, validated

LOCK_FORMAT: Final = 1
LIST_NAME: Final = "corpus.toml"
LOCK_NAME: Final = "corpus.lock"
#: The two releases of each package, as the lock file calls them.
OLD, NEW = "old", "new"
REFRESH_HINT: Final = (
    "write the lock file anew with: tools/corpus --refresh; the figures in docs/IMPORTING.md are then "
    "those of other releases, and to be written anew too"
)


class CorpusEntry(Section):
    """One of our packages: the .debs of a source that are in it, and those of others that go with them."""

    name: str
    debs: Annotated[Texts, Field(min_length=1)]
    companions: Texts = ()
    depend: Texts = ()
    assume: Texts = ()
    drop: Texts = ()

    @property
    def extra(self) -> ExtraManifest:
        """What would stand in an extra manifest."""
        return ExtraManifest(drop=tuple(DropEntry(path=path) for path in self.drop))

    @property
    def outside(self) -> Outside:
        """What the package takes for given. Raises UsageError."""
        return Outside(frozenset(self.assume), dict(parse_depend(text) for text in self.depend))


class CorpusList(Section):
    """The whole list."""

    package: Annotated[tuple[CorpusEntry, ...], Field(strict=False, min_length=1)]


@dataclass(frozen=True, slots=True, order=True)
class LockedDeb:
    """A line of the lock: which .deb, of which package and release (`old`, `new`)."""

    package: str
    release: str
    deb: HeldDeb


@dataclass(frozen=True, slots=True)
class Corpus:
    """List and lock of a folder."""

    folder: Path
    listed: CorpusList
    locked: tuple[LockedDeb, ...]

    def release(self, name: str, release: str) -> tuple[HeldDeb, ...]:
        """The .debs of a package at a release. Raises UsageError when the lock has none."""
        found = tuple(line.deb for line in self.locked if (line.package, line.release) == (name, release))
        if not found:
            raise UsageError(
                "lock file does not have a package of the list",
                where=str(self.folder / LOCK_NAME),
                expected=f"{name}, {release} release",
                hint=REFRESH_HINT,
            )
        return found

    def version(self, entry: CorpusEntry, release: str) -> str:
        """The version of a package at a release: that of its first .deb, without the number of a rebuild."""
        debs = self.release(entry.name, release)
        return DebianVersion(next(d.pin.version for d in debs if d.pin.name == entry.debs[0])).source

    def fetch(self, debs: Sequence[HeldDeb], cache: Path) -> tuple[DebFile, ...]:
        """These .debs, out of the cache or the archive. Raises PeerError that names those that are gone."""
        try:
            return fetch_pins(sorted({deb.pin for deb in debs}), cache, self.folder / LOCK_NAME)
        except PeerError as e:
            raise PeerError(
                e.what, where=e.where, expected=e.expected, found=e.found, hint=REFRESH_HINT
            ) from e


def load_corpus(folder: Path) -> Corpus:
    """Raises UsageError."""
    listed = load_list(folder)
    return Corpus(folder, listed, _read_lock(folder / LOCK_NAME))


def load_list(folder: Path) -> CorpusList:
    """The list alone. Raises UsageError."""
    path = folder / LIST_NAME
    try:
        return validated(CorpusList, tomllib.loads(path.read_text(encoding="utf-8")), path)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise UsageError("list of the corpus cannot be read", where=str(path), found=str(e)) from e


def refresh_corpus(folder: Path, apt_etc: Path = Path("/etc/apt")) -> Corpus:
    """Write the lock anew from what the archive holds now.

    Raises UsageError when it does not hold a package at two versions for all CPUs, PeerError when it cannot
    be asked.
    """
    listed = load_list(folder)
    names = sorted({name for entry in listed.package for name in (*entry.debs, *entry.companions)})
    held = {arch: held_debs(names, arch, apt_etc) for arch in DEBIAN_ARCH.values()}
    locked = [line for entry in listed.package for line in choose_releases(entry, held)]
    _write_lock(folder / LOCK_NAME, sorted(locked))
    return load_corpus(folder)


def choose_releases(entry: CorpusEntry, held: Mapping[str, Sequence[HeldDeb]]) -> list[LockedDeb]:
    """The two newest versions of the source that all its .debs have for all CPUs. Raises UsageError."""
    by_name = {
        (name, arch): {
            DebianVersion(d.pin.version).source: d for d in sorted(debs, key=_age) if d.pin.name == name
        }
        for arch, debs in held.items()
        for name in (*entry.debs, *entry.companions)
    }
    shared = set.intersection(*(set(by_name[name, arch]) for name in entry.debs for arch in held))
    versions = sorted(shared, key=DebianVersion)[-2:]
    if len(versions) < 2:
        found = "; ".join(
            f"{name} for {arch}: {', '.join(found) or 'none'}" for (name, arch), found in by_name.items()
        )
        raise UsageError(
            "the archive does not hold two versions of a package for all CPUs",
            where=entry.name,
            expected="two versions that all .debs have",
            found=found,
            hint="ask again later, when all indexes can be read, or take another package into the list",
        )
    chosen: set[LockedDeb] = set()
    for release, version in zip((OLD, NEW), versions, strict=True):
        for arch in held:
            chosen |= {LockedDeb(entry.name, release, by_name[name, arch][version]) for name in entry.debs}
            for name in entry.companions:
                newest = max(by_name[name, arch].values(), key=_age)
                chosen.add(LockedDeb(entry.name, release, newest))
    return sorted(chosen)


def _age(deb: HeldDeb) -> DebianVersion:
    return DebianVersion(deb.pin.version)


def _write_lock(file: Path, locked: Sequence[LockedDeb]) -> None:
    lines = [f"format = {LOCK_FORMAT}"]
    for line in locked:
        pin = line.deb.pin
        lines += ["", "[[deb]]", f'package = "{line.package}"', f'release = "{line.release}"']
        lines += [f'name = "{pin.name}"', f'version = "{pin.version}"', f'arch = "{pin.arch}"']
        lines += [f'sha256 = "{pin.sha256}"', f"size = {line.deb.size}", f'uri = "{pin.uri}"']
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    draft.replace(file)


def _read_lock(file: Path) -> tuple[LockedDeb, ...]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        if document["format"] != LOCK_FORMAT:
            raise UsageError(
                "lock file of another format", where=str(file), expected=LOCK_FORMAT, hint=REFRESH_HINT
            )
        return tuple(sorted(_line(item) for item in document["deb"]))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as e:
        raise UsageError(
            "not a lock file of the corpus", where=str(file), found=repr(e), hint=REFRESH_HINT
        ) from e


def _line(item: Mapping[str, Any]) -> LockedDeb:
    pin = Pin(**{key: str(item[key]) for key in ("name", "version", "arch", "sha256", "uri")})
    Digest(pin.sha256)
    if (
        item["release"] not in (OLD, NEW)
        or pin.arch not in (*DEBIAN_ARCH.values(), ALL)
        or not urlsplit(pin.uri).scheme
    ):
        raise ValueError(f"{item['package']}: {item['release']} {pin.arch} {pin.uri}")
    return LockedDeb(str(item["package"]), str(item["release"]), HeldDeb(pin, int(item["size"])))
