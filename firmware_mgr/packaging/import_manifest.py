"""The extra manifest of an import: what no tool can see in .debs. docs/IMPORTING.md, "Extra manifest".

Knows keys and their forms. Refuses to know the .debs.
"""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.contents import Dependency
from firmware_mgr.package.paths import check_link_target, merged_path
from firmware_mgr.packaging.deb_needs import Outside
from firmware_mgr.packaging.manifest import (
    Dependencies,
    DirectoryEntry,
    GroupEntry,
    Kind,
    Limited,
    Mode,
    PathText,
    ProcessEntry,
    SymlinkEntry,
    Texts,
    dependencies_of,
    validated,
)


class Section(BaseModel):
    """A part of a list or manifest: nothing but what is listed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class AboutExtra(Section):
    """What the package depends on besides, and what it upgrades."""

    local_dependencies: Limited = ()
    remote_dependencies: Limited = ()
    upgrades: Dependencies = ()


class DropEntry(Section):
    """Files that stay behind: a path or a pattern."""

    path: str


class RenameEntry(Section):
    """One file that gets another path."""

    path: PathText
    to: PathText


class MarkEntry(Section):
    """What is said of files by hand: a path or a pattern. What is not given stays as it was found."""

    path: str
    kind: Kind | None = None
    function: str = ""
    mode: Mode | None = None
    provides: Texts = ()
    consumes: Texts = ()


class ExtraManifest(Section):
    """A whole extra manifest. All of it is optional."""

    keep_documentation: bool = False
    assume: Texts = ()
    depend: Texts = ()
    package: AboutExtra = AboutExtra()
    drop: Annotated[tuple[DropEntry, ...], Field(strict=False)] = ()
    rename: Annotated[tuple[RenameEntry, ...], Field(strict=False)] = ()
    mark: Annotated[tuple[MarkEntry, ...], Field(strict=False)] = ()
    symlink: Annotated[tuple[SymlinkEntry, ...], Field(strict=False)] = ()
    directory: Annotated[tuple[DirectoryEntry, ...], Field(strict=False)] = ()
    process: Annotated[tuple[ProcessEntry, ...], Field(strict=False)] = ()
    group: Annotated[tuple[GroupEntry, ...], Field(strict=False)] = ()

    def outside(self, assume: tuple[str, ...] = (), depend: tuple[str, ...] = ()) -> Outside:
        """What is said of Debian packages outside, here and on the command line. Raises UsageError."""
        depended = dict(parse_depend(text) for text in (*self.depend, *depend))
        return Outside(frozenset((*self.assume, *assume)), depended)

    def local_dependencies(self) -> tuple[Dependency, ...]:
        """Those that are said by hand. Raises UsageError."""
        return dependencies_of(self.package.local_dependencies)


def matches(path: str, pattern: str) -> bool:
    """Whether a pattern of the extra manifest means this path; Debian's old names count too."""
    return fnmatch.fnmatchcase(path, merged_path(pattern))


def parse_depend(text: str) -> tuple[str, Dependency]:
    """`libc6=glibc >= 2.36` as the Debian package and what has it instead. Raises UsageError."""
    name, equals, rest = text.partition("=")
    package, _, constraint = rest.strip().partition(" ")
    if not equals or not name.strip() or not package:
        raise UsageError(
            "not a dependency in place of a Debian package",
            where="--depend",
            expected="such as libc6=glibc, or 'libc6=glibc >= 2.36'",
            found=repr(text),
        )
    return name.strip(), Dependency(package, constraint.strip())


def load_extra(path: Path) -> ExtraManifest:
    """Read an extra manifest. Raises UsageError that names file and key."""
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise UsageError("extra manifest cannot be read", where=str(path), found=e.strerror) from e
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise UsageError("extra manifest is not TOML", where=str(path), found=str(e)) from e
    extra = validated(ExtraManifest, document, path)
    try:
        for link in extra.symlink:
            check_link_target(link.path, link.target)
        extra.outside()
        extra.local_dependencies()
    except UsageError as e:
        where = f"{path}: {e.where}" if e.where else str(path)
        raise UsageError(e.what, where=where, expected=e.expected, found=e.found, hint=e.hint) from e
    return extra
