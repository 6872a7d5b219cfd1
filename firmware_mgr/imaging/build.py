"""Builds a board's boot image from Debian's packages, or a user's own kernel and root file system.

Knows the order of the steps and what each depends on, so that nothing is built twice. Refuses to know how
each step is done. Equal inputs give equal bytes: no clock is read, no name of this machine goes in.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import zstandard

from firmware_mgr.imaging.board import Board
from firmware_mgr.imaging.bytecode import card_interpreter
from firmware_mgr.imaging.cache import BuildCache, place_copy
from firmware_mgr.imaging.cpio import cpio_archive, padded
from firmware_mgr.imaging.debs import DEBIAN_ARCH, DebFile, built_at, fetch_debs, read_deb
from firmware_mgr.imaging.fat import check_tools
from firmware_mgr.imaging.kernel import Kernel, find_kernel, load_tree
from firmware_mgr.imaging.loaders import LOADERS, LoaderInputs, loader_packages
from firmware_mgr.imaging.manifest import (
    MANIFEST_NAME,
    NETBOOT_FOLDER,
    PARTITION_FILE,
    BootImage,
    FileSummary,
    Manifest,
    PackageSource,
    read_boot_image,
    write_boot_image,
)
from firmware_mgr.imaging.modules import select_modules
from firmware_mgr.imaging.ready_code import importable, ready_code
from firmware_mgr.imaging.recipe import DEFAULT_RECIPE, SHIPPED_BOOTIMAGES, Recipe, load_recipe
from firmware_mgr.imaging.rootfs import (
    BYTECODE_MINOR,
    SiteInputs,
    agent_files,
    base_tree,
    check_own_userland,
    debian_userland,
    merged,
    python_minor,
    site_tree,
)
from firmware_mgr.imaging.site_trust import read_site_trust
from firmware_mgr.imaging.tree import Tree
from firmware_mgr.model.ids import Digest, check_version
from firmware_mgr.model.software import canonical_json

#: The agent's code that this program came with.
SHIPPED_SOURCE = Path(__file__).resolve().parents[1]
#: Levels from 15 on take five times as long for 6 % less.
ZSTD_LEVEL = 12


def build_boot_image(
    board: Board,
    *,
    trust: Path,
    out: Path,
    cache: Path,
    version: str | None = None,
    kernel: Path | None = None,
    rootfs: Path | None = None,
    agent_source: Path = SHIPPED_SOURCE,
    bootimages: Path = SHIPPED_BOOTIMAGES,
    refresh: bool = False,
    takes_test: bool = False,
) -> BootImage:
    """Build the image for `board` into the folder `out`, which it replaces. What exists is reused.

    `trust` holds the site's public `authority.pem`, `keys.json` and, where it has one, `root.json`. `kernel`
    and `rootfs` (folder, tar, deb) stand in for Debian's. Without a version the image gets fwmgr's with the
    start of its inputs' digest. `refresh` asks the Debian archive for what is newest; otherwise what the
    cache knows stays. With `takes_test` its cards take test packages. Raises UsageError, and PeerError for
    the archive.
    """
    believed = read_site_trust(trust, takes_test=takes_test)
    loader = LOADERS[board.firmware.loader]
    check_tools(loader.tools)
    parts = _gather(board, bootimages, cache, Own(kernel, rootfs), refresh)
    store = BuildCache(cache)
    base_digest = parts.digest()
    base = _Base.read(store.entry("base", base_digest, lambda folder: _build_base(folder, parts)))
    built = parts.built_at()

    ready = None
    if base.python_minor == BYTECODE_MINOR:
        ready = ready_code(agent_source, importable(agent_files(parts.recipe, agent_source)), store)

    def site(version: str) -> Tree:
        inputs = SiteInputs(agent_source, trust, version, built, base.python_minor, takes_test, ready)
        return site_tree(board, parts.recipe, inputs)

    made_from = {
        "base": base_digest.hex,
        # The version is not among its own inputs.
        "site": Digest.of(cpio_archive(site("0"))).hex,
        "board": board.model_dump_json(),
        "texts": {} if loader.texts is None else _folder_digest(bootimages / loader.texts),
        "loader": [deb.sha256 for deb in parts.loader],
        "code": _folder_digest(Path(__file__).parent),
    }
    content = Digest.of(canonical_json(made_from))
    name = check_version(version or f"{metadata.version('fwmgr')}-{content.hex[:8]}")
    inputs = Digest.of(canonical_json({**made_from, "version": name}))

    def build(folder: Path) -> None:
        initramfs = base.initramfs + packed(site(name))
        made = loader.make(LoaderInputs(board, bootimages, parts.loader, base.kernel_gz, initramfs, built))
        contents = {PARTITION_FILE: made.partition}
        contents |= {f"{NETBOOT_FOLDER}{file}": data for file, data in made.netboot.items()}
        summaries = {file: FileSummary.of(data) for file, data in contents.items()}
        packages = tuple(PackageSource(deb.name, deb.version, deb.arch, deb.sha256) for deb in parts.all_debs)
        manifest = Manifest(
            board.name, board.cpu, name, built, base.release, inputs, summaries, packages, believed
        )
        write_boot_image(folder, manifest, contents)

    place_copy(store.entry("images", inputs, build), out, lambda path: (path / MANIFEST_NAME).is_file())
    return read_boot_image(out)


def packed(tree: Tree) -> bytes:
    """The tree as a compressed archive; the kernel takes several of them, one behind the other."""
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, threads=0)
    return padded(compressor.compress(cpio_archive(tree)))


@dataclass(frozen=True, slots=True)
class Own:
    """A user's own kernel and root file system, where they stand in for Debian's."""

    kernel: Path | None
    rootfs: Path | None


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a base is made of, before any of it is read."""

    board: Board
    recipe: Recipe
    own: Own
    userland: tuple[DebFile, ...]
    kernel: tuple[DebFile, ...]
    loader: tuple[DebFile, ...]

    @property
    def all_debs(self) -> tuple[DebFile, ...]:
        return tuple(sorted(self.debs + self.loader))

    @property
    def debs(self) -> tuple[DebFile, ...]:
        return tuple(sorted(self.userland + self.kernel))

    def built_at(self) -> int:
        """Seconds since 1970: $SOURCE_DATE_EPOCH, or when the newest of the packages was built."""
        given = os.environ.get("SOURCE_DATE_EPOCH", "")
        return (
            int(given) if given.isdigit() else max((built_at(deb.path) for deb in self.all_debs), default=0)
        )

    def digest(self) -> Digest:
        inputs = {
            "recipe": Digest.of(self.recipe.text).hex,
            "files": Digest.of(cpio_archive(self.recipe.files)).hex,
            "packages": [deb.sha256 for deb in self.debs],
            "rootfs": _own_digest(self.own.rootfs),
            "kernel": _own_digest(self.own.kernel),
            "modules": self.board.kernel.modules,
            "cpu": self.board.cpu.value,
            "code": _folder_digest(Path(__file__).parent),
            "python": card_interpreter()[1],
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
            "zstd": zstandard.ZSTD_VERSION,
        }
        return Digest.of(canonical_json(inputs))

    def read_kernel(self) -> Kernel:
        if self.own.kernel is not None:
            return find_kernel(load_tree(self.own.kernel), self.board.cpu, str(self.own.kernel))
        tree: Tree = {}
        for deb in self.kernel:
            tree.update(read_deb(deb.path))
        return find_kernel(tree, self.board.cpu, self.board.kernel.package)

    def read_userland(self) -> Tree:
        if self.own.rootfs is None:
            return debian_userland((read_deb(deb.path) for deb in self.userland), self.recipe)
        tree = merged(load_tree(self.own.rootfs))
        check_own_userland(tree, str(self.own.rootfs))
        return tree


def _gather(board: Board, bootimages: Path, cache: Path, own: Own, refresh: bool) -> _Parts:
    recipe = load_recipe(bootimages / DEFAULT_RECIPE)
    arch = DEBIAN_ARCH[board.cpu]

    def debs(names: Sequence[str], assumed: Sequence[str]) -> tuple[DebFile, ...]:
        return fetch_debs(names, arch, cache, assumed=assumed, refresh=refresh)

    userland = () if own.rootfs else debs(recipe.userland.packages, recipe.userland.assumed)
    kernel = () if own.kernel else debs([board.kernel.package], recipe.kernel.assumed)
    stub = loader_packages(board)
    loader = debs(stub, recipe.kernel.assumed) if stub else ()
    return _Parts(board, recipe, own, userland, kernel, loader)


@dataclass(frozen=True, slots=True)
class _Base:
    """What all sites share: packed root file system, packed kernel and its release, minor of Python 3."""

    initramfs: bytes
    kernel_gz: bytes
    release: str
    python_minor: int

    @classmethod
    def read(cls, folder: Path) -> _Base:
        about = json.loads((folder / "about.json").read_text())
        initramfs = (folder / "initramfs").read_bytes()
        return cls(initramfs, (folder / "kernel.gz").read_bytes(), about["release"], about["python_minor"])


def _build_base(folder: Path, parts: _Parts) -> None:
    kernel = parts.read_kernel()
    userland = parts.read_userland()
    modules = select_modules(kernel.tree, parts.board.kernel.modules)
    (folder / "initramfs").write_bytes(packed(base_tree(userland, modules, parts.recipe)))
    (folder / "kernel.gz").write_bytes(kernel.packed)
    about = {"release": kernel.release, "python_minor": python_minor(userland)}
    (folder / "about.json").write_text(json.dumps(about))


def _own_digest(path: Path | None) -> str | None:
    """Of what a user's own kernel or root file system holds."""
    if path is None:
        return None
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    return Digest.of(cpio_archive(load_tree(path))).hex


def _folder_digest(folder: Path) -> Mapping[str, str]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".pyc")
    return {path.name: Digest.of(path.read_bytes()).hex for path in files}
