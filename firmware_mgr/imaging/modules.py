"""Which kernel modules a card gets and in which order they are loaded.

Reads what each module says of itself (its `.modinfo` section, as modinfo(8) prints it) and what is built in.
Refuses to know what a module does.
"""

from __future__ import annotations

import gzip
import io
import lzma
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import zstandard
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from firmware_mgr.imaging.tree import File, Node
from firmware_mgr.model.errors import PeerError, UsageError

_MODULE_FILE = re.compile(r"^(?P<name>.+)\.ko(?P<packed>\.xz|\.gz|\.zst)?$")


@dataclass(frozen=True, slots=True)
class Module:
    """A kernel module, unpacked: its path on the card and its bytes."""

    path: str
    data: bytes


def module_name(text: str) -> str:
    """The kernel's spelling: `virtio-rng` and `virtio_rng` are one."""
    return text.replace("-", "_")


def select_modules(kernel: Mapping[str, Node], wanted: Iterable[str]) -> tuple[Module, ...]:
    """The wanted modules and all they depend on, in an order in which each can be loaded.

    `kernel` holds `…/modules.builtin` and the `.ko` files (also compressed). What is built into the kernel is
    left out. Raises UsageError when a wanted module is nowhere, PeerError when a file is no module.
    """
    files: dict[str, str] = {}
    for path in sorted(kernel):
        if match := _MODULE_FILE.match(posixpath.basename(path)):
            files.setdefault(module_name(match["name"]), path)
    builtin = _builtin(kernel)
    chosen: dict[str, Module] = {}

    def visit(name: str, required: bool, needed_by: str) -> None:
        if name in chosen or name in builtin:
            return
        # A soft dependency on a cryptographic algorithm names the algorithm; its plain form is NAME_generic.
        known = next((each for each in (name, f"{name}_generic") if each in files), None)
        if known is None:
            if required:
                raise UsageError(
                    "kernel module is missing", where=needed_by, expected=name, found="not in the kernel"
                )
            return
        if known in chosen:
            return
        module = _unpacked(files[known], kernel)
        hard, soft = _dependencies(module)
        for other in soft:
            visit(other, False, known)
        for other in hard:
            visit(other, True, known)
        chosen[known] = module

    for name in wanted:
        visit(module_name(name), True, "kernel.modules of the board")
    return tuple(chosen.values())


def _builtin(kernel: Mapping[str, Node]) -> frozenset[str]:
    names = set()
    for path, node in kernel.items():
        if posixpath.basename(path) == "modules.builtin" and isinstance(node, File):
            for line in node.data.decode().splitlines():
                names.add(module_name(posixpath.basename(line).removesuffix(".ko")))
    return frozenset(names)


def _unpacked(path: str, kernel: Mapping[str, Node]) -> Module:
    node = kernel[path]
    if not isinstance(node, File):
        raise PeerError("kernel module is not a file", where=path)
    try:
        match posixpath.splitext(path)[1]:
            case ".xz":
                return Module(path.removesuffix(".xz"), lzma.decompress(node.data))
            case ".gz":
                return Module(path.removesuffix(".gz"), gzip.decompress(node.data))
            case ".zst":
                plain = zstandard.ZstdDecompressor().decompressobj().decompress(node.data)
                return Module(path.removesuffix(".zst"), plain)
            case _:
                return Module(path, node.data)
    except (lzma.LZMAError, OSError, EOFError, zstandard.ZstdError) as e:
        raise PeerError("kernel module cannot be unpacked", where=path, found=str(e)) from e


def _dependencies(module: Module) -> tuple[list[str], list[str]]:
    """Names of what must, and of what should be loaded before the module."""
    try:
        section = ELFFile(io.BytesIO(module.data)).get_section_by_name(".modinfo")
        if section is None:
            raise PeerError("not a kernel module", where=module.path, expected="a .modinfo section")
        texts = section.data().decode("utf-8", errors="replace").split("\0")
    except ELFError as e:
        raise PeerError("not a kernel module", where=module.path, found=str(e)) from e
    hard: list[str] = []
    soft: list[str] = []
    for key, _, value in (text.partition("=") for text in texts):
        if key == "depends":
            hard += [module_name(name) for name in value.split(",") if name]
        elif key == "softdep" and "pre:" in value:
            before = value.split("pre:")[1].split("post:")[0]
            soft += [module_name(name) for name in before.split()]
    return hard, soft
