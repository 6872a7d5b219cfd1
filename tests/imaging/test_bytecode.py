"""Bytecode for the card: the same bytes whatever is compiled beside it, and usable without sources."""

from __future__ import annotations

import asyncio.base_events
import json.decoder
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from firmware_mgr.imaging.bytecode import CARD_MAGIC, card_interpreter, compile_sources, with_bytecode
from firmware_mgr.imaging.tree import File
from firmware_mgr.model.errors import UsageError


def source_of(module: object) -> bytes:
    return Path(str(vars(module)["__file__"])).read_bytes()


SOURCES = {
    "usr/lib/a/base_events.py": source_of(asyncio.base_events),
    "usr/lib/b/decoder.py": source_of(json.decoder),
    "usr/lib/c/typing.py": source_of(typing),
    "usr/lib/d/sets.py": b"X = {'a', 'b'}\ndef f(v):\n    return v in {'-', 'x', 'word', 7, 1.5, b'q'}\n",
}


def test_each_file_is_the_same_alone_and_among_others() -> None:
    together = compile_sources(SOURCES)
    for path, source in SOURCES.items():
        assert compile_sources({path: source})[path] == together[path]


def test_two_processes_with_different_pasts_agree() -> None:
    program = (
        "import hashlib, json, sys\n"
        "from firmware_mgr.imaging.bytecode import compile_sources\n"
        "import asyncio.base_events as a, typing\n"
        "sources = {f'x/{m.__name__}.py': open(m.__file__, 'rb').read() for m in (a, typing)}\n"
        "print({k: hashlib.sha256(v).hexdigest() for k, v in sorted(compile_sources(sources).items())})\n"
    )
    found = set()
    for seed, extra in (("1", ""), ("2", "import decimal, email.message, unittest.mock\n")):
        done = subprocess.run(
            [sys.executable, "-c", extra + program],
            check=False,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1


def test_bytecode_is_for_the_cards_python_and_never_compared_with_a_source() -> None:
    data = compile_sources({"m.py": b"x = 1\n"})["m.py"]
    assert data[:4] == CARD_MAGIC
    assert data[4:8] == b"\x01\0\0\0"


def test_a_module_is_imported_without_its_source_and_errors_name_its_place_on_the_card(
    tmp_path: Path,
) -> None:
    tree = with_bytecode(
        {"usr/lib/m.py": File(b"def f():\n    raise ValueError('here')\n"), "usr/lib/x.txt": File(b"")}
    )
    assert sorted(tree) == ["usr/lib/m.pyc", "usr/lib/x.txt"]
    node = tree["usr/lib/m.pyc"]
    assert isinstance(node, File)
    (tmp_path / "m.pyc").write_bytes(node.data)
    interpreter, _ = card_interpreter()
    done = subprocess.run(
        [interpreter, "-c", "import m; m.f()"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert 'File "/usr/lib/m.py", line 2, in f' in done.stderr
    assert "ValueError: here" in done.stderr


def test_a_file_that_does_not_compile_is_named() -> None:
    with pytest.raises(UsageError, match=r"usr/bad\.py: does not compile.*invalid syntax"):
        compile_sources({"usr/good.py": b"x = 1\n", "usr/bad.py": b"x = = 1\n"})
