"""The .debs of one CPU laid over each other: what a package can carry, and a note for all that it cannot.

Knows what SPEC-package §4.2 allows. Refuses to know what a file is for.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from firmware_mgr.imaging.tree import File, Folder, Link, Node
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.contents import MAX_MODE
from firmware_mgr.package.paths import MERGED, check_link_target, check_place, merged_path
from firmware_mgr.packaging.closure import relative_target
from firmware_mgr.packaging.deb_file import DebPackage
from firmware_mgr.packaging.debian import merged_node
from firmware_mgr.packaging.debian_control import ALL
from firmware_mgr.packaging.import_notes import NoteKind, Notes
from firmware_mgr.packaging.tar_stream import EntryType, TarEntry

_SPECIAL = frozenset({EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE, EntryType.FIFO})
_SPECIAL_BITS = {0o4000: "set-user-id", 0o2000: "set-group-id", 0o1000: "sticky"}
#: A file's path to the reason why it stays behind, or None. Whoever asks says it.
LeaveOut = Callable[[str], tuple[str, str] | None]


@dataclass(frozen=True, slots=True)
class Placed:
    """A file, link or directory in its place. `neutral` ones come from a package for all architectures."""

    node: Node
    deb: str
    neutral: bool
    conffile: bool = False


DebTree = dict[str, Placed]


def lay_debs(debs: Iterable[DebPackage], cpu: CpuArch, leave_out: LeaveOut, notes: Notes) -> DebTree:
    """The files of these packages as a root with a merged /usr has them.

    Raises UsageError when two differ in a path, PeerError when one is unsound.
    """
    tree: DebTree = {}
    for deb in debs:
        layer = _Layer(tree, deb, cpu, leave_out, notes)
        nodes: dict[str, Node] = {}
        for entry in deb.entries:
            node = layer.node(entry, nodes)
            if node is not None:
                nodes[entry.path] = node
                layer.lay(entry, node)
    return tree


@dataclass(frozen=True, slots=True)
class _Layer:
    """One .deb that is laid over the tree."""

    tree: DebTree
    deb: DebPackage
    cpu: CpuArch
    leave_out: LeaveOut
    notes: Notes

    def node(self, entry: TarEntry, nodes: dict[str, Node]) -> Node | None:
        """What the entry is as a node of a tree; None for the root and for what no tree has."""
        if not entry.path:
            return None
        if entry.type in _SPECIAL:
            text = f"a {entry.type.value} cannot be in a package"
            self.notes.add(NoteKind.LEFT_OUT, entry.path, text, self.cpu)
            return None
        if entry.type is EntryType.HARD_LINK:
            target = "/".join(part for part in entry.link.split("/") if part not in ("", "."))
            node = nodes.get(target)
            if not isinstance(node, File):
                raise PeerError(
                    "hard link to nothing",
                    where=f"{self.deb.file}: {entry.path!r}",
                    expected="a file that stands before it",
                    found=repr(entry.link),
                )
            text = f"was a hard link to {target}, is a copy"
            self.notes.add(NoteKind.CHANGED, entry.path, text, self.cpu)
            return node
        if entry.type is EntryType.SYMLINK:
            return Link(entry.link)
        return Folder(entry.mode) if entry.type is EntryType.DIRECTORY else File(entry.data, entry.mode)

    def lay(self, entry: TarEntry, found: Node) -> None:
        """Put it in its place, unless it is to be left out."""
        path = merged_path(entry.path)
        node = merged_node(path, found) if isinstance(found, Link) else found
        if _belongs_to_root(entry.path, path, found, node):
            return
        reason = self.leave_out(path)
        if reason is not None:
            if not isinstance(node, Folder):
                self.notes.add(NoteKind.LEFT_OUT, *reason, self.cpu)
            return
        try:
            check_place(path)
            if isinstance(node, Link):
                node = Link(check_link_target(path, _target(path, node.target)))
        except UsageError as e:
            if not (isinstance(node, Folder) and "/" not in path):  # /run and its like are there anyhow
                text = ": ".join(part for part in (e.what, e.found) if part)
                self.notes.add(NoteKind.LEFT_OUT, path, f"a package cannot carry it: {text}", self.cpu)
            return
        self._place(path, self._plain(path, node, entry))

    def _place(self, path: str, node: Node) -> None:
        known = self.tree.get(path)
        if known is None:
            neutral = self.deb.control.architecture == ALL
            self.tree[path] = Placed(node, self.deb.label, neutral, path in self.deb.conffiles)
        elif known.node != node and not (isinstance(known.node, Folder) and isinstance(node, Folder)):
            raise UsageError(
                "two .debs hold a path with different content",
                where=path,
                expected=f"as in {known.deb}",
                found=f"another in {self.deb.label}",
                hint="leave one of them out, or [[drop]] the path in the extra manifest",
            )

    def _plain(self, path: str, node: Node, entry: TarEntry) -> Node:
        """Without bits, owners and attributes that a package has no room for."""
        if isinstance(node, Link):
            return node
        texts = [f"attribute is dropped: {extra}" for extra in entry.extras]
        bits = [name for bit, name in _SPECIAL_BITS.items() if node.mode & bit]
        if bits:
            texts.append(f"was {' and '.join(bits)} ({node.mode:04o}), is {node.mode & MAX_MODE:04o}")
        if entry.uid or entry.gid:
            texts.append(f"belonged to {entry.uid}:{entry.gid}, belongs to root")
        for text in texts:
            self.notes.add(NoteKind.CHANGED, path, text, self.cpu)
        return replace(node, mode=node.mode & MAX_MODE)


def _belongs_to_root(name: str, path: str, found: Node, node: Node) -> bool:
    """Links and directories that every root has, and links from /usr/bin/x to what was /bin/x."""
    if isinstance(found, Link):
        return name in MERGED or node == Link(f"/{path}")
    return isinstance(found, Folder) and path in MERGED.values()


def _target(path: str, target: str) -> str:
    """Relative, and without parts that lead nowhere; `..` stays where it is, since text cannot tell."""
    relative = relative_target(path, posixpath.normpath(target) if target.startswith("/") else target)
    return "/".join(part for part in relative.split("/") if part not in ("", "."))
