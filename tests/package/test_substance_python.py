"""Python bytecode: equal when compiled elsewhere, at another time; different for all that can matter."""

from __future__ import annotations

import importlib.util
import marshal
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.substance_python import MAX_SIZE, PYTHON_MAGIC, python_signature
from firmware_mgr.package.substantive import substantive_signature

SOURCE = '''
"""A module with some of everything."""
import os.path as p
LARGE = 1 << 70, -5, 2.5, 1j, b"bytes", "größe", None, ..., frozenset({"a", "b"})
def outer(x, *, y=3):
    def inner(z):
        return lambda: (x, y, z, LARGE)
    return [inner(n) for n in range(x)] if x in (1, 2, (3, "four")) else {**{"k": inner}}
class C:
    text = "text" * 2
    async def m(self):
        async with self as one:
            yield one
'''
CACHED = "usr/lib/python3/m/__pycache__/mod.cpython-311.pyc"
LOOSE = "usr/lib/python3/m/mod.pyc"


def compiled(folder: Path, source: str = SOURCE, when: int = 1_600_000_000, mode: str = "TIMESTAMP") -> bytes:
    """What `compileall` makes of the source in that folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mod.py"
    path.write_text(source)
    os.utime(path, (when, when))
    made = py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode[mode], doraise=True)
    return Path(str(made)).read_bytes()


@pytest.fixture(scope="module")
def pyc(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compiled(tmp_path_factory.mktemp("pyc"))


def test_this_python_is_the_one_that_the_rule_knows() -> None:
    assert importlib.util.MAGIC_NUMBER == PYTHON_MAGIC


def test_compiled_in_two_folders_at_two_times_it_is_equal(tmp_path: Path) -> None:
    made = []
    for name, when in (("one", "2020-01-01"), ("another/much longer folder", "2024-06-01")):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "mod.py").write_text(SOURCE)
        subprocess.run(["touch", "-d", when, folder / "mod.py"], check=True)
        subprocess.run([sys.executable, "-m", "compileall", "-q", folder], check=True)
        (found,) = (folder / "__pycache__").iterdir()
        made.append(found.read_bytes())
    first, second = made
    assert first != second
    assert substantive_signature(first, CACHED) == substantive_signature(second, CACHED)
    assert substantive_signature(first, CACHED) != Digest.of(first)
    # Without its source it keeps the path that is written in it: a program can read that.
    assert substantive_signature(first, LOOSE) != substantive_signature(second, LOOSE)


def test_a_whole_standard_package_compiled_in_two_folders_is_equal(tmp_path: Path) -> None:
    import json as package

    signatures: list[dict[str, Digest]] = []
    for name in ("a", "b/c"):
        folder = tmp_path / name
        folder.parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", Path(package.__file__).parent, folder], check=True)  # type: ignore[arg-type]
        subprocess.run([sys.executable, "-m", "compileall", "-q", "-f", folder], check=True)
        found = (folder / "__pycache__").glob("*.pyc")
        signatures.append({one.name: substantive_signature(one.read_bytes(), CACHED) for one in found})
        plain = [Digest.of(one.read_bytes()) for one in (folder / "__pycache__").glob("*.pyc")]
        assert not set(plain) & set(signatures[-1].values())
    assert signatures[0] == signatures[1] and len(signatures[0]) >= 4


def test_another_source_is_another_signature(tmp_path: Path, pyc: bytes) -> None:
    replaced = SOURCE.replace("2.5", "2.6"), SOURCE.replace("inner", "innex")
    for changed in (*replaced, SOURCE + "\n\nx = 1", "\n" + SOURCE):
        other = compiled(tmp_path / str(len(changed)), changed)
        assert substantive_signature(other, CACHED) != substantive_signature(pyc, CACHED)


def test_size_and_hash_of_the_source_and_the_kind_of_file_count(tmp_path: Path, pyc: bytes) -> None:
    checked, unchecked = (compiled(tmp_path, mode=f"{kind}_HASH") for kind in ("CHECKED", "UNCHECKED"))
    signatures = {substantive_signature(one, CACHED) for one in (pyc, checked, unchecked)}
    assert len(signatures) == 3
    for at in (*range(4, 8), *range(12, 16)):
        other = bytearray(checked)
        other[at] ^= 1
        assert substantive_signature(bytes(other), CACHED) not in signatures
    for at in range(8, 12):
        later, other = bytearray(pyc), bytearray(checked)
        later[at] ^= 1
        other[at] ^= 1
        assert substantive_signature(bytes(later), CACHED) == substantive_signature(pyc, CACHED)
        assert substantive_signature(bytes(other), CACHED) not in signatures


def test_a_path_that_the_import_system_leaves_alone_counts(tmp_path: Path) -> None:
    """Code objects with another path than the outermost, as templates and `exec` make them."""
    inner = compile("def f(): pass", "/template-1", "exec")

    def file(path: str) -> bytes:
        outer = compile("x = 1", path, "exec").replace(co_consts=(inner, None))
        return PYTHON_MAGIC + bytes(12) + marshal.dumps(outer)

    assert substantive_signature(file("/a"), CACHED) == substantive_signature(file("/other"), CACHED)
    assert inner.co_filename == "/template-1"
    plain = file("/a")
    other = plain.replace(b"/template-1", b"/template-2")
    assert substantive_signature(plain, CACHED) != substantive_signature(other, CACHED)


def test_a_path_below_one_that_is_left_alone_is_left_alone_too() -> None:
    """The import system does not look into a code object that has another path."""

    def file(path: str) -> bytes:
        inner = compile("def f(): pass", path, "exec")
        middle = compile("y = 1", "/template", "exec").replace(co_consts=(inner, None))
        outer = compile("x = 1", path, "exec").replace(co_consts=(middle, None))
        return PYTHON_MAGIC + bytes(12) + marshal.dumps(outer)

    assert substantive_signature(file("/a"), CACHED) != substantive_signature(file("/b"), CACHED)


@pytest.mark.parametrize(
    ("path", "leaves_out"),
    [
        ("__pycache__/a.cpython-311.pyc", True),
        ("m/__pycache__/a.b.cpython-311.pyc", True),
        ("m/__pycache__/a.cpython-311.opt-1.pyc", True),
        ("m/__pycache__/a.cpython-311.opt-2.pyc", True),
        ("m/__pycache__/a.pyc", False),
        ("m/__pycache__/a.cpython-312.pyc", False),
        ("m/__pycache__/a.cpython-311.pyc.old", False),
        ("m/__pycache__/a.cpython-311.opt-x.pyc", False),
        ("m/__pycache__/.cpython-311.pyc", False),
        ("m/__pycache__/b/a.cpython-311.pyc", False),
        ("m/x__pycache__/a.cpython-311.pyc", False),
        ("m/a.cpython-311.pyc", False),
    ],
)
def test_the_path_is_left_out_only_where_the_import_system_overwrites_it(path: str, leaves_out: bool) -> None:
    one, two = (
        PYTHON_MAGIC + bytes(12) + marshal.dumps(compile("x = 1", source, "exec")) for source in ("/a", "/b")
    )
    assert (substantive_signature(one, path) == substantive_signature(two, path)) is leaves_out


def test_the_same_bytes_as_latin_1_and_as_utf_8_are_two_texts() -> None:
    """A code object within, whose path is the outermost's by its bytes and another by its type."""
    path = "/größe"
    inner = compile("def f(): pass", path, "exec")
    outer = compile("x = 1", path, "exec").replace(co_consts=(inner, None))
    plain = PYTHON_MAGIC + bytes(12) + marshal.dumps(outer, 0)  # 0: no references
    raw = path.encode()
    text = b"u" + len(raw).to_bytes(4, "little") + raw
    assert plain.count(text) >= 2
    assert python_signature(plain, cached=True) is not None
    for kind, size in ((b"a", 4), (b"A", 4), (b"z", 1), (b"Z", 1)):
        other = plain.replace(text, kind + len(raw).to_bytes(size, "little") + raw, 1)
        assert python_signature(other, cached=True) is None, kind
        assert python_signature(other.replace(raw, b"/groesse"), cached=True) is not None, kind


def test_a_constant_that_equals_the_path_counts(tmp_path: Path) -> None:
    def file(path: str, constant: str) -> bytes:
        code = compile(f"x = {constant!r}", path, "exec")
        return PYTHON_MAGIC + bytes(12) + marshal.dumps(code)

    one, two, three = file("/a/b", "/a/b"), file("/a/c", "/a/b"), file("/a/c", "/a/c")
    assert substantive_signature(one, CACHED) == substantive_signature(two, CACHED)
    assert substantive_signature(two, CACHED) != substantive_signature(three, CACHED)


@pytest.mark.parametrize("path", [CACHED, LOOSE])
@settings(deadline=None, max_examples=400)
@given(data=st.data())
def test_any_changed_byte_that_does_not_count_leaves_the_same_code(
    pyc: bytes, path: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(pyc) - 1))
    other = bytearray(pyc)
    other[at] ^= data.draw(st.integers(1, 255))
    if substantive_signature(bytes(other), path) != substantive_signature(pyc, path):
        return
    if 8 <= at < 12:
        return
    name = marshal.loads(pyc[16:]).co_filename.encode()
    if (
        path == CACHED
        and pyc.count(name) == 1
        and at in range(pyc.index(name) - 2, pyc.index(name) + len(name))
    ):
        return
    assert marshal.loads(bytes(other[16:])) == marshal.loads(pyc[16:])


def test_every_cut_is_odd_and_so_is_anything_behind(pyc: bytes) -> None:
    for length in range(len(pyc)):
        assert python_signature(pyc[:length], cached=True) is None
    assert python_signature(pyc + b"N", cached=True) is None


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_behind_the_header_are_walked_without_trouble(noise: bytes) -> None:
    for raw in (noise, b"\xe3" + noise, b"\xe3" + bytes(20) + noise):
        substantive_signature(PYTHON_MAGIC + bytes(12) + raw, CACHED)


def test_very_large_bytecode_is_odd() -> None:
    """What is noted of each object would take many times its bytes."""
    for size, is_odd in ((MAX_SIZE, False), (MAX_SIZE + 1, True)):
        code = marshal.dumps(compile("x = 1", "a", "exec").replace(co_consts=(b"",)), 0)
        filler = bytes(size - 16 - len(code))
        data = (
            PYTHON_MAGIC
            + bytes(12)
            + code.replace(b"s\0\0\0\0", b"s" + len(filler).to_bytes(4, "little") + filler, 1)
        )
        assert len(data) == size
        assert (python_signature(data, cached=True) is None) is is_odd


def test_nesting_and_counts_beyond_all_bounds_are_odd() -> None:
    for raw in (b"(\1\0\0\0" * 100_000, b"(\xff\xff\xff\xff" + b"N" * 1000, b"{" * 10_000, b"l\0\0\0\x80"):
        assert python_signature(PYTHON_MAGIC + bytes(12) + raw, cached=True) is None
