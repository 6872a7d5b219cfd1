"""Which files of a tree a program needs: its loader, its libraries, and theirs, with the links to them.

Looks where glibc's loader looks (ld.so(8)): RPATH or RUNPATH, then Debian's default directories. Refuses to
guess: a library that is not found is an error that says who wants it. What is opened at run time by name is
for a person to list.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from firmware_mgr.imaging.tree import File, Link, Node, Tree, resolve
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.contents import ModuleKind, TableOfContents
from firmware_mgr.package.paths import merged_path
from firmware_mgr.packaging.elf_facts import ElfFacts, read_elf

#: Debian's directory of libraries per CPU (its Multiarch specification).
TRIPLET = {
    CpuArch.AARCH64: "aarch64-linux-gnu",
    CpuArch.ARMV7: "arm-linux-gnueabihf",
    CpuArch.X86_64: "x86_64-linux-gnu",
}
MAX_LINKS = 40  # Linux gives up after as many (path_resolution(7))


@dataclass(frozen=True, slots=True)
class Closure:
    """Everything needed, in order of path: files and links, and the facts of those that are ELF."""

    nodes: Mapping[str, Node]
    facts: Mapping[str, ElfFacts]


def library_directories(cpu: CpuArch) -> tuple[str, ...]:
    """Where glibc's loader looks on Debian when nothing else is said, as paths in a tree."""
    triplet = TRIPLET[cpu]
    return (f"usr/lib/{triplet}", "usr/lib")


def close_over(tree: Tree, starts: Iterable[str], cpu: CpuArch) -> Closure:
    """The starts and all that they need. Raises UsageError: a file is missing, or is for another CPU."""
    nodes: dict[str, Node] = {}
    facts: dict[str, ElfFacts] = {}
    waiting = [(path, "the manifest") for path in starts]
    while waiting:
        wanted, wanter = waiting.pop()
        for path in _follow(tree, wanted, wanter):
            if path in nodes:
                continue
            node = nodes[path] = tree[path]
            elf = read_elf(node.data, path) if isinstance(node, File) else None
            if elf is None:
                continue
            if elf.cpu is not cpu:
                raise UsageError(
                    "program or library for another CPU", where=path, expected=cpu.value, found=elf.machine
                )
            facts[path] = elf
            waiting += [(needed, path) for needed in _needed(tree, path, elf, cpu)]
    return Closure({path: nodes[path] for path in sorted(nodes)}, facts)


def missing_libraries(toc: TableOfContents, cpu: CpuArch) -> dict[str, tuple[str, ...]]:
    """What modules for this CPU want loaded and the package does not hold: path to names."""
    modules = [module for module in toc.modules if module.cpu in (None, cpu)]
    held = {name for module in modules for name in module.provides}
    # A link's name counts too: the loader opens files by name, whatever they call themselves.
    held |= {
        "so:" + posixpath.basename(module.path)
        for module in modules
        if module.kind in (ModuleKind.SHARED_LIBRARY, ModuleKind.SYMLINK)
    }
    wants = {
        module.path: tuple(name for name in module.consumes if name.startswith("so:") and name not in held)
        for module in modules
    }
    return {path: names for path, names in wants.items() if names}


def _needed(tree: Tree, path: str, elf: ElfFacts, cpu: CpuArch) -> list[str]:
    origin = "/" + posixpath.dirname(path)
    searched = [
        merged_path(
            posixpath.normpath(place.replace("$ORIGIN", origin).replace("${ORIGIN}", origin)).lstrip("/")
        )
        for place in elf.search
        if place
    ]
    searched += library_directories(cpu)
    found = [merged_path(elf.interpreter.lstrip("/"))] if elf.interpreter else []
    for name in elf.needed:
        places = [posixpath.join(folder, name) for folder in searched]
        place = next((place for place in places if resolve(tree, place) is not None), None)
        if place is None:
            raise UsageError(
                f"library {name} is missing",
                where=f"{path} ({cpu.value})",
                expected="in " + ", ".join("/" + folder for folder in searched),
                found="in none of them",
                hint="add the Debian package that holds it to [debian] packages",
            )
        found.append(place)
    return found


def _follow(tree: Tree, path: str, wanter: str) -> list[str]:
    """The links on the way from `path`, and the file or directory at their end."""
    links: list[str] = []
    current = path
    while len(links) <= MAX_LINKS:
        step = _first_link(tree, current)
        if step is None:
            if current not in tree:
                raise UsageError("file is missing", where=wanter, expected=path, found=f"no {current}")
            return [*links, current]
        links.append(step)
        link = tree[step]
        assert isinstance(link, Link)
        rest = current[len(step) :].lstrip("/")
        base = "" if link.target.startswith("/") else posixpath.dirname(step)
        current = posixpath.normpath(posixpath.join(base, link.target.lstrip("/"), rest))
    raise UsageError("links lead in a circle", where=wanter, found=path)


def _first_link(tree: Tree, path: str) -> str | None:
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        prefix = "/".join(parts[:count])
        if isinstance(tree.get(prefix), Link):
            return prefix
    return None


def relative_target(path: str, target: str) -> str:
    """The target of the link at `path`, seen from its directory, if it was absolute in its root."""
    if not target.startswith("/"):
        return target
    return posixpath.relpath(target.lstrip("/") or ".", posixpath.dirname(path) or ".")
