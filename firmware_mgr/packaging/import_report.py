"""What an import tells of itself: its modules, which library each file gets, and what was left out.

Knows how that is laid out as JSON. Refuses to know how it is found out, and how it looks on a screen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firmware_mgr.model.ids import NEUTRAL_CPU, CpuArch
from firmware_mgr.packaging.build import ModuleSource
from firmware_mgr.packaging.deb_needs import Need
from firmware_mgr.packaging.import_kinds import Found
from firmware_mgr.packaging.import_notes import Note
from firmware_mgr.packaging.library_use import LibraryUse


@dataclass(frozen=True, slots=True)
class ImportedModule:
    """A module with what it was found to be, and the .deb that it came from."""

    source: ModuleSource
    found: Found
    deb: str

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "path": self.source.path,
            "cpu": cpu_text(self.source.cpu),
            "found": self.found.value,
            "kind": self.source.kind.value,
            "mode": f"{self.source.mode:04o}",
            "function": self.source.function,
            "length": len(self.source.data),
            "deb": self.deb,
        }


@dataclass(frozen=True, slots=True)
class DebLine:
    """A .deb of the import."""

    name: str
    version: str
    architecture: str
    source: str

    def document(self) -> dict[str, str]:
        """JSON-ready."""
        return {
            "name": self.name,
            "version": self.version,
            "architecture": self.architecture,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The whole report. `date_from` says by which rule the build date was found."""

    debs: tuple[DebLine, ...]
    cpus: tuple[CpuArch, ...]
    build_date: int
    date_from: str
    modules: tuple[ImportedModule, ...]
    uses: Mapping[CpuArch, Mapping[str, LibraryUse]]
    needs: Mapping[CpuArch, tuple[Need, ...]]
    notes: tuple[Note, ...]

    def outside_libraries(self, cpu: CpuArch) -> dict[str, list[str]]:
        """Libraries that files ask for themselves and that are not in the package, with who asks."""
        wanted: dict[str, list[str]] = {}
        for path, use in sorted(self.uses[cpu].items()):
            for name, place in use.direct.items():
                if place is None:
                    wanted.setdefault(name, []).append(path)
        return dict(sorted(wanted.items()))

    def held_libraries(self, cpu: CpuArch) -> dict[str, tuple[str, int]]:
        """Libraries in the package that its own files get, by name: where each is, and how many get it."""
        counts: dict[str, tuple[str, int]] = {}
        for use in self.uses[cpu].values():
            for name, place in use.every.items():
                if place is not None:
                    counts[name] = (place, counts.get(name, (place, 0))[1] + 1)
        return dict(sorted(counts.items()))

    def document(self) -> dict[str, Any]:
        """JSON-ready; the same import gives the same document."""
        return {
            "debs": [deb.document() for deb in self.debs],
            "cpus": [cpu.value for cpu in self.cpus],
            "build_date": self.build_date,
            "build_date_from": self.date_from,
            "modules": [module.document() for module in self.modules],
            "libraries": [
                {"path": path, "cpu": cpu.value, "direct": dict(use.direct), "every": dict(use.every)}
                for cpu in self.cpus
                for path, use in sorted(self.uses[cpu].items())
            ],
            "libraries_from_outside": {cpu.value: self.outside_libraries(cpu) for cpu in self.cpus},
            "dependencies": [
                {"deb": need.deb, "wants": need.text, "met": need.met.value, "by": need.by}
                for cpu in self.cpus
                for need in self.needs[cpu]
            ],
            "notes": [note.document() for note in self.notes],
        }


def cpu_text(cpu: CpuArch | None) -> str:
    """`any` for a neutral module."""
    return NEUTRAL_CPU if cpu is None else cpu.value
