"""Which modules a card asks for: by CPU, kind, function, feature and package (R-2.4; SOFTWARE-SETS F1).

Knows one card's wishes. Which of two chosen files of one path counts is `effective_files`' to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.model.package_facts import DIRECTORY, SYMLINK, ModuleFacts, PackageFacts

#: Kinds that hold others together; whoever asks by kind gets them too.
_WITH_EVERY_KIND: Final = frozenset({SYMLINK, DIRECTORY})


@dataclass(frozen=True, slots=True)
class ModuleSelection:
    """None asks for all; an empty set for none but modules that are for everybody."""

    cpu: CpuArch
    kinds: frozenset[str] | None = None
    functions: frozenset[str] | None = None
    features: frozenset[str] | None = None

    def chooses(self, module: ModuleFacts) -> bool:
        if module.cpu not in (None, self.cpu):
            return False
        if self.kinds is not None and module.kind not in self.kinds | _WITH_EVERY_KIND:
            return False
        if self.functions is not None and module.function and module.function not in self.functions:
            return False
        return self.features is None or not module.features or not self.features.isdisjoint(module.features)

    def of(self, package: PackageFacts) -> tuple[ModuleFacts, ...]:
        return tuple(module for module in package.modules if self.chooses(module))


@dataclass(frozen=True, slots=True)
class Selection:
    """What a card loads of its list: named packages or, with None, its whole suite; and which modules."""

    modules: ModuleSelection
    packages: frozenset[str] | None = None

    def loaded(self, packages: Sequence[PackageFacts]) -> tuple[PackageFacts, ...]:
        """The packages of the list that are loaded. Raises UsageError when one that is named is not there."""
        if self.packages is None:
            return tuple(packages)
        missing = self.packages - {package.name for package in packages}
        if missing:
            raise UsageError(
                "package is not in the list",
                expected="one of " + (", ".join(package.name for package in packages) or "no package"),
                found=", ".join(sorted(missing)),
            )
        return tuple(package for package in packages if package.name in self.packages)
