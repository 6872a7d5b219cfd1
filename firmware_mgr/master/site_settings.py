"""Settings of a slot or a card class: what the catalogue keeps of them, and how they are put together. Pure.

Contents of files and secret values are not here but sealed on disk; a record has their name, length and mark.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from typing import Any, Final

from firmware_mgr.link.service import SettingsFile
from firmware_mgr.master.schema import Schema
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest, SlotId, check_name

SETTINGS: Final = "settings/"
_SLOT, _CLASS = "slot/", "class/"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
MAX_ADDRESSES: Final = 16
MAX_VALUE: Final = 4096


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file below `/run/settings`. `sealed` names its content on disk, `mark` tells contents apart."""

    path: str
    mode: int
    uid: int
    gid: int
    secret: bool
    length: int
    mark: Digest
    sealed: str


@dataclass(frozen=True, slots=True)
class VariableRecord:
    """A variable of every process. A secret one has its value sealed, and `value` is empty."""

    name: str
    value: str = ""
    secret: bool = False
    length: int = 0
    mark: Digest | None = None
    sealed: str = ""


@dataclass(frozen=True, slots=True)
class SettingsRecord:
    """`owner` is `slot/3` or `class/edge`. None says nothing: the class's word counts for a slot then."""

    owner: str
    updated_at: float
    hostname: str | None = None
    addresses: tuple[str, ...] | None = None
    files: tuple[FileRecord, ...] = ()
    variables: tuple[VariableRecord, ...] = ()

    def __post_init__(self) -> None:
        check_owner(self.owner)
        if self.hostname is not None and not _LABEL.fullmatch(self.hostname):
            expected = "letters a to z, digits and hyphens, 63 at most"
            raise UsageError("not a host name", where=self.owner, expected=expected, found=self.hostname)
        if len(self.addresses or ()) > MAX_ADDRESSES:
            found = len(self.addresses or ())
            raise UsageError("too many addresses", where=self.owner, expected=MAX_ADDRESSES, found=found)
        for variable in self.variables:
            if not _VARIABLE.fullmatch(variable.name):
                raise UsageError("not a variable's name", where=self.owner, found=variable.name)
        for file in self.files:
            SettingsFile(file.path, file.mode, file.uid, file.gid, ())

    @property
    def key(self) -> str:
        return f"{SETTINGS}{self.owner}"

    @property
    def empty(self) -> bool:
        return self.hostname is None and self.addresses is None and not self.files and not self.variables

    @property
    def sealed(self) -> frozenset[str]:
        """Names of the sealed files that this record needs."""
        names = {file.sealed for file in self.files} | {variable.sealed for variable in self.variables}
        return frozenset(names - {""})

    def to_document(self) -> dict[str, Any]:
        return SETTINGS_SCHEMA.write(self)

    @classmethod
    def from_document(cls, value: Mapping[str, Any], where: str = "settings") -> SettingsRecord:
        """Raises PeerError, or UsageError when it is newer than this program."""
        return SETTINGS_SCHEMA.read(value, where)


SETTINGS_SCHEMA: Final = Schema("settings", SettingsRecord)


def slot_owner(slot: SlotId) -> str:
    return f"{_SLOT}{slot}"


def class_owner(name: str) -> str:
    return f"{_CLASS}{check_name(name, 'card class')}"


def check_owner(owner: str) -> str:
    """Raises UsageError for what is neither a slot's nor a class's."""
    if owner.startswith(_SLOT):
        SlotId.parse(owner.removeprefix(_SLOT))
    elif owner.startswith(_CLASS):
        check_name(owner.removeprefix(_CLASS), "card class")
    else:
        raise UsageError("settings are a slot's or a class's", expected="slot/3, class/edge", found=owner)
    return owner


def check_addresses(texts: list[str]) -> tuple[str, ...]:
    """Addresses with their prefix lengths, in one form. Raises UsageError."""
    found = []
    for text in texts:
        try:
            found.append(ip_interface(text).with_prefixlen)
        except ValueError as e:
            raise UsageError("not an address", expected="such as 10.1.2.3/24", found=text) from e
        if "/" not in text:
            raise UsageError("an address needs its prefix length", expected=f"{text}/24", found=text)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class Merged:
    """A class's settings and a slot's over them; `owners` says whose each file and variable is."""

    hostname: str
    addresses: tuple[str, ...]
    files: tuple[tuple[str, FileRecord], ...]
    variables: tuple[tuple[str, VariableRecord], ...]


def merge(records: list[SettingsRecord]) -> Merged:
    """The later ones win: the class first, then the slot. A file that stands where an earlier one has a
    folder, or below an earlier file, takes its place.
    """
    hostname = ""
    addresses: tuple[str, ...] = ()
    files: dict[str, tuple[str, FileRecord]] = {}
    variables: dict[str, tuple[str, VariableRecord]] = {}
    for record in records:
        hostname = hostname if record.hostname is None else record.hostname
        addresses = addresses if record.addresses is None else record.addresses
        for file in record.files:
            files = {
                path: known
                for path, known in files.items()
                if not path.startswith(f"{file.path}/") and not file.path.startswith(f"{path}/")
            }
            files[file.path] = record.owner, file
        variables |= {variable.name: (record.owner, variable) for variable in record.variables}
    return Merged(
        hostname,
        addresses,
        tuple(files[path] for path in sorted(files)),
        tuple(variables[name] for name in sorted(variables)),
    )


def with_file(record: SettingsRecord, file: FileRecord) -> SettingsRecord:
    others = tuple(known for known in record.files if known.path != file.path)
    for other in others:
        if other.path.startswith(f"{file.path}/") or file.path.startswith(f"{other.path}/"):
            raise UsageError(
                "a file would hide another", where=record.owner, expected=f"not {file.path}", found=other.path
            )
    return replace(record, files=tuple(sorted((*others, file), key=lambda known: known.path)))


def with_variable(record: SettingsRecord, variable: VariableRecord) -> SettingsRecord:
    others = tuple(known for known in record.variables if known.name != variable.name)
    return replace(record, variables=tuple(sorted((*others, variable), key=lambda known: known.name)))
