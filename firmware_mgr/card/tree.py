"""A software set's packages as one root: which file is at which path, and where its bytes lie. Pure.

The first package in the set that has a path wins it (R-2.6). Gives the two images that a world is made of:
the *tree* (names, modes, links; files without data that name a module) and the *source* (modules by digest,
without data too: their bytes are in the store partition). Knows overlayfs's attributes; refuses to mount.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from firmware_mgr.card import erofs
from firmware_mgr.card.erofs_layout import BLOCK
from firmware_mgr.flash.store_geometry import Extent
from firmware_mgr.model.errors import DeviceError, PeerError
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import PackageRef
from firmware_mgr.package.contents import Module, ModuleKind, TableOfContents
from firmware_mgr.package.paths import MERGED, MOUNT_POINTS
from firmware_mgr.package.process import ProcessSpec

#: A link of a root only where a package brings its end: the home of the 64-bit loader on x86_64.
_LIB64 = "lib64"
#: The directory of a source. A whiteout in the tree hides it; redirects pass under the whiteout.
MODULES = b".modules"

# Linux, fs/overlayfs/overlayfs.h: an inode whose data are elsewhere, and where.
_METACOPY = b"overlay.metacopy"
_REDIRECT = b"overlay.redirect"


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """A package of the set. `modules` and `processes` are those that this card gets (`contents.select`)."""

    ref: PackageRef
    toc: TableOfContents
    modules: tuple[Module, ...]
    processes: tuple[ProcessSpec, ...]

    @property
    def title(self) -> str:
        return f"{self.ref.name} {self.ref.version}"


@dataclass(frozen=True, slots=True)
class Placed:
    """The module that won a path, and its package's time in seconds since 1970."""

    module: Module
    mtime: int


def merge(packages: Sequence[InstalledPackage]) -> dict[str, Placed]:
    """Each path of the root with the module that wins it, in the order in which they won.

    Raises PeerError for a path that is a source's own, and where one package would hide a subtree of another.
    """
    won: dict[str, Placed] = {}
    above: set[str] = set()  # directories that some winner stands in
    for package in packages:
        mtime = package.toc.build_date
        for module in package.modules:
            path = module.path
            if path.partition("/")[0] == MODULES.decode():
                raise PeerError(
                    "path would hide the modules", where=f"package {package.title}", found=repr(path)
                )
            if path in won:
                continue
            is_directory = module.kind is ModuleKind.DIRECTORY
            parents = _parents(path)
            blocking = [up for up in parents if up in won and won[up].module.kind is not ModuleKind.DIRECTORY]
            if blocking or (path in above and not is_directory):
                # To win a path is one thing; to hide a whole subtree with one file is another.
                raise PeerError(
                    "an earlier package has a file where this one has a directory, or the other way round",
                    where=f"package {package.title}",
                    expected=f"{blocking[0] if blocking else path} to be the same kind of thing in both",
                    found=path,
                )
            won[path] = Placed(module, mtime)
            above.update(parents)
    return won


def _parents(path: str) -> list[str]:
    parents = []
    while (cut := path.rfind("/")) >= 0:
        path = path[:cut]
        parents.append(path)
    return parents


def tree_image(won: Mapping[str, Placed]) -> bytes:
    """The tree: what the root looks like. Its files have no data, and say which module has."""
    top: dict[bytes, erofs.Entry] = {MODULES: erofs.Whiteout()}
    top.update({name.encode(): erofs.Directory({}) for name in MOUNT_POINTS})
    links = dict(MERGED)
    if not any(path.startswith(f"{MERGED[_LIB64]}/") for path in won):
        del links[_LIB64]
    top.update({name.encode(): erofs.Symlink(target.encode()) for name, target in links.items()})
    folders: dict[str, dict[bytes, erofs.Entry]] = {"": top}

    def folder(path: str, mode: int = 0o755, mtime: int = 0) -> dict[bytes, erofs.Entry]:
        entries = folders.get(path)
        if entries is None:
            entries = folders[path] = {}
            above, _, name = path.rpartition("/")
            folder(above)[name.encode()] = erofs.Directory(entries, mode, mtime)
        return entries

    # Directories first, shallow ones before deep ones, so that each is made with its own mode.
    directories = sorted(path for path, placed in won.items() if placed.module.kind is ModuleKind.DIRECTORY)
    for path in directories:
        folder(path, won[path].module.mode, won[path].mtime)
    for path, placed in won.items():
        if placed.module.kind is not ModuleKind.DIRECTORY:
            above, _, name = path.rpartition("/")
            folder(above)[name.encode()] = _leaf(placed)
    return erofs.write(erofs.Directory(top))


def _leaf(placed: Placed) -> erofs.Entry:
    module = placed.module
    if module.kind is ModuleKind.SYMLINK:
        return erofs.Symlink(module.link_target.encode(), placed.mtime)
    if not module.length:
        return erofs.File(0, None, module.mode, placed.mtime)
    redirect = b"/" + MODULES + b"/" + module.sha256.hex.encode()
    return erofs.File(
        module.length, None, module.mode, placed.mtime, ((_METACOPY, b""), (_REDIRECT, redirect))
    )


def contents_of(won: Mapping[str, Placed]) -> dict[Digest, int]:
    """The modules with bytes, each once, with its length in bytes."""
    return {
        placed.module.sha256: placed.module.length
        for placed in won.values()
        if placed.module.length and placed.module.kind not in (ModuleKind.SYMLINK, ModuleKind.DIRECTORY)
    }


def source_image(
    lengths: Mapping[Digest, int], extent_of: Callable[[Digest], Extent], partition_size: int
) -> bytes:
    """The source: each module by digest, at its extent in a partition of so many bytes.

    Raises DeviceError when an extent is not what the module needs, and what `extent_of` raises.
    """
    files: dict[bytes, erofs.Entry] = {}
    for digest, length in lengths.items():
        extent = extent_of(digest)
        if extent.length != length or extent.offset % BLOCK or extent.end > partition_size:
            raise DeviceError(
                "stored module cannot be mounted",
                where=f"store, {digest.short}",
                expected=f"{length} bytes at a multiple of {BLOCK}, below {partition_size}",
                found=f"{extent.length} bytes at {extent.offset}",
                hint="burn the card again",
            )
        files[digest.hex.encode()] = erofs.File(length, erofs.Place(1, extent.offset // BLOCK), 0o444)
    root = erofs.Directory({MODULES: erofs.Directory(files)})
    return erofs.write(root, [partition_size // BLOCK])


def check_programs(packages: Iterable[InstalledPackage], won: Mapping[str, Placed]) -> None:
    """Check that each process's program is in the root. Raises PeerError."""
    for package in packages:
        for spec in package.processes:
            if spec.module not in won:
                raise PeerError(
                    "program of a process is not in the root",
                    where=f"process {spec.name} of {package.title}",
                    expected=spec.module,
                    hint="it is for another CPU, or an earlier package has a file in its way",
                )
