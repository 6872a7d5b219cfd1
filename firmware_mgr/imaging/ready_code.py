"""The code of the agent's dataclasses, compiled when the image is built: `ready-code` beside the agent.

A dataclass writes the text of its methods and compiles it wherever its module is imported; a bytecode file
does not hold the result. That is a fifth of an agent's start (docs/adr/0010-ready-code.md). Here the modules
are imported once, the texts are compiled as bytecode files are, and the card finds code by the exact text.
What is not found is compiled as ever.

Layout: the magic number of the bytecode, then marshal's version 2 of a mapping from text to marshalled code.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from firmware_mgr.imaging.bytecode import CARD_MAGIC, ENVIRONMENT, card_interpreter, compile_texts
from firmware_mgr.imaging.cache import BuildCache
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import canonical_json

_WORKER = Path(__file__).with_name("text_worker.py")
#: Without references, which depend on what the interpreter did before.
_MARSHAL_VERSION = 2
_RESULT = "ready-code"


def importable(files: Iterable[Path]) -> list[Path]:
    """Those of the agent's files that can be imported without anything happening: not its programs."""
    return [path for path in files if path.parent.name != "app"]


def ready_code(source: Path, modules: Iterable[Path], cache: BuildCache) -> bytes | None:
    """The table for the agent's `modules`, files below the folder `source` (a `firmware_mgr`).

    None when this Python's dataclasses are not the card's: then the card compiles. Raises UsageError when the
    modules cannot be imported here.
    """
    if importlib.util.MAGIC_NUMBER != CARD_MAGIC:
        return None
    files = {path.relative_to(source).as_posix(): path for path in sorted(modules)}
    contents = {name: Digest.of(path.read_bytes()).hex for name, path in files.items()}
    code = [Digest.of(path.read_bytes()).hex for path in sorted(Path(__file__).parent.glob("*.py"))]
    made_from = {"modules": contents, "code": code, "python": [sys.version, card_interpreter()[1]]}

    def build(folder: Path) -> None:
        (folder / _RESULT).write_bytes(_table(_texts(source, list(files))))

    entry = cache.entry(_RESULT, Digest.of(canonical_json(made_from)), build)
    return (entry / _RESULT).read_bytes()


def _table(texts: list[str]) -> bytes:
    return CARD_MAGIC + marshal.dumps(dict(zip(texts, compile_texts(texts), strict=True)), _MARSHAL_VERSION)


def _texts(source: Path, names: list[str]) -> list[str]:
    """What the dataclasses of these modules have compiled, sorted."""
    modules = [
        ".".join((source.name, *Path(name).with_suffix("").parts)).removesuffix(".__init__") for name in names
    ]
    done = subprocess.run(
        [sys.executable, "-s", "-P", "-B", str(_WORKER)],
        input="\n".join([str(source.parent), *modules]).encode(),
        # The libraries of this process, wherever they are installed.
        env={**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise UsageError("the agent's modules cannot be imported here", where=str(source), found=reason)
    texts, rest = [], memoryview(done.stdout)
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        texts.append(bytes(rest[4 : 4 + length]).decode())
        rest = rest[4 + length :]
    return texts
