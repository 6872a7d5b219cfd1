"""Which modules are in which groups, as a manifest says it: paths or patterns (PACKAGES, "Groups"). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from firmware_mgr.model.errors import UsageError
from firmware_mgr.packaging.build import ModuleSource
from firmware_mgr.packaging.manifest import GroupEntry


def grouped(groups: Sequence[GroupEntry], sources: Sequence[ModuleSource], where: str) -> list[ModuleSource]:
    """Each module with the groups whose patterns name it. Raises UsageError for one that names nothing."""
    found: list[set[str]] = [set() for _ in sources]
    for group in groups:
        for pattern in group.modules:
            named = [index for index, source in enumerate(sources) if fnmatchcase(source.path, pattern)]
            if not named:
                raise UsageError(
                    "group names no module of the package",
                    where=f"{where}: group {group.name}",
                    expected="a path of the package, or a pattern such as usr/share/doc/*",
                    found=repr(pattern),
                )
            for index in named:
                found[index].add(group.name)
    return [
        replace(source, groups=tuple(sorted({*source.groups, *names})))
        for source, names in zip(sources, found, strict=True)
    ]
