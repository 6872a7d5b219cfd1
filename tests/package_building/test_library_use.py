"""Which library a process gets is worked out as the loader does it."""

from __future__ import annotations

from collections.abc import Mapping

from firmware_mgr.imaging.tree import File, Link, Node
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.packaging.elf_facts import read_elf
from firmware_mgr.packaging.library_use import Loader

from .elf_programs import program

LIB = "usr/lib/aarch64-linux-gnu"


def loader(tree: Mapping[str, Node]) -> Loader:
    facts = {
        path: found
        for path, node in tree.items()
        if isinstance(node, File) and (found := read_elf(node.data, path)) is not None
    }
    return Loader(tree, facts, CpuArch.AARCH64)


def elf(*needed: str, cpu: CpuArch = CpuArch.AARCH64, **words: str) -> File:
    return File(program(*needed, cpu=cpu, **words), 0o755)


def test_direct_and_indirect_use_are_told_apart_and_links_followed() -> None:
    tree: dict[str, Node] = {
        "usr/bin/x": elf("liba.so.1", interpreter="/lib/ld.so"),
        "usr/lib/ld.so": elf(soname="ld.so"),
        f"{LIB}/liba.so.1": Link("liba.so.1.2"),
        f"{LIB}/liba.so.1.2": elf("libb.so", "libgone.so", soname="liba.so.1"),
        f"{LIB}/libb.so": elf(soname="libb.so"),
    }
    use = loader(tree).use("usr/bin/x")
    assert use.direct == {"ld.so": "usr/lib/ld.so", "liba.so.1": f"{LIB}/liba.so.1.2"}
    assert use.every == {**use.direct, "libb.so": f"{LIB}/libb.so", "libgone.so": None}


def test_a_runpath_is_of_its_own_file_only() -> None:
    tree: dict[str, Node] = {
        "opt/x/bin/x": elf("liba.so", runpath="$ORIGIN/../lib"),
        "opt/x/lib/liba.so": elf("libb.so", soname="liba.so"),
        "opt/x/lib/libb.so": elf(soname="libb.so"),
    }
    assert loader(tree).use("opt/x/bin/x").every == {"liba.so": "opt/x/lib/liba.so", "libb.so": None}


def test_an_rpath_counts_for_what_is_loaded_too_unless_that_has_a_runpath() -> None:
    tree: dict[str, Node] = {
        "opt/x/bin/x": elf("liba.so", "libc.so", rpath="${ORIGIN}/../lib"),
        "opt/x/lib/liba.so": elf("libb.so", soname="liba.so"),
        "opt/x/lib/libb.so": elf(soname="libb.so"),
        "opt/x/lib/libc.so": elf("libd.so", soname="libc.so", runpath="/elsewhere"),
        "opt/x/lib/libd.so": elf(soname="libd.so"),
    }
    every = loader(tree).use("opt/x/bin/x").every
    assert every["libb.so"] == "opt/x/lib/libb.so"
    assert every["libd.so"] is None


def test_an_rpath_beside_a_runpath_does_not_count() -> None:
    tree: dict[str, Node] = {
        "usr/bin/x": elf("liba.so", rpath="/opt", runpath="/srv"),
        "opt/liba.so": elf(soname="liba.so"),
    }
    assert loader(tree).use("usr/bin/x").direct == {"liba.so": None}


def test_a_name_that_is_loaded_already_is_not_looked_for_again() -> None:
    tree: dict[str, Node] = {
        "usr/bin/x": elf("liba.so", "libb.so"),
        f"{LIB}/liba.so": elf(soname="liba.so"),
        f"{LIB}/libb.so": elf("liba.so", soname="libb.so", runpath="/opt"),
        "opt/liba.so": elf(soname="liba.so"),
    }
    assert loader(tree).use("usr/bin/x").every["liba.so"] == f"{LIB}/liba.so"
    assert loader(tree).use(f"{LIB}/libb.so").every["liba.so"] == "opt/liba.so"


def test_a_library_is_known_by_its_soname_when_it_was_loaded_by_another_name() -> None:
    tree: dict[str, Node] = {
        "usr/bin/x": elf("plain.so", "libreal.so.1"),
        f"{LIB}/plain.so": elf(soname="libreal.so.1"),
    }
    assert loader(tree).use("usr/bin/x").direct == {
        "plain.so": f"{LIB}/plain.so",
        "libreal.so.1": f"{LIB}/plain.so",
    }


def test_a_library_of_another_cpu_is_passed_over() -> None:
    tree: dict[str, Node] = {
        "usr/bin/x": elf("liba.so", runpath="/opt"),
        "opt/liba.so": elf(soname="liba.so", cpu=CpuArch.ARMV7),
        "usr/lib/liba.so": elf(soname="liba.so"),
    }
    assert loader(tree).use("usr/bin/x").direct == {"liba.so": "usr/lib/liba.so"}


def test_lib_in_a_search_path_is_debians_and_a_path_as_name_is_taken_as_it_is() -> None:
    tree: dict[str, Node] = {
        "usr/bin/x": elf("liba.so", "/opt/libb.so", runpath="/opt/$LIB"),
        "opt/lib/aarch64-linux-gnu/liba.so": elf(),
        "opt/libb.so": elf(),
    }
    assert None not in loader(tree).use("usr/bin/x").direct.values()


def test_libraries_that_need_each_other_end() -> None:
    tree: dict[str, Node] = {
        f"{LIB}/liba.so": elf("libb.so", soname="liba.so"),
        f"{LIB}/libb.so": elf("liba.so", soname="libb.so"),
    }
    use = loader(tree).use(f"{LIB}/liba.so")
    assert use.direct == {"libb.so": f"{LIB}/libb.so"}
    assert use.every == {"liba.so": f"{LIB}/liba.so", "libb.so": f"{LIB}/libb.so"}
