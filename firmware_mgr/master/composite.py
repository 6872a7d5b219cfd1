"""A composite image or set that came: its document, and which cards it is for. Pure.

It keeps nothing from being removed: what it brought stands on its own (docs/COMPOSITES.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from firmware_mgr.master.documents import PackageRecord
from firmware_mgr.master.schema import Schema
from firmware_mgr.model.ids import NEUTRAL_CPU, CpuArch, Digest, SlotId, check_name, check_version
from firmware_mgr.model.selection import Candidate
from firmware_mgr.model.software import BootImageRef, PackageRef
from firmware_mgr.model.versions import debian_order

COMPOSITES: Final = "composites/"
SELECTOR: Final = "composite:"


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """Whom it names: slots as text, boards, classes, packages; all empty: whom it fits."""

    slots: tuple[str, ...] = ()
    boards: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CompositeRecord:
    """`kind` in words (SPEC-package §3); `length` in bytes; times in seconds since 1970. `packages` are as
    the catalogue has them: of one that was only built again, the stored one. `concerns` are the slots, boards
    and classes that its card information names.
    """

    kind: str
    name: str
    version: str
    digest: Digest
    length: int
    added_at: float
    build_date: int
    role: str
    signed_by: tuple[str, ...]
    targets: TargetRecord
    images: tuple[BootImageRef, ...]
    packages: tuple[PackageRef, ...]
    has_information: bool
    concerns: TargetRecord = field(default_factory=TargetRecord)

    def __post_init__(self) -> None:
        check_name(self.name, self.kind)
        check_version(self.version)
        for slot in self.targets.slots:
            SlotId.parse(slot)

    @property
    def key(self) -> str:
        return f"{COMPOSITES}{self.name}/{self.digest}"

    def to_document(self) -> dict[str, Any]:
        return COMPOSITE.write(self)

    @classmethod
    def from_document(cls, value: Mapping[str, Any], where: str = "composite") -> CompositeRecord:
        """Raises PeerError, or UsageError when it is newer than this program."""
        return COMPOSITE.read(value, where)


COMPOSITE: Final = Schema("composite", CompositeRecord)


def meant_by(
    composite: CompositeRecord,
    candidates: Iterable[Candidate],
    cpus: Mapping[SlotId, CpuArch | None],
    packages: Iterable[PackageRecord],
) -> frozenset[SlotId]:
    """The slots that it is for: those of its targets; without any those that its card information names, and
    those with a board or CPU that it has.

    A slot where no card was seen yet is not meant.
    """
    targets = composite.targets
    candidates = [one for one in candidates if one.board is not None]
    if targets.slots or targets.boards or targets.classes:
        return frozenset(one.slot for one in candidates if _named(one, targets))
    boards = {image.board for image in composite.images}
    served = {cpu for package in packages if package.ref in composite.packages for cpu in package.cpus}
    return frozenset(
        one.slot
        for one in candidates
        if one.board in boards or _fits(cpus.get(one.slot), served) or _named(one, composite.concerns)
    )


def _named(one: Candidate, by: TargetRecord) -> bool:
    slots = {SlotId.parse(slot) for slot in by.slots}
    return one.slot in slots or one.board in by.boards or one.card_class in by.classes


def _fits(cpu: CpuArch | None, served: set[str]) -> bool:
    return NEUTRAL_CPU in served or (cpu is not None and cpu.value in served)


def selectors(composites: Sequence[CompositeRecord]) -> dict[str, CompositeRecord]:
    """`composite:NAME`, the one that was added last, and `composite:NAME=VERSION`."""
    found: dict[str, CompositeRecord] = {}
    for one in sorted(composites, key=lambda one: (one.added_at, debian_order(one.version))):
        found[f"{SELECTOR}{one.name}"] = one
        found[f"{SELECTOR}{one.name}={one.version}"] = one
    return found
