"""What the .debs of an import depend on, and by what each of it is met. docs/IMPORTING.md, "Dependencies".

Knows relations, alternatives and virtual packages. Refuses to guess what is on a card: that is said by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.contents import Dependency
from firmware_mgr.packaging.deb_file import DebPackage
from firmware_mgr.packaging.debian_control import Alternatives, Control, Relation
from firmware_mgr.packaging.debian_version import DebianVersion

#: Older than the policy.
_UNLIKE = {"libz.so.1": "zlib1g"}
_SONAME = re.compile(r"(?P<stem>.+?)(?P<digit>[0-9])?\.so(?:\.(?P<number>[0-9.]+))?")


class Met(Enum):
    """By what a dependency is met. The value is for people."""

    MERGED = "merged"
    DEPENDED = "local dependency"
    ASSUMED = "assumed"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Outside:
    """What whoever imports says of Debian packages that are not in the import."""

    assumed: frozenset[str] = frozenset()
    depended: Mapping[str, Dependency] = field(default_factory=dict)

    def holds(self, name: str) -> bool:
        return name in self.assumed or name in self.depended


@dataclass(frozen=True, slots=True)
class Need:
    """A dependency of a .deb: what it asks for, and what meets it (the name of a .deb or package)."""

    deb: str
    wanted: Alternatives
    met: Met
    by: str = ""

    @property
    def text(self) -> str:
        """As Debian writes it."""
        return " | ".join(str(relation) for relation in self.wanted)


def needs_of(debs: Sequence[DebPackage], outside: Outside) -> list[Need]:
    """Every dependency of these .debs, which are all those of one CPU."""
    offers = _offers(deb.control for deb in debs)
    return [_need(deb.label, wanted, offers, outside) for deb in debs for wanted in deb.control.depends]


def _need(
    deb: str, wanted: Alternatives, offers: Mapping[str, list[DebianVersion | None]], outside: Outside
) -> Need:
    for relation in wanted:
        if any(_accepts(relation, version) for version in offers.get(relation.name, ())):
            return Need(deb, wanted, Met.MERGED, relation.name)
    for relation in wanted:
        if relation.name in outside.depended:
            return Need(deb, wanted, Met.DEPENDED, outside.depended[relation.name].name)
    for relation in wanted:
        if relation.name in outside.assumed:
            return Need(deb, wanted, Met.ASSUMED, relation.name)
    return Need(deb, wanted, Met.MISSING)


def _offers(controls: Iterable[Control]) -> dict[str, list[DebianVersion | None]]:
    """Names at hand with their versions; a virtual package may have none, and then meets no version."""
    offers: dict[str, list[DebianVersion | None]] = {}
    for control in controls:
        offers.setdefault(control.name, []).append(control.version)
        for one in control.provides:
            offers.setdefault(one.name, []).append(DebianVersion(one.version) if one.version else None)
    return offers


def _accepts(relation: Relation, version: DebianVersion | None) -> bool:
    return not relation.operator if version is None else relation.accepts(version)


def check_needs(needs: Mapping[str, Sequence[Need]], libraries: Mapping[str, Mapping[str, str]]) -> None:
    """Raise one UsageError for all that is missing.

    Both are by CPU; `libraries` are those that are not in the import, with who wants each of them.
    """
    missing: dict[str, dict[str, set[str]]] = {}
    for cpu, listed in needs.items():
        for need in listed:
            if need.met is Met.MISSING:
                missing.setdefault(need.text, {}).setdefault(need.deb, set()).add(cpu)
    if not missing:
        return
    lines = []
    for text, wanters in sorted(missing.items()):
        names = {relation.split(" ")[0] for relation in text.split(" | ")}
        wanted = {
            f"{library} (of {path})"
            for cpu in sorted({cpu for cpus in wanters.values() for cpu in cpus})
            for library, path in libraries.get(cpu, {}).items()
            if names & debian_names(library)
        }
        cpus = ", ".join(sorted({cpu for cpus in wanters.values() for cpu in cpus}))
        line = f"{text} for {cpus}, wanted by {', '.join(sorted(wanters))}"
        lines.append(line + (f", with {', '.join(sorted(wanted))}" if wanted else ""))
    first = min(missing).split(" ")[0]
    raise UsageError(
        "Debian packages are missing" if len(missing) > 1 else "a Debian package is missing",
        expected="every Depends of every .deb met for every CPU",
        found="; ".join(lines),
        hint=(
            f"add the .deb, or say --depend {first}=PACKAGE when another package of the card has it, "
            f"or --assume {first} when the boot image has it or no card needs it"
        ),
    )


def debian_names(soname: str) -> set[str]:
    """Names that a library's Debian package has by policy: libssl.so.3 is in libssl3, libc.so.6 in libc6.

    libpng16.so.16 is in libpng16-16: a digit at the end of the stem takes a hyphen.
    """
    match = _SONAME.fullmatch(soname)
    if match is None:
        return set()
    stem = match["stem"] + (match["digit"] or "")
    number = match["number"] or ""
    joined = f"{stem}-{number}" if match["digit"] and number else stem + number
    plain = joined.lower().replace("_", "-")
    return {plain, plain + "t64", f"{stem.lower()}{number}", _UNLIKE.get(soname, plain)}
