"""Whether a package's substantive signatures are what this version's rules give. SPEC-package §6.

Knows packages that are files, and holds one module at a time. Refuses to look into large modules of a type
that a rule is for, and at format 1, whose rules were others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from firmware_mgr.package.bundle import MemberKind
from firmware_mgr.package.bundle_reader import BundleFile
from firmware_mgr.package.contents import WITHOUT_CONTENT, Module
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.layout import FORMAT_1
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.package.substantive import HEAD_SIZE, may_have_rule, substantive_signature

#: The largest module that is held to be looked at, in bytes; a rule takes a few times that.
MAX_LOOKED_AT: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class NotLookedAt:
    """A module whose signature nobody recomputed, and why."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def check_substance(opened: PackageFile | BundleFile, limit: int = MAX_LOOKED_AT) -> tuple[NotLookedAt, ...]:
    """What was not looked at, in a package or in those of a bundle.

    Raises PackageRefused at the first module that is damaged, or has another signature than by the rules.
    """
    return tuple(missed for package in _packages(opened) for missed in _check_package(package, limit))


def _packages(opened: PackageFile | BundleFile) -> Iterable[PackageFile]:
    if isinstance(opened, PackageFile):
        return (opened,)
    return (opened.package(member) for member in opened.bundle.of_kind(MemberKind.PACKAGE))


def _check_package(package: PackageFile, limit: int) -> Iterator[NotLookedAt]:
    if package.header.version == FORMAT_1:
        yield NotLookedAt(package.where, "its format has other rules")
        return
    for module in package.toc.modules:
        if module.kind in WITHOUT_CONTENT:  # the table is legal with their one signature only
            continue
        where = f"{package.where}: {module.path} ({module.cpu_text})"
        if module.length > limit and may_have_rule(_head(package, module)):
            yield NotLookedAt(where, f"{module.length} bytes, more than {limit}")
            continue
        expected = module.sha256  # of what no rule is for: it need not be held
        if module.length <= limit:
            expected = substantive_signature(package.module_bytes(module), module.path)
        if module.substantive != expected:
            raise PackageRefused(
                "substantive signature is not by the rules of this version",
                where=where,
                expected=expected,
                found=module.substantive,
                hint="content and signatures are good; built by another version? build it again",
            )


def _head(package: PackageFile, module: Module) -> bytes:
    """The file's first bytes, as many as rules are found by."""
    head = b""
    for chunk in package.module_chunks(module):
        head += chunk[: HEAD_SIZE - len(head)]
        if len(head) == HEAD_SIZE:
            break
    return head
