"""Modules out of Debian packages: the files that a manifest takes, and every library that those need.

Knows trees and kinds of files. Refuses to run anything out of a package, and to take what nobody asked for.
"""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from firmware_mgr.imaging.debs import read_deb
from firmware_mgr.imaging.tree import File, Folder, Link, Node, Tree
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.contents import MAX_MODE, ModuleKind
from firmware_mgr.package.paths import MERGED, merged_path
from firmware_mgr.packaging.build import ModuleSource
from firmware_mgr.packaging.closure import Closure, close_over, relative_target
from firmware_mgr.packaging.elf_facts import ELF_MAGIC, ElfFacts
from firmware_mgr.packaging.manifest import TakeEntry

_CONFIG = "etc/"


def read_debs(paths: Iterable[Path]) -> Tree:
    """All files of these packages as one tree, as a root with Debian's merged /usr has them.

    Raises UsageError when two differ in a path.
    """
    tree: Tree = {}
    owners: dict[str, Path] = {}
    for deb in paths:
        for name, found in read_deb(deb).items():
            path, node = merged_path(name), merged_node(merged_path(name), found)
            if isinstance(found, Link) and (name in MERGED or node == Link(f"/{path}")):
                continue  # a link of the root itself, or one from /usr/bin/x to what was /bin/x
            known = tree.get(path)
            both_folders = isinstance(known, Folder) and isinstance(node, Folder)
            if known is not None and known != node and not both_folders:
                raise UsageError(
                    "two Debian packages hold a path with different content",
                    where=path,
                    expected=f"as in {owners[path].name}",
                    found=f"another in {deb.name}",
                )
            tree[path] = node
            owners[path] = deb
    return tree


def merged_node(path: str, node: Node) -> Node:
    """A link that leads through /lib and its like leads there directly: the tree does not have these."""
    if not isinstance(node, Link):
        return node
    end = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), node.target)).lstrip("/")
    return node if merged_path(end) == end else Link("/" + merged_path(end))


def modules_for(tree: Tree, take: Sequence[TakeEntry], cpu: CpuArch) -> list[ModuleSource]:
    """The modules for one CPU. Raises UsageError when a path is not there or a library is missing."""
    asked: dict[str, TakeEntry] = {}
    for entry in take:
        for path in _matches(tree, entry.path):
            asked.setdefault(path, entry)
    closure = close_over(tree, asked, cpu)
    return [_source(path, node, closure, asked, cpu) for path, node in closure.nodes.items()]


def merge_cpus(modules: Mapping[CpuArch, Sequence[ModuleSource]]) -> list[ModuleSource]:
    """The modules of all CPUs as one list: what is the same for all of two or more CPUs is neutral.

    ELF files never are; with one CPU nothing is, since nothing tells.
    """
    listed = [module for group in modules.values() for module in group]
    if len(modules) < 2:
        return listed
    groups: dict[str, list[ModuleSource]] = {}
    for module in listed:
        groups.setdefault(module.path, []).append(module)
    merged: list[ModuleSource] = []
    for group in groups.values():
        neutral = {replace(module, cpu=None) for module in group}
        same = len(group) == len(modules) and len(neutral) == 1
        merged += neutral if same and not group[0].data.startswith(ELF_MAGIC) else group
    return merged


def _matches(tree: Tree, pattern: str) -> list[str]:
    found = [
        path
        for path in sorted(tree)
        if isinstance(tree[path], File | Link) and fnmatch.fnmatchcase(path, merged_path(pattern))
    ]
    if not found:
        raise UsageError(
            "no such file in the Debian packages",
            where="[debian] take",
            expected="a path or pattern of a file, such as usr/sbin/lighttpd",
            found=repr(pattern),
        )
    return found


def _source(
    path: str, node: Node, closure: Closure, asked: Mapping[str, TakeEntry], cpu: CpuArch
) -> ModuleSource:
    if isinstance(node, Link):
        target = relative_target(path, node.target)
        return ModuleSource(path, ModuleKind.SYMLINK, cpu=cpu, mode=MAX_MODE, link_target=target)
    if not isinstance(node, File):
        raise UsageError("a directory is in the place of a file", where=path, expected="a file or link")
    entry = asked.get(path)
    facts = closure.facts.get(path)
    return ModuleSource(
        path=path,
        kind=entry.kind if entry and entry.kind else kind_of(path, facts),
        data=node.data,
        cpu=cpu,
        mode=node.mode & MAX_MODE,
        function=entry.function if entry else "",
        provides=facts.provides if facts else (),
        consumes=facts.consumes if facts else (),
    )


def kind_of(path: str, facts: ElfFacts | None) -> ModuleKind:
    """What a file seems to be when nobody said it."""
    if facts is not None:
        is_library = facts.soname or ".so" in posixpath.basename(path) or not facts.interpreter
        return ModuleKind.SHARED_LIBRARY if is_library else ModuleKind.PROGRAM
    return ModuleKind.CONFIG if path.startswith(_CONFIG) else ModuleKind.DATA
