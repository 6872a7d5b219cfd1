"""What must be known of a package version to order lists, choose files and check dependencies.

Values only, checked when they are made. Knows no file format: whoever reads tables of contents makes these
of them. Refuses to know which of them exist, and who runs them.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import Final

from firmware_mgr.model.ids import CpuArch, Digest, check_name
from firmware_mgr.model.versions import Constraint, Version

#: Kinds of modules that rules here speak of, as files and wires name them. Others pass as they are.
SHARED_LIBRARY: Final = "shared-library"
SYMLINK: Final = "symlink"
DIRECTORY: Final = "directory"

LIBRARY: Final = "so:"


@dataclass(frozen=True, slots=True, order=True)
class PackageRange:
    """A package by name, in the versions that a constraint allows."""

    name: str
    constraint: Constraint = field(default_factory=Constraint)

    def __post_init__(self) -> None:
        check_name(self.name, "package")

    def holds(self, package: PackageFacts) -> bool:
        return package.name == self.name and self.constraint.matches(package.order)

    def __str__(self) -> str:
        return f"{self.name} ({self.constraint})" if self.constraint.text else self.name


@dataclass(frozen=True, slots=True)
class Dependency:
    """What a package needs; only on cards of these boards, when there are any."""

    on: PackageRange
    boards: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for board in self.boards:
            check_name(board, "board")

    def concerns(self, board: str | None) -> bool:
        """Whether it holds on a card of this board; None is a list for cards of any."""
        return board is None or not self.boards or board in self.boards


@dataclass(frozen=True, slots=True)
class ModuleFacts:
    """A file of a package. `cpu` None fits every CPU, an empty `function` every one, no `features` all."""

    path: str
    cpu: CpuArch | None
    kind: str
    mode: int
    exact: Digest
    substantive: Digest
    function: str = ""
    features: frozenset[str] = frozenset()
    provides: tuple[str, ...] = ()
    consumes: tuple[str, ...] = ()
    #: The names under which others find it, and the libraries that it wants loaded.
    offers: tuple[str, ...] = field(init=False, repr=False, compare=False)
    libraries: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # The loader opens libraries by file name, also links'.
        by_name = (LIBRARY + posixpath.basename(self.path),) if self.kind in (SHARED_LIBRARY, SYMLINK) else ()
        object.__setattr__(self, "offers", self.provides + by_name)
        libraries = tuple(name for name in self.consumes if name.startswith(LIBRARY))
        object.__setattr__(self, "libraries", libraries)


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """A package version. Its digest says what it is, so the rest is not compared."""

    name: str
    version: str
    digest: Digest
    local: tuple[Dependency, ...] = field(default=(), compare=False)
    remote: tuple[Dependency, ...] = field(default=(), compare=False)
    upgrades: tuple[PackageRange, ...] = field(default=(), compare=False)
    modules: tuple[ModuleFacts, ...] = field(default=(), compare=False, repr=False)
    order: Version = field(init=False, compare=False, repr=False)
    cpus: frozenset[CpuArch] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_name(self.name, "package")
        object.__setattr__(self, "order", Version(self.version))
        cpus = frozenset(module.cpu for module in self.modules if module.cpu is not None)
        object.__setattr__(self, "cpus", cpus)

    @property
    def upgraded(self) -> tuple[PackageRange, ...]:
        """The other packages that it upgrades; not empty for an upgrade (L2)."""
        return tuple(one for one in self.upgrades if one.name != self.name)

    def fits(self, cpu: CpuArch) -> bool:
        """Whether it has something for this CPU, or nothing that goes by CPU."""
        return not self.cpus or cpu in self.cpus

    def __str__(self) -> str:
        return f"{self.name} {self.version}"
