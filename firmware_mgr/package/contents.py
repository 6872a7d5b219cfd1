"""What a package says of itself: its name and dependencies, its modules, its processes.

SPEC-package §4. Every value is checked when it is made, and what must hold between values when the table is
made. Refuses to know bytes: encoding is another file's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import NamedTuple

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import NEUTRAL_CPU, CpuArch, Digest, check_name, check_version
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.layout import MAX_CONTENT, MAX_LIST, MAX_MODULE, MAX_MODULES, MAX_PROCESSES
from firmware_mgr.package.paths import check_link_target, check_place, has_control
from firmware_mgr.package.process import ProcessSpec

MAX_API = 256
MAX_CONSTRAINT = 256
MAX_BUILD_DATE = (1 << 40) - 1
MAX_MODE = 0o777
NOTHING = Digest(hashlib.sha256(b"").hexdigest())

_CLAUSE = re.compile(r"(?:=|<|<=|>|>=) [A-Za-z0-9][A-Za-z0-9.+~:\-]{0,63}")


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


class Compression(Enum):
    """How a module's bytes are stored."""

    NONE = "none"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True, order=True)
class Dependency:
    """On a package by name; `constraint` is empty or such as `>= 1.2, < 2`."""

    name: str
    constraint: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "package")
        clauses = self.constraint.split(", ") if self.constraint else []
        if len(self.constraint) > MAX_CONSTRAINT or not all(_CLAUSE.fullmatch(clause) for clause in clauses):
            raise UsageError(
                "not a version constraint",
                where=self.name,
                expected="such as '>= 1.2, < 2'",
                found=repr(self.constraint),
            )


class Substance(NamedTuple):
    """What of a module can change behaviour: equal on both sides means that nothing needs replacing."""

    path: str
    kind: ModuleKind
    mode: int
    signature: Digest


@dataclass(frozen=True, slots=True)
class Module:
    """One file, symlink or directory. `cpu` None fits every CPU. Lengths and offset are in bytes.

    `offset` is from the beginning of content, `stored_length` and `stored_sha256` are of the bytes there.
    """

    path: str
    kind: ModuleKind
    cpu: CpuArch | None
    mode: int
    length: int
    stored_length: int
    offset: int
    compression: Compression
    sha256: Digest
    stored_sha256: Digest
    substantive: Digest
    function: str = ""
    link_target: str = ""
    provides: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_place(self.path)
        if self.function:
            check_name(self.function, "function")
        for what, names in (("provides", self.provides), ("consumes", self.consumes)):
            _check_set(names, f"{self.path}: {what}")
            for name in names:
                if not 1 <= len(name.encode("utf-8", "replace")) <= MAX_API or has_control(name):
                    raise UsageError("not a name of an API", where=self.path, found=repr(name))
        if not 0 <= self.mode <= MAX_MODE:
            self._refuse("illegal mode", f"0 to {MAX_MODE:o}", f"{self.mode:o}")
        if not 0 <= self.length <= MAX_MODULE:
            self._refuse("illegal length", f"0 to {MAX_MODULE}", self.length)
        if not 0 <= self.offset <= MAX_CONTENT or not 0 <= self.stored_length <= MAX_CONTENT:
            self._refuse("outside of content", f"0 to {MAX_CONTENT}", (self.offset, self.stored_length))
        self._check_kind()
        self._check_storage()

    def _check_kind(self) -> None:
        if self.kind is ModuleKind.SYMLINK:
            check_link_target(self.path, self.link_target)
            if self.mode != MAX_MODE:
                self._refuse("illegal mode of a symlink", f"{MAX_MODE:o}", f"{self.mode:o}")
        elif self.link_target:
            self._refuse("a target without a symlink", "no target", repr(self.link_target))
        if self.kind in WITHOUT_CONTENT:
            if self.length or self.stored_length:
                self._refuse("content of a symlink or directory", 0, (self.length, self.stored_length))
            text = Digest.of(self.link_target.encode())
            if self.sha256 != text or self.substantive != text:
                self._refuse("hash is not that of the target", text, (self.sha256.hex, self.substantive.hex))

    def _check_storage(self) -> None:
        if self.compression is Compression.ZSTD:
            if not 0 < self.stored_length < self.length:
                self._refuse(
                    "compressed module does not shrink", f"1 to {self.length - 1}", self.stored_length
                )
            return
        if self.stored_length != self.length:
            self._refuse("stored length of an uncompressed module", self.length, self.stored_length)
        expected = NOTHING if self.kind in WITHOUT_CONTENT else self.sha256
        if self.stored_sha256 != expected:
            self._refuse("stored hash of an uncompressed module", expected, self.stored_sha256)

    def _refuse(self, what: str, expected: object, found: object) -> None:
        raise UsageError(what, where=self.path, expected=expected, found=found)

    @property
    def cpu_text(self) -> str:
        """The CPU as files and wires name it: `aarch64`, …, or `any`."""
        return NEUTRAL_CPU if self.cpu is None else self.cpu.value

    @property
    def substance(self) -> Substance:
        """What to compare with another version of this module."""
        return Substance(self.path, self.kind, self.mode, self.substantive)


@dataclass(frozen=True, slots=True)
class TableOfContents:
    """A whole package. `build_date` is in seconds since 1970-01-01 UTC."""

    name: str
    version: str
    build_date: int
    local_dependencies: tuple[Dependency, ...]
    remote_dependencies: tuple[Dependency, ...]
    upgrades: tuple[Dependency, ...]
    modules: tuple[Module, ...]
    processes: tuple[ProcessSpec, ...]

    def __post_init__(self) -> None:
        check_name(self.name, "package")
        check_version(self.version)
        if not 0 <= self.build_date <= MAX_BUILD_DATE:
            raise UsageError(
                "build date out of range", expected=f"0 to {MAX_BUILD_DATE}", found=self.build_date
            )
        for what, dependencies in (
            ("local dependencies", self.local_dependencies),
            ("remote dependencies", self.remote_dependencies),
            ("upgrades", self.upgrades),
        ):
            _check_set([dependency.name for dependency in dependencies], what)
        if len(self.modules) > MAX_MODULES:
            raise UsageError("too many modules", expected=f"{MAX_MODULES} at most", found=len(self.modules))
        if len(self.processes) > MAX_PROCESSES:
            raise UsageError(
                "too many processes", expected=f"{MAX_PROCESSES} at most", found=len(self.processes)
            )
        _check_order(self.modules)
        _check_places(self.modules)
        _check_offsets(self.modules)
        _check_set([process.name for process in self.processes], "processes")
        runnable = {module.path for module in self.modules if module.kind in RUNNABLE}
        for process in self.processes:
            if process.module not in runnable:
                raise UsageError(
                    "process without a program",
                    where=f"process {process.name}",
                    expected="path of a server-binary or program of the package",
                    found=repr(process.module),
                )

    @property
    def content_length(self) -> int:
        """The length of content in bytes, as the modules have it."""
        return self.modules[-1].offset + self.modules[-1].stored_length if self.modules else 0


#: CPUs in the order of their codes (§4.2).
_CPU_ORDER: tuple[CpuArch | None, ...] = (None, CpuArch.AARCH64, CpuArch.ARMV7, CpuArch.X86_64)


def module_order(path: str, cpu: CpuArch | None) -> tuple[str, int]:
    """The key by which modules are sorted: path, then CPU in the order of its codes, `any` first."""
    return (path, _CPU_ORDER.index(cpu))


def select(toc: TableOfContents, cpu: CpuArch) -> tuple[Module, ...]:
    """The modules for a card with this CPU, in order of path.

    Raises PackageRefused when the package has modules that go by CPU but none for this one.
    """
    chosen = tuple(module for module in toc.modules if module.cpu in (None, cpu))
    built_for = {module.cpu.value for module in toc.modules if module.cpu is not None}
    if built_for and cpu.value not in built_for:
        raise PackageRefused(
            "package is for another CPU",
            where=f"package {toc.name} {toc.version}",
            expected=cpu.value,
            found=", ".join(sorted(built_for)),
        )
    return chosen


def _check_set(names: Sequence[str], what: str) -> None:
    if len(names) > MAX_LIST:
        raise UsageError("list is too long", where=what, expected=f"{MAX_LIST} at most", found=len(names))
    for before, after in pairwise(names):
        if before >= after:
            raise UsageError("not sorted and unique", where=what, found=f"{before!r} before {after!r}")


def _check_order(modules: Sequence[Module]) -> None:
    for before, after in pairwise(modules):
        if module_order(before.path, before.cpu) >= module_order(after.path, after.cpu):
            raise UsageError(
                "modules are not sorted and unique",
                expected="order of path, then CPU",
                found=f"{before.path!r} ({before.cpu_text}) before {after.path!r} ({after.cpu_text})",
            )
        if before.path == after.path and before.cpu is None:
            raise UsageError(
                "a path stands for every CPU and for one",
                where=before.path,
                found=f"any and {after.cpu_text}",
            )


def _check_places(modules: Sequence[Module]) -> None:
    leaves = {module.path: module.kind for module in modules if module.kind is not ModuleKind.DIRECTORY}
    for module in modules:
        parent = module.path
        while "/" in parent:
            parent = parent.rpartition("/")[0]
            if parent in leaves:
                raise UsageError(
                    "module stands below one that is no directory",
                    where=module.path,
                    expected=f"{parent} a directory, or not there",
                    found=leaves[parent].value,
                )


def _check_offsets(modules: Sequence[Module]) -> None:
    position = unpacked = 0
    for module in modules:
        if module.offset != position:
            raise UsageError(
                "gap or overlap in content", where=module.path, expected=position, found=module.offset
            )
        position += module.stored_length
        unpacked += module.length
    if max(position, unpacked) > MAX_CONTENT:
        raise UsageError(
            "content is too long", expected=f"{MAX_CONTENT} at most", found=max(position, unpacked)
        )
