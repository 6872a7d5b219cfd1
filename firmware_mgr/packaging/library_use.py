"""Which libraries a program or library gets, directly and through others, as ld.so(8) finds them.

Knows RPATH, RUNPATH and their origins, Debian's directories, and that a name is loaded once. Refuses to know
ld.so.cache, LD_LIBRARY_PATH and glibc-hwcaps, and what is opened by name at run time.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from firmware_mgr.imaging.tree import Node, resolve
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.paths import merged_path
from firmware_mgr.packaging.closure import TRIPLET, library_directories
from firmware_mgr.packaging.elf_facts import ElfFacts


@dataclass(frozen=True, slots=True)
class LibraryUse:
    """What the file at `path` gets: names to paths in the tree, or None for what is not in it.

    `direct` is what it asks for itself, its interpreter too; `every` also what comes with those.
    """

    path: str
    direct: Mapping[str, str | None]
    every: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A file in the order of loading, with the one on whose behalf it was loaded."""

    path: str
    by: _Loaded | None


@dataclass(frozen=True, slots=True)
class Loader:
    """The loader of one CPU over a tree and what its ELF files say."""

    tree: Mapping[str, Node]
    facts: Mapping[str, ElfFacts]
    cpu: CpuArch

    def use(self, path: str) -> LibraryUse:
        """What the program or library at `path` gets. Breadth first, each name once."""
        every: dict[str, str | None] = {}
        direct: dict[str, str | None] = {}
        known: dict[str, str | None] = {}
        waiting = [_Loaded(path, None)]
        for one in waiting:
            facts = self.facts[one.path]
            self._know(known, one.path)
            if facts.interpreter:
                name = posixpath.basename(facts.interpreter)
                known.setdefault(name, self._at(facts.interpreter))
                every.setdefault(name, known[name])
                if one.path == path:
                    direct[name] = known[name]
            for name in facts.needed:
                if name not in known:
                    found = known[name] = self.find(name, one.path, self._chain(one))
                    if found is not None and found not in (loaded.path for loaded in waiting):
                        waiting.append(_Loaded(found, one))
                every.setdefault(name, known[name])
                if one.path == path:
                    direct[name] = known[name]
        return LibraryUse(path, dict(sorted(direct.items())), dict(sorted(every.items())))

    def find(self, name: str, wanter: str, first: Sequence[tuple[str, str]] = ()) -> str | None:
        """The file that `wanter` gets for a name; `first` are search paths, each with its owner."""
        if "/" in name:
            return self._at(name if name.startswith("/") else f"/{posixpath.dirname(wanter)}/{name}")
        places = [self._expanded(place, owner) for place, owner in first if place]
        for folder in (*places, *(f"/{folder}" for folder in library_directories(self.cpu))):
            found = self._at(f"{folder}/{name}")
            if found is not None:
                return found
        return None

    def _chain(self, one: _Loaded) -> list[tuple[str, str]]:
        """A RUNPATH is a file's own; without one, RPATHs of the file and of all that led to it count."""
        facts = self.facts[one.path]
        if facts.runpath:
            return [(place, one.path) for place in facts.runpath]
        chain: list[tuple[str, str]] = []
        link: _Loaded | None = one
        while link is not None:
            if not self.facts[link.path].runpath:
                chain += [(place, link.path) for place in self.facts[link.path].rpath]
            link = link.by
        return chain

    def _expanded(self, place: str, owner: str) -> str:
        """With $ORIGIN and $LIB for what they stand for; Debian's $LIB is lib/<triplet>."""
        for name, value in (("ORIGIN", "/" + posixpath.dirname(owner)), ("LIB", f"lib/{TRIPLET[self.cpu]}")):
            place = place.replace(f"${name}", value).replace(f"${{{name}}}", value)
        return place

    def _at(self, place: str) -> str | None:
        """The ELF file of this CPU that a path leads to; the loader passes over those of others."""
        path = resolve(self.tree, merged_path(posixpath.normpath(place).lstrip("/")))
        facts = None if path is None else self.facts.get(path)
        return path if facts is not None and facts.cpu is self.cpu else None

    def _know(self, known: dict[str, str | None], path: str) -> None:
        soname = self.facts[path].soname
        if soname:
            known.setdefault(soname, path)
