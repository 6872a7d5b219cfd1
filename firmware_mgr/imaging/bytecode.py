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
from collections.abc import Mapping, Sequence
from pathlib import Path

from firmware_mgr.imaging.tree import File, Node, Tree
from firmware_mgr.model.errors import PeerError, UsageError

#: The first bytes of a bytecode file of CPython 3.11 (importlib.util.MAGIC_NUMBER: 3495).
CARD_MAGIC = struct.pack("<H", 3495) + b"\r\n"
#: Bytes before the code in a bytecode file (PEP 552).
BYTECODE_HEAD = 16
_WORKER = Path(__file__).with_name("compile_worker.py")
#: Nothing of this desk: no site packages, no environment, no current folder; a fixed order of sets.
ISOLATED = ("-s", "-S", "-P")
ENVIRONMENT = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}


@functools.cache
def card_interpreter() -> tuple[str, str]:
    """An interpreter here that writes the card's bytecode: its path and full version. Raises UsageError."""
    ask = "import importlib.util, sys; print(importlib.util.MAGIC_NUMBER.hex(), sys.version)"
    found = []
    for candidate in (sys.executable, shutil.which("python3.11")):
        if candidate is None:
            continue
        done = subprocess.run(
            [candidate, *ISOLATED, "-c", ask], env=ENVIRONMENT, capture_output=True, text=True, check=False
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
    paths = sorted(sources)
    return dict(zip(paths, _compiled([(f"/{path}", sources[path]) for path in paths]), strict=True))


def compile_texts(texts: Sequence[str]) -> list[bytes]:
    """The code of each text as marshal writes it, as if `exec` had been given the text."""
    return [data[BYTECODE_HEAD:] for data in _compiled([("<string>", text.encode()) for text in texts])]


def _compiled(sources: Sequence[tuple[str, bytes]]) -> list[bytes]:
    """The bytecode file of each source; the name goes into it."""
    interpreter, _ = card_interpreter()
    given = struct.pack(">I", len(sources))
    given += b"".join(_item(name.encode()) + _item(source) for name, source in sources)
    command = [interpreter, *ISOLATED, str(_WORKER)]
    done = subprocess.run(command, input=given, env=ENVIRONMENT, capture_output=True, check=False)
    result: list[bytes] = []
    rest = memoryview(done.stdout)
    for name, _ in sources:
        where = name.removeprefix("/")
        if len(rest) < 5:
            raise PeerError(
                "compiling stopped", where=where, found=done.stderr.decode(errors="replace").strip()
            )
        good, length = struct.unpack(">BI", rest[:5])
        data = bytes(rest[5 : 5 + length])
        rest = rest[5 + length :]
        if not good:
            raise UsageError("does not compile", where=where, found=data.decode(errors="replace"))
        result.append(data)
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
