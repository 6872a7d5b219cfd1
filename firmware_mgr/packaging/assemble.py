"""From a manifest to a signed package: files from beside it, files out of Debian packages, checks, signature.

The one place of this room that knows all the others. Refuses to know what happens to the package then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from firmware_mgr.imaging.debs import DEBIAN_ARCH, fetch_debs
from firmware_mgr.imaging.tree import Tree
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.model.software import PackageRef
from firmware_mgr.package.contents import MAX_MODE, ModuleKind, TableOfContents
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.package.table import encode_table
from firmware_mgr.packaging.build import ModuleSource, PackageHead, pack, seal, write_package
from firmware_mgr.packaging.closure import missing_libraries
from firmware_mgr.packaging.debian import merge_cpus, modules_for, read_debs
from firmware_mgr.packaging.elf_facts import read_elf
from firmware_mgr.packaging.groups import grouped
from firmware_mgr.packaging.keys import SigningKey, keyring_of
from firmware_mgr.packaging.manifest import DebianEntry, FileEntry, Manifest, load_manifest

#: The manifests that come with the source tree, one folder for each package.
SHIPPED_PACKAGES = Path(__file__).resolve().parents[2] / "packages"
#: What to do when a lock file is missing, for other packages, or behind the archive.
REFRESH_HINT = (
    "write the lock files anew with: fwmgr package build --refresh; then give the package a new version"
)


def build_from_manifest(
    path: Path,
    signing_keys: Sequence[SigningKey],
    cache: Path,
    *,
    refresh: bool = False,
    signed_at: int | None = None,
) -> bytes:
    """Build the package of a manifest file. `signed_at` is its build date when it is not given.

    Debian packages are fetched into `cache` as the lock files say; `refresh` writes those anew from what
    the archive holds now. Raises UsageError, or PeerError when the archive has moved on.
    """
    manifest = load_manifest(path)
    trees = fetch_trees(manifest, cache, refresh=refresh) if manifest.debian else {}
    return build_from_trees(manifest, trees, signing_keys, signed_at=signed_at)


def build_real_package(
    name: str, out: Path, signing_keys: Sequence[SigningKey], cache: Path, *, refresh: bool = False
) -> PackageRef:
    """Build a package that comes with the source tree, such as `lighttpd`, into `out`; say what it is.

    Raises as `build_from_manifest` does.
    """
    manifest = SHIPPED_PACKAGES / name / "manifest.toml"
    write_package(out, build_from_manifest(manifest, signing_keys, cache, refresh=refresh))
    with PackageFile.open(out, keyring_of(signing_keys)) as package:
        return package.reference()


def build_from_trees(
    manifest: Manifest,
    trees: Mapping[CpuArch, Tree],
    signing_keys: Sequence[SigningKey],
    *,
    signed_at: int | None = None,
) -> bytes:
    """Build with the Debian packages' files at hand: a tree for each CPU. Raises UsageError."""
    head, sources = read_sources(manifest, trees)
    try:
        toc, content = pack(head, sources)
        _check_libraries(toc)
        when = head.build_date if signed_at is None else signed_at
        return seal(encode_table(toc), content, signing_keys, signed_at=when)
    except UsageError as e:
        where = f"{manifest.folder}: {e.where}" if e.where else str(manifest.folder)
        raise UsageError(e.what, where=where, expected=e.expected, found=e.found, hint=e.hint) from e


def read_sources(manifest: Manifest, trees: Mapping[CpuArch, Tree]) -> tuple[PackageHead, list[ModuleSource]]:
    """What goes into the package, read and not yet packed. Raises UsageError."""
    sources = [_read_file(manifest, entry) for entry in manifest.file]
    sources += [
        ModuleSource(link.path, ModuleKind.SYMLINK, cpu=link.cpu, mode=MAX_MODE, link_target=link.target)
        for link in manifest.symlink
    ]
    sources += [ModuleSource(d.path, ModuleKind.DIRECTORY, mode=d.mode) for d in manifest.directory]
    if manifest.debian:
        take = manifest.debian.take
        sources += merge_cpus({cpu: modules_for(tree, take, cpu) for cpu, tree in trees.items()})
    return manifest.head(), grouped(manifest.group, sources, str(manifest.folder))


def fetch_trees(manifest: Manifest, cache: Path, *, refresh: bool = False) -> dict[CpuArch, Tree]:
    """The files of the manifest's Debian packages for each CPU that it has a lock file for."""
    entry = manifest.debian
    if entry is None:
        return {}
    return {cpu: _fetch(manifest, entry, cpu, cache, refresh) for cpu in entry.cpus}


def _fetch(manifest: Manifest, entry: DebianEntry, cpu: CpuArch, cache: Path, refresh: bool) -> Tree:
    lock = manifest.folder / entry.locks[cpu.value]
    if not lock.exists() and not refresh:
        raise UsageError(
            "lock file is missing",
            where=str(lock),
            expected="versions and hashes of Debian packages",
            hint=REFRESH_HINT,
        )
    try:
        debs = fetch_debs(
            entry.packages, DEBIAN_ARCH[cpu], cache, lock, assumed=entry.assumed, refresh=refresh
        )
    except FwmgrError as e:
        hint = REFRESH_HINT if e.hint else ""
        raise type(e)(e.what, where=e.where, expected=e.expected, found=e.found, hint=hint) from e
    return read_debs(deb.path for deb in debs)


def _check_libraries(toc: TableOfContents) -> None:
    """A package that depends on no other must hold every library that its modules want loaded."""
    if toc.local_dependencies:
        return
    for cpu in CpuArch:
        for path, names in missing_libraries(toc, cpu).items():
            raise UsageError(
                "libraries are missing",
                where=f"{path} ({cpu.value})",
                expected=", ".join(name.removeprefix("so:") for name in names),
                found="neither in the package nor in a package that it depends on",
                hint="add their files, or a local dependency on the package that has them",
            )


def _read_file(manifest: Manifest, entry: FileEntry) -> ModuleSource:
    path = manifest.folder / entry.source
    try:
        data = path.read_bytes()
    except OSError as e:
        raise UsageError("source file cannot be read", where=str(path), found=e.strerror) from e
    facts = read_elf(data, str(path))
    if facts is not None and facts.cpu is not entry.cpu:
        raise UsageError(
            "program or library for another CPU than its entry says",
            where=f"{path} as {entry.path}",
            expected="any" if entry.cpu is None else entry.cpu.value,
            found=facts.machine,
        )
    return ModuleSource(
        path=entry.path,
        kind=entry.kind,
        data=data,
        cpu=entry.cpu,
        mode=entry.mode_bits,
        function=entry.function,
        provides=(*entry.provides, *(facts.provides if facts else ())),
        consumes=(*entry.consumes, *(facts.consumes if facts else ())),
    )
