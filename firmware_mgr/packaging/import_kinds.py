"""What a file out of a .deb is: found out from its bytes, its place and who starts or needs it.

What was found maps to the kinds that packages have by a table. Refuses to know where files came from.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from enum import Enum

from firmware_mgr.imaging.tree import File, Folder, Link, Node
from firmware_mgr.package.contents import ModuleKind
from firmware_mgr.packaging.elf_facts import LOADABLE, ElfFacts


class Found(Enum):
    """What a file seems to be. The value is for people."""

    SERVER = "server binary"
    PROGRAM = "program"
    SCRIPT = "script"
    LIBRARY = "shared library"
    PLUGIN = "plugin"
    CONFIG = "config"
    DATA = "data"
    SYMLINK = "symlink"
    DIRECTORY = "directory"


#: As which kind each one goes into a package.
MODULE_KINDS: Mapping[Found, ModuleKind] = {
    Found.SERVER: ModuleKind.SERVER_BINARY,
    Found.PROGRAM: ModuleKind.PROGRAM,
    Found.SCRIPT: ModuleKind.PROGRAM,
    Found.LIBRARY: ModuleKind.SHARED_LIBRARY,
    Found.PLUGIN: ModuleKind.SHARED_LIBRARY,
    Found.CONFIG: ModuleKind.CONFIG,
    Found.DATA: ModuleKind.DATA,
    Found.SYMLINK: ModuleKind.SYMLINK,
    Found.DIRECTORY: ModuleKind.DIRECTORY,
}
_UNIT = re.compile(r"usr/lib/systemd/system/[^/]+\.service|etc/init\.d/[^/]+")
#: ExecStart= of systemd.service(5), with its prefixes, and the variable that Debian's init scripts use.
_STARTS = re.compile(r"^(?:ExecStart=[-@:+!]*|DAEMON=[\"']?)(/[^\s\"']+)", re.MULTILINE)
_SCRIPT = b"#!"
_ANY_EXECUTE = 0o111


def started_by(tree: Mapping[str, Node]) -> dict[str, str]:
    """Programs that systemd units or init scripts of the tree start: path to the unit."""
    started: dict[str, str] = {}
    for path in sorted(tree):
        node = tree[path]
        if _UNIT.fullmatch(path) and isinstance(node, File):
            for program in _STARTS.findall(node.data.decode("utf-8", "replace")):
                started.setdefault(program.lstrip("/"), path)
    return started


def find_kind(
    path: str, node: Node, facts: ElfFacts | None, *, starts: bool, linked: bool, conffile: bool
) -> Found:
    """What a file is. `starts`: something starts it; `linked`: it is a library by its place or use."""
    if isinstance(node, Link):
        return Found.SYMLINK
    if isinstance(node, Folder):
        return Found.DIRECTORY
    if facts is not None and facts.kind in LOADABLE:
        # The C library and the loader can be run too; they have names of their own as libraries.
        shared = facts.kind == "ET_DYN" and (bool(facts.soname) or not facts.interpreter)
        if shared and (facts.soname or ".so" in posixpath.basename(path) or not node.mode & _ANY_EXECUTE):
            return Found.LIBRARY if linked else Found.PLUGIN
        return Found.SERVER if starts else Found.PROGRAM
    if conffile or path.startswith("etc/"):
        return Found.CONFIG
    if node.data.startswith(_SCRIPT) and node.mode & _ANY_EXECUTE:
        return Found.SERVER if starts else Found.SCRIPT
    return Found.DATA


def script_interpreter(node: Node) -> str | None:
    """The program that a script is for: `/bin/sh`; of `/usr/bin/env NAME` the NAME."""
    if not isinstance(node, File) or not node.data.startswith(_SCRIPT) or not node.mode & _ANY_EXECUTE:
        return None
    words = node.data[len(_SCRIPT) :].partition(b"\n")[0].decode("utf-8", "replace").split()
    if not words:
        return None
    return words[1] if posixpath.basename(words[0]) == "env" and len(words) > 1 else words[0]
