"""Puts the card's first root file system together, as a tree: userland, kernel modules, agent, site's trust.

Knows which files a card needs and where they lie. Refuses to know where packages come from, how the tree is
packed and what boots it.
"""

from __future__ import annotations

import fnmatch
import io
import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from firmware_mgr.imaging.board import Board
from firmware_mgr.imaging.bytecode import with_bytecode
from firmware_mgr.imaging.modules import Module
from firmware_mgr.imaging.recipe import Recipe
from firmware_mgr.imaging.tree import File, Folder, Link, Node, Tree, resolve
from firmware_mgr.model.errors import UsageError

#: Where the agent and what it is told at build time lie on the card.
AGENT_HOME = "usr/lib/fwmgr"
#: In the agent's folder: see `ready_code`.
READY_FILE = "ready-code"
SETTINGS = "etc/fwmgr"
TRUST_FILES = ("authority.pem", "keys.json")
#: Where the site has one (SPEC-trust).
ROOT_FILE = "root.json"
AGENT_FORMAT = 1
#: The Python 3 for which code is compiled here; the oldest that the agent runs on.
BYTECODE_MINOR = 11

#: Debian's packages still name these; on a card, as on an installed Debian 12, they are links into /usr.
MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
_MOUNT_POINTS = ("dev", "mnt", "proc", "root", "run", "sys", "tmp", "var")
_CARD_PYTHON = re.compile(r"^(?:usr/)?(?:local/)?lib/python3\.(?P<minor>\d+)/os\.pyc?$")
#: What the agent imports besides the standard library.
_AGENT_LIBRARIES = ("construct", "crcmod", "cryptography", "zstandard")


def merged(tree: Mapping[str, Node]) -> Tree:
    """The tree with /bin, /sbin and /lib moved into /usr, and links in their places."""
    result: Tree = {}
    for path, node in tree.items():
        head, _, rest = path.partition("/")
        if head not in MERGED:
            result[path] = node
        elif rest:
            result[f"{MERGED[head]}/{rest}"] = node
    for head, target in MERGED.items():
        if any(path.startswith(f"{target}/") for path in result):
            result[head] = Link(target)
    return result


def debian_userland(packages: Iterable[Mapping[str, Node]], recipe: Recipe) -> Tree:
    """The files that the recipe keeps of the packages, with the libraries they ask for and Python compiled.

    Raises UsageError when a library or a kept pattern is in none of the packages.
    """
    everything: Tree = {}
    for package in packages:
        everything.update(merged(package))
    keep, drop = (_pattern(recipe.userland.keep), _pattern(recipe.userland.drop))
    files = {
        path: node
        for path, node in everything.items()
        if keep.fullmatch(path) and not drop.fullmatch(path) and not isinstance(node, Folder)
    }
    for pattern in recipe.userland.keep:
        if not fnmatch.filter(files, pattern):
            raise UsageError("recipe keeps what no package holds", where="userland.keep", found=pattern)
    tree = with_bytecode(_with_libraries(files, everything))
    for head, target in MERGED.items():
        if any(path.startswith(f"{target}/") for path in tree):
            tree[head] = Link(target)
    for name in recipe.busybox.applets:
        tree.setdefault(f"usr/bin/{name}", Link("busybox"))
    return tree


def base_tree(userland: Mapping[str, Node], modules: Sequence[Module], recipe: Recipe) -> Tree:
    """Everything that is the same at every site: userland, kernel modules, init and its files.

    An own root file system keeps its own files where it has them, `/init` too, except those of the agent.
    """
    tree: Tree = {path: Folder() for path in _MOUNT_POINTS}
    tree.update(userland)
    for path, node in recipe.files.items():
        if path.startswith((SETTINGS, AGENT_HOME)) or path not in tree:
            tree[path] = node
    for module in modules:
        tree[module.path] = File(module.data)
    tree[f"{SETTINGS}/modules"] = File("".join(f"/{module.path}\n" for module in modules).encode())
    if any(path.endswith(".py") for path in recipe.files) and python_minor(userland) == BYTECODE_MINOR:
        home = {path: node for path, node in tree.items() if path.startswith(f"{AGENT_HOME}/")}
        tree = {path: node for path, node in tree.items() if path not in home} | with_bytecode(home)
    return tree


@dataclass(frozen=True, slots=True)
class SiteInputs:
    """What an image is made of besides its base.

    `source` is the folder `firmware_mgr` of a source tree, `trust` that of the site's public certificate and
    keys, `built` seconds since 1970, `python_minor` 11 for a card with Python 3.11, `ready` the compiled code
    of dataclasses (`ready_code`).
    """

    source: Path
    trust: Path
    version: str
    built: int
    python_minor: int
    takes_test: bool = False
    ready: bytes | None = None


def site_tree(board: Board, recipe: Recipe, site: SiteInputs) -> Tree:
    """What differs by site and by version of the agent: its code, its settings, whom it trusts.

    Raises UsageError when the agent or a file of the trust is missing.
    """
    code: Tree = {
        f"{AGENT_HOME}/firmware_mgr/{path.relative_to(site.source).as_posix()}": File(path.read_bytes())
        for path in agent_files(recipe, site.source)
    }
    if f"{AGENT_HOME}/firmware_mgr/app/agent.py" not in code:
        raise UsageError("the agent's program is missing", where=str(site.source), expected="app/agent.py")
    # Bytecode fits one version of Python; an own root file system may have another.
    tree = with_bytecode(code) if site.python_minor == BYTECODE_MINOR else code
    if site.ready is not None:
        tree[f"{AGENT_HOME}/{READY_FILE}"] = File(site.ready)
    tree[f"{SETTINGS}/agent.json"] = File(_settings(board, site))
    has_root = (site.trust / ROOT_FILE).exists()
    for name in (*TRUST_FILES, ROOT_FILE) if has_root else TRUST_FILES:
        tree[f"{SETTINGS}/trust/{name}"] = File(trust_file(site.trust, name))
    return tree


def agent_files(recipe: Recipe, source: Path) -> list[Path]:
    """What runs on the card, of the folder `firmware_mgr` of a source tree."""
    return [path for pattern in recipe.agent.sources for path in sorted(source.glob(pattern))]


def trust_file(trust: Path, name: str) -> bytes:
    """A file of the site's trust, for every card to read. Raises UsageError when missing or a secret."""
    path = trust / name
    try:
        data = path.read_bytes()
    except OSError as e:
        raise UsageError(
            "the site's trust is incomplete",
            where=str(path),
            expected=name,
            found=e.strerror,
            hint="name the folder trust in the master's directory: fwmgr master trust writes it",
        ) from e
    if b"PRIVATE KEY" in data:
        raise UsageError(
            "a private key must not go into a boot image", where=str(path), expected="public parts only"
        )
    return data


def python_minor(userland: Mapping[str, Node]) -> int:
    """12 for Python 3.12. Raises UsageError when the tree has no Python 3."""
    for path in userland:
        if match := _CARD_PYTHON.match(path):
            return int(match["minor"])
    raise UsageError("root file system has no Python", expected="usr/lib/python3.11/os.py or its like")


def check_own_userland(userland: Mapping[str, Node], where: str) -> None:
    """Raises UsageError that lists what an own root file system lacks of what init and the agent need."""
    lacking = [
        name
        for name in ("bin/busybox", "bin/python3")
        if resolve(userland, name) is None and resolve(userland, f"usr/{name}") is None
    ]
    try:
        minor = python_minor(userland)
    except UsageError:
        minor = 0
    if minor < BYTECODE_MINOR:
        lacking.append("Python 3.11 or later")
    for library in _AGENT_LIBRARIES:
        pattern = re.compile(rf"/(?:dist|site)-packages/{library}(?:/__init__|\.)")
        if not any(pattern.search(path) for path in userland):
            lacking.append(f"Python's {library}")
    if lacking:
        raise UsageError(
            "root file system lacks what the agent needs", where=where, expected=", ".join(lacking)
        )


def _settings(board: Board, site: SiteInputs) -> bytes:
    document = {
        "format": AGENT_FORMAT,
        "board": board.name,
        "cpu": board.cpu.value,
        "version": site.version,
        "build_date": site.built,
        "console": board.console.device,
        "slot_register": "" if board.slot is None else board.slot.path,
        "slot_fw_cfg": None
        if board.slot is None or board.slot.fw_cfg_address is None
        else {"address": board.slot.fw_cfg_address, "name": board.slot.fw_cfg},
        "tries": board.control.tries,
        "loader": board.firmware.loader,
        "flash": {
            "device": board.flash.device,
            "control": board.flash.control,
            "boot": board.flash.boot,
            "store": board.flash.store or 0,
            "state": board.flash.state,
            "data": board.flash.data or 0,
        },
    }
    if site.takes_test:
        document["takes_test"] = True
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


def _pattern(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns))


def _with_libraries(files: Mapping[str, Node], everything: Mapping[str, Node]) -> Tree:
    """The files, with the targets of links and the shared libraries that programs and libraries ask for."""
    folders = sorted({posixpath.dirname(path) for path in everything if ".so" in path})
    tree: Tree = {}
    waiting = sorted(files, reverse=True)
    while waiting:
        path = waiting.pop()
        if path in tree:
            continue
        tree[path] = node = everything[path]
        if isinstance(node, Link):
            target = resolve(everything, path)
            if target is None:
                raise UsageError("link leads nowhere", where=path, found=node.target)
            waiting.append(target)
        elif isinstance(node, File) and node.data.startswith(b"\x7fELF"):
            for name in _asked_for(path, node.data):
                if name.startswith("/"):
                    head, _, rest = name.strip("/").partition("/")
                    places = [f"{MERGED.get(head, head)}/{rest}"]
                else:
                    places = [f"{folder}/{name}" for folder in folders]
                place = next((each for each in places if each in everything), None)
                if place is None:
                    raise UsageError("shared library is in no package", where=path, expected=name)
                waiting.append(place)
    return tree


def _asked_for(path: str, data: bytes) -> list[str]:
    """Names of libraries (DT_NEEDED), and the path of the program interpreter (PT_INTERP)."""
    try:
        elf = ELFFile(io.BytesIO(data))
        found: list[str] = []
        for segment in elf.iter_segments():
            if isinstance(segment, InterpSegment):
                found.append(str(segment.get_interp_name()))
            elif isinstance(segment, DynamicSegment):
                # pyelftools gives each tag the text it points to under a name of its own.
                found += [str(vars(tag)["needed"]) for tag in segment.iter_tags("DT_NEEDED")]
    except ELFError as e:
        raise UsageError("not a readable program or library", where=path, found=str(e)) from e
    return found
