"""The control fields of a Debian package: name, version, architecture, and what it depends on.

Knows deb-control(5) and the form of relations. Refuses to know which packages are at hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from firmware_mgr.model.errors import PeerError
from firmware_mgr.packaging.debian_version import RELATIONS, DebianVersion

ALL = "all"
_NAME = re.compile(r"[a-z0-9][a-z0-9+.\-]+")
_RELATION = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.\-]+)(?::(?P<arch>[a-z0-9\-]+))?"
    r"(?:\s*\(\s*(?P<operator><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s)]+)\s*\))?"
)


@dataclass(frozen=True, slots=True)
class Relation:
    """`libc6 (>= 2.34)`; without a version both texts are empty."""

    name: str
    operator: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.operator} {self.version})" if self.operator else self.name

    def accepts(self, version: DebianVersion) -> bool:
        """Whether that version meets it."""
        return not self.operator or RELATIONS[self.operator](version, DebianVersion(self.version))


#: Any one of these is enough.
Alternatives = tuple[Relation, ...]


@dataclass(frozen=True, slots=True)
class Control:
    """What a package says of itself. `depends` holds Pre-Depends too; `provides` virtual packages."""

    name: str
    version: DebianVersion
    architecture: str
    source: str
    depends: tuple[Alternatives, ...]
    provides: tuple[Relation, ...]


def parse_control(raw: bytes, where: str) -> Control:
    """The fields of a control file. Raises PeerError."""
    fields = _fields(raw, where)
    missing = [name for name in ("package", "version", "architecture") if not fields.get(name)]
    if missing:
        raise PeerError("control file lacks a field", where=where, expected=", ".join(missing).title())
    name = fields["package"]
    if not _NAME.fullmatch(name):
        raise PeerError("not a name of a Debian package", where=where, found=repr(name))
    depends = [
        relation
        for key in ("pre-depends", "depends")
        for relation in parse_relations(fields.get(key, ""), where)
    ]
    return Control(
        name=name,
        version=DebianVersion(fields["version"]),
        architecture=fields["architecture"],
        source=(fields.get("source") or name).split()[0],
        depends=tuple(dict.fromkeys(depends)),
        provides=tuple(one for group in parse_relations(fields.get("provides", ""), where) for one in group),
    )


def parse_relations(text: str, where: str) -> tuple[Alternatives, ...]:
    """`a (>= 1) | b, c` as groups of alternatives. Raises PeerError."""
    groups = []
    for group in text.split(","):
        if not group.strip():
            continue
        alternatives = []
        for one in group.split("|"):
            match = _RELATION.fullmatch(one.strip())
            if match is None:
                raise PeerError(
                    "not a relation between packages", where=where, expected="a (>= 1)", found=one.strip()
                )
            alternatives.append(Relation(match["name"], match["operator"] or "", match["version"] or ""))
        groups.append(tuple(alternatives))
    return tuple(groups)


def _fields(raw: bytes, where: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in raw.decode("utf-8", "replace").splitlines():
        if not line.strip():
            continue
        if line[0] in " \t":
            if not name:
                raise PeerError("control file begins in the middle of a field", where=where, found=repr(line))
            fields[name] += " " + line.strip()
            continue
        key, colon, value = line.partition(":")
        name = key.strip().lower()
        if not colon or not name or name in fields:
            raise PeerError(
                "malformed control file", where=where, expected="each field once", found=repr(line)
            )
        fields[name] = value.strip()
    return fields
