"""Turns Python sources into bytecode for the card, the same bytes on every run.

Knows which bytecode the card's Python reads. Refuses to know where the sources come from; the compiling
itself is done by `compile_worker` in an interpreter of its own.
"""

from __future__ import annotations

import functools
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from firmware_mgr.imaging.tree import File, Node, Tree
from firmware_mgr.model.errors import PeerError, UsageError

#: The first bytes of a bytecode file of CPython 3.11 (importlib.util.MAGIC_NUMBER: 3495).
CARD_MAGIC = struct.pack("<H", 3495) + b"\r\n"
_WORKER = Path(__file__).with_name("compile_worker.py")
#: Nothing of this desk: no site packages, no environment, no current folder; a fixed order of sets.
_FLAGS = ("-s", "-S", "-P")
_ENVIRONMENT = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}


@functools.cache
def card_interpreter() -> tuple[str, str]:
    """An interpreter here that writes the card's bytecode: its path and full version. Raises UsageError."""
    ask = "import importlib.util, sys; print(importlib.util.MAGIC_NUMBER.hex(), sys.version)"
    found = []
    for candidate in (sys.executable, shutil.which("python3.11")):
        if candidate is None:
            continue
        done = subprocess.run(
            [candidate, *_FLAGS, "-c", ask], env=_ENVIRONMENT, capture_output=True, text=True, check=False
        )
        magic, _, version = done.stdout.strip().partition(" ")
        if magic == CARD_MAGIC.hex():
            return candidate, version
        found.append(f"{candidate}: {magic or done.stderr.strip()}")
    raise UsageError(
        "no Python here writes the card's bytecode",
        expected=f"CPython 3.11 (bytecode {CARD_MAGIC.hex()})",
        found=", ".join(found),
        hint="apt-get install python3.11, or run fwmgr with it",
    )


def compile_sources(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """Bytecode files by path of the source, which is also the file name that tracebacks on the card show.

    Raises UsageError when a file does not compile.
    """
    interpreter, _ = card_interpreter()
    paths = sorted(sources)
    given = struct.pack(">I", len(paths))
    given += b"".join(_item(f"/{path}".encode()) + _item(sources[path]) for path in paths)
    command = [interpreter, *_FLAGS, str(_WORKER)]
    done = subprocess.run(command, input=given, env=_ENVIRONMENT, capture_output=True, check=False)
    result: dict[str, bytes] = {}
    rest = memoryview(done.stdout)
    for path in paths:
        if len(rest) < 5:
            raise PeerError(
                "compiling stopped", where=path, found=done.stderr.decode(errors="replace").strip()
            )
        good, length = struct.unpack(">BI", rest[:5])
        data = bytes(rest[5 : 5 + length])
        rest = rest[5 + length :]
        if not good:
            raise UsageError("does not compile", where=path, found=data.decode(errors="replace"))
        result[path] = data
    return result


def with_bytecode(tree: Mapping[str, Node]) -> Tree:
    """The tree with each `x.py` replaced by `x.pyc` beside where it was (PEP 3147: import without source)."""
    sources = {
        path: node.data for path, node in tree.items() if path.endswith(".py") and isinstance(node, File)
    }
    result: Tree = {path: node for path, node in tree.items() if path not in sources}
    for path, data in compile_sources(sources).items():
        result[f"{path}c"] = File(data)
    return result


def _item(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
