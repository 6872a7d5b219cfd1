"""Code of dataclasses in the boot image: complete, equal in every build; one that is no good does no harm."""

from __future__ import annotations

import importlib.util
import json
import marshal
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_mgr.imaging.build import SHIPPED_SOURCE
from firmware_mgr.imaging.bytecode import CARD_MAGIC, compile_texts
from firmware_mgr.imaging.cache import BuildCache
from firmware_mgr.imaging.ready_code import importable, ready_code
from firmware_mgr.imaging.recipe import SHIPPED_BOOTIMAGES, load_recipe
from firmware_mgr.imaging.rootfs import READY_FILE, agent_files
from firmware_mgr.model.errors import UsageError

HOME = SHIPPED_BOOTIMAGES / "debian-card" / "files" / "usr" / "lib" / "fwmgr"
CLASS = "from dataclasses import dataclass\n\n@dataclass\nclass Point:\n    x: int\n    y: int = 2\n"
#: A process that takes the table, imports, and says which texts were compiled all the same.
PROGRAM = """
import builtins, dataclasses, json, sys
sys.path[:0] = [HOME, *sys.argv[2:]]
import ready
compiled = []
def told(text, *names):
    if isinstance(text, str):
        compiled.append(text)
    builtins.exec(text, *names)
ready.exec = told
ready.use(sys.argv[1])
import WHAT
print(json.dumps([compiled, WORDS]))
"""


@pytest.fixture
def cache(tmp_path: Path) -> BuildCache:
    return BuildCache(tmp_path / "cache")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "tree" / "firmware_mgr"
    (folder / "card").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "card" / "__init__.py").touch()
    (folder / "card" / "points.py").write_text(CLASS)
    return folder


def modules(source: Path) -> list[Path]:
    return sorted(source.rglob("*.py"))


def run(table: Path, what: str, words: str, *places: Path) -> tuple[list[str], object]:
    program = PROGRAM.replace("HOME", repr(str(HOME))).replace("WHAT", what).replace("WORDS", words)
    command = [sys.executable, "-B", "-c", program, str(table), *map(str, places)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    compiled, said = json.loads(done.stdout)
    return compiled, said


def point(table: Path, source: Path) -> list[str]:
    """How many texts were compiled when the class was made; it has to work."""
    words = "[repr(firmware_mgr.card.points.Point(1)), firmware_mgr.card.points.Point(1, 3).y]"
    compiled, said = run(table, "firmware_mgr.card.points", words, source.parent)
    assert said == ["Point(x=1, y=2)", 3]
    return compiled


def test_the_agents_dataclasses_compile_nothing_at_the_start(cache: BuildCache, tmp_path: Path) -> None:
    table = ready_code(SHIPPED_SOURCE, importable(agent_files(load_recipe(), SHIPPED_SOURCE)), cache)
    assert table is not None and table.startswith(CARD_MAGIC)
    assert len(marshal.loads(table[len(CARD_MAGIC) :])) > 500
    place = tmp_path / "table"
    place.write_bytes(table)
    compiled, _ = run(place, "firmware_mgr.app.agent", "0", SHIPPED_SOURCE.parent)
    # All that is left is other libraries' own.
    assert len(compiled) < 20, compiled


def test_a_table_is_used_and_two_builds_of_it_are_equal(
    source: Path, cache: BuildCache, tmp_path: Path
) -> None:
    table = ready_code(source, modules(source), cache)
    other = shutil.copytree(source, tmp_path / "elsewhere" / "firmware_mgr")
    assert table == ready_code(other, modules(other), BuildCache(tmp_path / "second cache"))
    assert table is not None
    place = tmp_path / "table"
    place.write_bytes(table)
    assert point(place, source) == []


def test_what_is_not_in_the_table_is_compiled(source: Path, cache: BuildCache, tmp_path: Path) -> None:
    table = ready_code(source, modules(source), cache)
    assert table is not None
    place = tmp_path / "table"
    place.write_bytes(table)
    (source / "card" / "points.py").write_text(CLASS.replace("y: int = 2", "z: int = 0\n    y: int = 2"))
    compiled, said = run(
        place, "firmware_mgr.card.points", "repr(firmware_mgr.card.points.Point(1))", source.parent
    )
    assert said == "Point(x=1, z=0, y=2)" and compiled


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        CARD_MAGIC,
        CARD_MAGIC[:2],
        CARD_MAGIC + b"\xff" * 40,
        CARD_MAGIC + marshal.dumps(["no", "mapping"]),
        b"\x00\x00\r\n" + marshal.dumps({}),
    ],
)
def test_a_table_that_is_no_good_changes_nothing(content: bytes | None, source: Path, tmp_path: Path) -> None:
    place = tmp_path / "table"
    if content is not None:
        place.write_bytes(content)
    point(place, source)


def test_code_of_a_text_is_what_exec_would_run() -> None:
    texts = ["a = 1 + 1\n", "def f(x='-'):\n  return x in {1, 2}\nb = f(2)\n"]
    names: dict[str, object] = {}
    for data in compile_texts(texts):
        exec(marshal.loads(data), names)
    assert (names["a"], names["b"]) == (2, True)
    assert marshal.loads(compile_texts(texts)[1]).co_filename == "<string>"


def test_modules_that_cannot_be_imported_here_end_the_build_and_nothing_of_it_is_kept(
    source: Path, cache: BuildCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "card" / "points.py").write_text(f"import a_library_of_the_agent\n{CLASS}")
    with pytest.raises(UsageError, match="cannot be imported here") as caught:
        ready_code(source, modules(source), cache)
    assert "a_library_of_the_agent" in str(caught.value.found)
    # It is installed now, in a place of this process's own.
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "a_library_of_the_agent.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    table = ready_code(source, modules(source), cache)
    assert table is not None and len(marshal.loads(table[len(CARD_MAGIC) :])) == 3


def test_only_damaged_code_is_compiled_again(source: Path, cache: BuildCache, tmp_path: Path) -> None:
    table = ready_code(source, modules(source), cache)
    assert table is not None
    whole = marshal.loads(table[len(CARD_MAGIC) :])
    place = tmp_path / "table"
    for damage in (b"", b"\xff" * 20, 7, None, marshal.dumps(None), marshal.dumps("x")):
        spoilt = {text: damage if number == 1 else code for number, (text, code) in enumerate(whole.items())}
        place.write_bytes(CARD_MAGIC + marshal.dumps(spoilt, 2))
        assert point(place, source) == [list(whole)[1]]


def test_the_card_looks_for_the_table_where_the_image_has_it() -> None:
    assert f'"{READY_FILE}"' in (HOME / "__main__.py").read_text()


def test_another_python_makes_no_table(
    source: Path, cache: BuildCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "MAGIC_NUMBER", b"\x00\x00\r\n")
    assert ready_code(source, modules(source), cache) is None
