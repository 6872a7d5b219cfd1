"""A module: one file, symlink or directory of a package, and what is legal in it. SPEC-package §4.3.

Every value is checked when it is made. Refuses to know bytes: encoding is another file's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import NEUTRAL_CPU, CpuArch, Digest, check_name
from firmware_mgr.package.checks import check_range, check_set, refuse
from firmware_mgr.package.layout import MAX_CONTENT, MAX_MODULE
from firmware_mgr.package.paths import check_link_target, check_place, has_control
from firmware_mgr.package.pieces import (
    NOTHING,
    Piece,
    check_hash,
    check_pieces,
    check_storage,
    stored_length,
)

MAX_API = 256
MAX_MODE = 0o777


class ModuleKind(Enum):
    """What a module is."""

    SERVER_BINARY = "server-binary"
    PROGRAM = "program"
    SHARED_LIBRARY = "shared-library"
    CONFIG = "config"
    DATA = "data"
    SYMLINK = "symlink"
    DIRECTORY = "directory"


#: Kinds that have no bytes in content.
WITHOUT_CONTENT = frozenset({ModuleKind.SYMLINK, ModuleKind.DIRECTORY})
#: Kinds that a process may run.
RUNNABLE = frozenset({ModuleKind.SERVER_BINARY, ModuleKind.PROGRAM})


class Substance(NamedTuple):
    """What of a module can change behaviour: equal on both sides means that nothing needs replacing."""

    path: str
    kind: ModuleKind
    mode: int
    signature: Digest


@dataclass(frozen=True, slots=True)
class Module:
    """`cpu` None fits every CPU. Length and offset are in bytes, `offset` from the beginning of content.

    `streamed`: of a package of format 1, where the whole file is one piece, whatever its length.
    """

    path: str
    kind: ModuleKind
    cpu: CpuArch | None
    mode: int
    length: int
    offset: int
    pieces: tuple[Piece, ...]
    sha256: Digest
    substantive: Digest
    function: str = ""
    link_target: str = ""
    groups: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()
    streamed: bool = False

    def __post_init__(self) -> None:
        check_place(self.path)
        if self.function:
            check_name(self.function, "function")
        check_set(self.groups, f"{self.path}: groups")
        for what, names in (("provides", self.provides), ("consumes", self.consumes)):
            check_set(names, f"{self.path}: {what}")
            for name in names:
                if not 1 <= len(name.encode("utf-8", "replace")) <= MAX_API or has_control(name):
                    raise UsageError("not a name of an API", where=self.path, found=repr(name))
        if not 0 <= self.mode <= MAX_MODE:
            refuse(self.path, "illegal mode", f"0 to {MAX_MODE:o}", f"{self.mode:o}")
        check_range(self.length, MAX_MODULE, "illegal length", self.path)
        check_range(self.offset, MAX_CONTENT, "outside of content", self.path)
        check_range(self.stored_length, MAX_CONTENT, "outside of content", self.path)
        self._check_kind()
        if self.kind not in WITHOUT_CONTENT:
            self._check_storage()

    def _check_kind(self) -> None:
        if self.kind is ModuleKind.SYMLINK:
            check_link_target(self.path, self.link_target)
            if self.mode != MAX_MODE:
                refuse(self.path, "illegal mode of a symlink", f"{MAX_MODE:o}", f"{self.mode:o}")
        elif self.link_target:
            refuse(self.path, "a target without a symlink", "no target", repr(self.link_target))
        if self.kind in WITHOUT_CONTENT:
            if self.length or self.pieces:
                refuse(self.path, "content of a symlink or directory", 0, (self.length, len(self.pieces)))
            text = Digest.of(self.link_target.encode())
            if self.sha256 != text or self.substantive != text:
                found = (self.sha256.hex, self.substantive.hex)
                refuse(self.path, "hash is not that of the target", text, found)

    def _check_storage(self) -> None:
        if not self.streamed:
            check_pieces(self.pieces, self.length, self.sha256, self.path)
            return
        if len(self.pieces) != (1 if self.length else 0):
            refuse(self.path, "number of pieces does not fit the length", 1, len(self.pieces))
        for piece in self.pieces:
            check_storage(piece, self.length, self.path)
        check_hash(self.pieces, self.sha256, self.path)

    @property
    def stored_length(self) -> int:
        """How many bytes it has in content."""
        return stored_length(self.pieces)

    @property
    def cpu_text(self) -> str:
        """The CPU as files and wires name it: `aarch64`, …, or `any`."""
        return NEUTRAL_CPU if self.cpu is None else self.cpu.value

    @property
    def substance(self) -> Substance:
        """What to compare with another version of this module."""
        return Substance(self.path, self.kind, self.mode, self.substantive)


__all__ = [
    "MAX_MODE",
    "NOTHING",
    "RUNNABLE",
    "WITHOUT_CONTENT",
    "Module",
    "ModuleKind",
    "Substance",
]
