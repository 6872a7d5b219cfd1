"""The manifest of a package: `manifest.toml`, and what its keys may say.

An error names the file, the key and what was expected there. Refuses to know how files are found and packed.
"""

from __future__ import annotations

import signal
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import NEUTRAL_CPU, CpuArch, check_name, check_version
from firmware_mgr.package.contents import MAX_MODE, RUNNABLE, Dependency, Group, ModuleKind
from firmware_mgr.package.paths import check_link_target, check_place
from firmware_mgr.package.process import ProcessSpec, Readiness, Restart, User, parse_user
from firmware_mgr.packaging.build import PackageHead

_FILE_KINDS = frozenset(ModuleKind) - {ModuleKind.SYMLINK, ModuleKind.DIRECTORY}


def _complain(error: UsageError) -> ValueError:
    return ValueError(f"{error.what}, expected {error.expected}" if error.expected else error.what)


def _path(text: str) -> str:
    try:
        return check_place(text)
    except UsageError as e:
        raise _complain(e) from e


def _package_name(text: str) -> str:
    try:
        return check_name(text, "package")
    except UsageError as e:
        raise _complain(e) from e


def _version(text: str) -> str:
    try:
        return check_version(text)
    except UsageError as e:
        raise _complain(e) from e


def _mode(value: object) -> object:
    if not isinstance(value, str) or not value.isdigit() or set(value) - set("01234567"):
        raise ValueError('expected octal digits in quotes, such as "0644"')
    return int(value, 8)


def _build_date(value: object) -> object:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("expected a date with a time zone, such as 2025-06-01T00:00:00Z")
        return int(value.astimezone(UTC).timestamp())
    return value


def _cpu(value: object) -> object:
    if value == NEUTRAL_CPU:
        return None
    try:
        return CpuArch(value)
    except ValueError:
        known = ", ".join(cpu.value for cpu in CpuArch)
        raise ValueError(f"expected {known} or {NEUTRAL_CPU}") from None


def _file_kind(kind: ModuleKind) -> ModuleKind:
    if kind not in _FILE_KINDS:
        raise ValueError("expected a kind of file; links and directories have sections of their own")
    return kind


def _stop_signal(value: object) -> object:
    try:
        return int(signal.Signals[f"SIG{value}"])
    except KeyError:
        raise ValueError("expected a signal such as TERM") from None


def _user(value: object) -> object:
    try:
        return parse_user(str(value))
    except UsageError as e:
        raise ValueError("expected numbers such as 1000:1000, or a user's name") from e


def _readiness(value: object) -> object:
    try:
        return Readiness.parse(str(value))
    except UsageError as e:
        raise _complain(e) from e


PathText = Annotated[str, AfterValidator(_path)]
Cpu = Annotated[CpuArch | None, BeforeValidator(_cpu)]
Mode = Annotated[int, BeforeValidator(_mode), Field(ge=0, le=MAX_MODE)]
Kind = Annotated[ModuleKind, Field(strict=False), AfterValidator(_file_kind)]
Model = TypeVar("Model", bound=BaseModel)
Texts = Annotated[tuple[str, ...], Field(strict=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class DependencyEntry(_Section):
    """`{ name = "base", constraint = ">= 1.2" }`."""

    name: Annotated[str, AfterValidator(_package_name)]
    constraint: str = ""


class LimitedEntry(DependencyEntry):
    """A dependency that may hold on cards of some boards only: `boards = ["qemu-aarch64"]`."""

    boards: Texts = ()


class GroupEntry(_Section):
    """Modules that are asked for together, as a feature. `modules` are paths, or patterns as in `take`."""

    name: str
    summary: str = ""
    wanted: bool = True
    modules: Texts = ()


Limited = Annotated[tuple[LimitedEntry, ...], Field(strict=False)]
Dependencies = Annotated[tuple[DependencyEntry, ...], Field(strict=False)]


class About(_Section):
    """What the package is."""

    name: Annotated[str, AfterValidator(_package_name)]
    version: Annotated[str, AfterValidator(_version)]
    build_date: Annotated[int, BeforeValidator(_build_date), Field(ge=0)]
    local_dependencies: Limited = ()
    remote_dependencies: Limited = ()
    upgrades: Dependencies = ()


class FileEntry(_Section):
    """A file from beside the manifest. Without a mode, programs get 0755 and all else 0644."""

    path: PathText
    source: str
    kind: Kind
    cpu: Cpu = None
    mode: Mode | None = None
    function: str = ""
    provides: Texts = ()
    consumes: Texts = ()

    @property
    def mode_bits(self) -> int:
        """The mode that the file gets."""
        return self.mode if self.mode is not None else default_mode(self.kind)


class SymlinkEntry(_Section):
    """A symbolic link with a relative target."""

    path: PathText
    target: str
    cpu: Cpu = None


class DirectoryEntry(_Section):
    """A directory that is empty, or has a mode of its own."""

    path: PathText
    mode: Mode = 0o755


class TakeEntry(_Section):
    """Files out of Debian packages: a path or a pattern such as `usr/lib/lighttpd/mod_*.so`."""

    path: str
    kind: Kind | None = None
    function: str = ""


class DebianEntry(_Section):
    """Debian packages to take files from, with all the libraries that those need.

    `assumed` are packages that count as present, and so are not fetched. `locks` has a lock file for each
    CPU that the package is for, beside the manifest.
    """

    packages: Annotated[Texts, Field(min_length=1)]
    assumed: Texts = ()
    locks: Annotated[dict[str, str], Field(min_length=1)]
    take: Annotated[tuple[TakeEntry, ...], Field(strict=False, min_length=1)]

    @property
    def cpus(self) -> tuple[CpuArch, ...]:
        """The CPUs that there are lock files for. Raises UsageError."""
        try:
            return tuple(CpuArch(name) for name in sorted(self.locks))
        except ValueError:
            known = ", ".join(cpu.value for cpu in CpuArch)
            found = ", ".join(self.locks)
            raise UsageError("unknown CPU", where="[debian.locks]", expected=known, found=found) from None


class ProcessEntry(_Section):
    """A process to run; see SPEC-package §4.3. The stop signal is named as in `TERM`."""

    name: str
    module: PathText
    argv: Texts
    environment: dict[str, str] = {}
    working_directory: str = "/"
    user: Annotated[User, BeforeValidator(_user)]
    readiness: Annotated[Readiness, BeforeValidator(_readiness)]
    stop_signal: Annotated[int, BeforeValidator(_stop_signal)] = signal.SIGTERM.value
    grace_s: int = 10
    restart: Annotated[Restart, Field(strict=False)] = Restart.ON_FAILURE
    self_managing: bool = False

    def spec(self) -> ProcessSpec:
        """Raises UsageError."""
        return ProcessSpec(
            name=self.name,
            module=self.module,
            argv=self.argv,
            environment=tuple(sorted(self.environment.items())),
            working_directory=self.working_directory,
            user=self.user,
            readiness=self.readiness,
            stop_signal=self.stop_signal,
            grace_s=self.grace_s,
            restart=self.restart,
            self_managing=self.self_managing,
        )


class Manifest(_Section):
    """A whole manifest. `folder` is where it lies: sources and lock files are named from there."""

    package: About
    file: Annotated[tuple[FileEntry, ...], Field(strict=False)] = ()
    symlink: Annotated[tuple[SymlinkEntry, ...], Field(strict=False)] = ()
    directory: Annotated[tuple[DirectoryEntry, ...], Field(strict=False)] = ()
    group: Annotated[tuple[GroupEntry, ...], Field(strict=False)] = ()
    debian: DebianEntry | None = None
    process: Annotated[tuple[ProcessEntry, ...], Field(strict=False)] = ()
    folder: Path

    def head(self) -> PackageHead:
        """The package without its modules. Raises UsageError."""
        about = self.package
        return PackageHead(
            name=about.name,
            version=about.version,
            build_date=about.build_date,
            local_dependencies=dependencies_of(about.local_dependencies),
            remote_dependencies=dependencies_of(about.remote_dependencies),
            upgrades=dependencies_of(about.upgrades),
            processes=tuple(process.spec() for process in self.process),
            groups=groups_of(self.group),
        )


def default_mode(kind: ModuleKind) -> int:
    """The mode of a file when nothing else is said."""
    return 0o755 if kind in RUNNABLE else 0o644


def load_manifest(path: Path) -> Manifest:
    """Read a manifest file. Raises UsageError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        hint = "name a folder with a manifest.toml, or such a file"
        raise UsageError("manifest cannot be read", where=str(path), found=e.strerror, hint=hint) from e
    except UnicodeDecodeError as e:
        raise UsageError("manifest cannot be read", where=str(path), found=str(e)) from e
    return parse_manifest(text, path)


def parse_manifest(text: str, path: Path) -> Manifest:
    """The manifest in `text`, which came from `path`. Raises UsageError that names file and key."""
    try:
        document: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise UsageError("manifest is not TOML", where=str(path), found=str(e)) from e
    if "folder" in document:
        raise UsageError("unknown key", where=f"{path}: folder", expected="no such key")
    manifest = validated(Manifest, {**document, "folder": path.parent}, path)
    try:
        for link in manifest.symlink:
            check_link_target(link.path, link.target)
        manifest.head()
    except UsageError as e:
        spot = f"{path}: {e.where}" if e.where else str(path)
        raise UsageError(e.what, where=spot, expected=e.expected, found=e.found, hint=e.hint) from e
    return manifest


def validated(model: type[Model], document: dict[str, Any], path: Path) -> Model:
    """The document as the model has it. Raises UsageError that names file and key."""
    try:
        return model.model_validate(document)
    except ValidationError as e:
        first = e.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        found = None if first["type"] == "missing" else repr(first["input"])
        raise UsageError(
            f"wrong key: {first['type'].replace('_', ' ')}",
            where=f"{path}: {key}",
            expected=_expected(first["msg"]),
            found=found,
        ) from e


def _expected(message: str) -> str:
    return message.removeprefix("Value error, ").removeprefix("expected ")


def groups_of(entries: Sequence[GroupEntry]) -> tuple[Group, ...]:
    """As a package's head has them. Raises UsageError."""
    return tuple(Group(entry.name, entry.summary, entry.wanted) for entry in entries)


def dependencies_of(entries: Sequence[DependencyEntry]) -> tuple[Dependency, ...]:
    """As a package's head has them. Raises UsageError."""
    return tuple(
        Dependency(
            entry.name,
            entry.constraint,
            tuple(sorted(set(entry.boards))) if isinstance(entry, LimitedEntry) else (),
        )
        for entry in entries
    )
