"""All package versions that there are, by name, the newest first. Refuses to know who runs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.model.package_facts import PackageFacts, PackageRange


class KnownPackages:
    """Never changes. A name and version may be there several times, as files for different CPUs."""

    def __init__(self, packages: Iterable[PackageFacts] = ()) -> None:
        self._by_name: dict[str, list[PackageFacts]] = {}
        for package in set(packages):
            self._by_name.setdefault(package.name, []).append(package)
        for versions in self._by_name.values():
            versions.sort(key=lambda one: (one.version, one.digest))  # when the order cannot tell
            versions.sort(key=lambda one: one.order, reverse=True)

    def __iter__(self) -> Iterator[PackageFacts]:
        """In order of name, the newest first."""
        return (package for name in sorted(self._by_name) for package in self._by_name[name])

    def versions(self, name: str) -> tuple[PackageFacts, ...]:
        return tuple(self._by_name.get(name, ()))

    def fitting(self, wanted: PackageRange, cpu: CpuArch | None = None) -> tuple[PackageFacts, ...]:
        """The versions that a range allows and that have something for the CPU, if one is given."""
        return tuple(
            one
            for one in self._by_name.get(wanted.name, ())
            if wanted.constraint.matches(one.order) and (cpu is None or one.fits(cpu))
        )

    def before(self, package: PackageFacts, cpu: CpuArch | None = None) -> PackageFacts:
        """The newest version that is earlier than this one: where regressing leads. Raises UsageError."""
        for one in self._by_name.get(package.name, ()):
            if one.order < package.order and (cpu is None or one.fits(cpu)):
                return one
        known = ", ".join(dict.fromkeys(one.version for one in self.versions(package.name))) or "none"
        raise UsageError(
            "no earlier version is known",
            where=f"package {package.name}",
            expected=f"a version before {package.version}",
            found=known,
        )
