"""What a program needs is worked out from the files themselves: no more, and no less."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.imaging.tree import File, Link, Tree
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.contents import ModuleKind
from firmware_mgr.packaging.build import ModuleSource, PackageHead, pack
from firmware_mgr.packaging.closure import close_over, missing_libraries, relative_target
from firmware_mgr.packaging.debian import merge_cpus, modules_for
from firmware_mgr.packaging.elf_facts import read_elf
from firmware_mgr.packaging.manifest import TakeEntry

from .elf_programs import program
from .trees import server_tree

ARM = CpuArch.AARCH64


@pytest.mark.parametrize("cpu", list(CpuArch))
def test_an_elf_file_says_what_it_is_and_needs(cpu: CpuArch) -> None:
    data = program(
        "libb.so", "liba.so", cpu=cpu, soname="libx.so.1", interpreter="/lib/ld.so", runpath="/opt:/x"
    )
    facts = read_elf(data, "x")
    assert facts is not None
    assert (facts.cpu, facts.soname, facts.interpreter) == (cpu, "libx.so.1", "/lib/ld.so")
    assert (facts.needed, facts.search) == (("libb.so", "liba.so"), ("/opt", "/x"))
    assert facts.consumes == ("so:ld.so", "so:liba.so", "so:libb.so")
    assert facts.provides == ("so:libx.so.1",)


def test_a_script_is_no_elf_file_and_a_damaged_one_is_named() -> None:
    assert read_elf(b"#!/bin/sh\n", "x") is None
    with pytest.raises(PeerError, match=r"usr/bin/x: damaged ELF file"):
        read_elf(program("a")[:70], "usr/bin/x")


def test_direct_and_indirect_libraries_loader_and_links_are_taken_and_nothing_else() -> None:
    closure = close_over(server_tree(), ["usr/sbin/server"], ARM)
    assert list(closure.nodes) == [
        "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
        "usr/lib/aarch64-linux-gnu/libc.so.6",
        "usr/lib/aarch64-linux-gnu/libcrypto.so.3",
        "usr/lib/aarch64-linux-gnu/libssl.so.3",
        "usr/lib/aarch64-linux-gnu/libssl.so.3.0.1",
        "usr/lib/ld-linux-aarch64.so.1",
        "usr/sbin/server",
    ]


def test_an_interpreter_in_lib64_is_found_where_the_root_has_it() -> None:
    cpu = CpuArch.X86_64
    server = server_tree(cpu)["usr/sbin/server"]
    assert isinstance(server, File)
    facts = read_elf(server.data, "server")
    assert facts is not None
    assert facts.interpreter == "/lib64/ld-linux-x86-64.so.2"
    modules = {module.path: module for module in modules_for(server_tree(cpu), TAKE, cpu)}
    loader = modules["usr/lib64/ld-linux-x86-64.so.2"]
    assert loader.link_target == "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    assert "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" in modules


@pytest.mark.parametrize("runpath", ["/lib/app", "/usr/lib/app", "$ORIGIN/../../lib/app"])
def test_a_runpath_through_a_link_of_the_root_leads_into_usr(runpath: str) -> None:
    tree: Tree = {
        "usr/bin/x": File(program("libapp.so", runpath=runpath), 0o755),
        "usr/lib/app/libapp.so": File(program(soname="libapp.so")),
    }
    assert list(close_over(tree, ["usr/bin/x"], ARM).nodes) == ["usr/bin/x", "usr/lib/app/libapp.so"]


def test_a_missing_library_names_who_wants_it_and_where_it_was_looked_for() -> None:
    tree = server_tree()
    del tree["usr/lib/aarch64-linux-gnu/libcrypto.so.3"]
    with pytest.raises(UsageError, match=r"library libcrypto\.so\.3 is missing") as caught:
        close_over(tree, ["usr/sbin/server"], ARM)
    assert caught.value.where == "usr/lib/aarch64-linux-gnu/libssl.so.3.0.1 (aarch64)"
    assert "/usr/lib/aarch64-linux-gnu" in str(caught.value.expected)


def test_a_link_that_leads_nowhere_or_in_a_circle_is_an_error() -> None:
    tree = server_tree()
    del tree["usr/lib/aarch64-linux-gnu/libssl.so.3.0.1"]
    with pytest.raises(UsageError, match=r"library libssl\.so\.3 is missing"):
        close_over(tree, ["usr/sbin/server"], ARM)
    with pytest.raises(UsageError, match="circle"):
        close_over({"a": Link("b"), "b": Link("a")}, ["a"], ARM)


def test_a_library_for_another_cpu_is_refused() -> None:
    tree = server_tree()
    tree["usr/lib/aarch64-linux-gnu/libcrypto.so.3"] = File(program(cpu=CpuArch.ARMV7))
    with pytest.raises(UsageError, match="another CPU") as caught:
        close_over(tree, ["usr/sbin/server"], ARM)
    assert (caught.value.expected, caught.value.found) == ("aarch64", "EM_ARM, 32 bits")


def test_a_runpath_comes_first_and_may_be_beside_the_program() -> None:
    tree = server_tree()
    tree["opt/app/bin/app"] = File(program("libssl.so.3", runpath="$ORIGIN/../lib"), 0o755)
    tree["opt/app/lib/libssl.so.3"] = File(program(soname="libssl.so.3"))
    assert list(close_over(tree, ["opt/app/bin/app"], ARM).nodes) == [
        "opt/app/bin/app",
        "opt/app/lib/libssl.so.3",
    ]


def test_links_of_directories_on_the_way_are_kept() -> None:
    tree: Tree = {
        "opt/app": Link("app-1"),
        "opt/app-1/ld.so": File(program(soname="ld.so")),
        "usr/bin/x": File(program(interpreter="/opt/app/ld.so"), 0o755),
    }
    assert list(close_over(tree, ["usr/bin/x"], ARM).nodes) == ["opt/app", "opt/app-1/ld.so", "usr/bin/x"]


def test_absolute_targets_become_relative_ones() -> None:
    assert relative_target("usr/lib/ld.so", "/usr/lib/arm/ld.so") == "arm/ld.so"
    assert relative_target("usr/lib/x", "/etc/x") == "../../etc/x"
    assert relative_target("x", "/") == "."
    assert relative_target("usr/lib/x", "x.1") == "x.1"


TAKE = (
    TakeEntry(path="usr/sbin/server", kind=ModuleKind.SERVER_BINARY, function="http-server"),
    TakeEntry(path="usr/lib/server/*.so"),
    TakeEntry(path="etc/server/mime.types"),
    TakeEntry(path="usr/share/doc/*/copyright"),
)


def test_taken_files_get_their_kind_function_and_library_use() -> None:
    modules = {module.path: module for module in modules_for(server_tree(), TAKE, ARM)}
    server = modules["usr/sbin/server"]
    assert (server.kind, server.function, server.mode) == (ModuleKind.SERVER_BINARY, "http-server", 0o755)
    assert server.consumes == ("so:ld-linux-aarch64.so.1", "so:libc.so.6", "so:libssl.so.3")
    assert modules["usr/lib/aarch64-linux-gnu/libextra.so.1"].provides == ("so:libextra.so.1",)
    kinds = {path: module.kind.value for path, module in modules.items()}
    assert kinds["usr/lib/server/mod_x.so"] == "shared-library"
    assert kinds["usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"] == "shared-library"
    assert kinds["usr/lib/aarch64-linux-gnu/libssl.so.3"] == "symlink"
    assert kinds["etc/server/mime.types"] == "config"
    assert kinds["usr/share/doc/server/copyright"] == "data"
    assert modules["usr/lib/ld-linux-aarch64.so.1"].link_target == "aarch64-linux-gnu/ld-linux-aarch64.so.1"


def test_a_pattern_may_name_a_file_as_debian_does() -> None:
    take = (TakeEntry(path="lib/*/libc.so.6"),)
    paths = [module.path for module in modules_for(server_tree(), take, ARM)]
    assert "usr/lib/aarch64-linux-gnu/libc.so.6" in paths


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"no such file in the Debian packages.*usr/sbin/absent"):
        modules_for(server_tree(), (TakeEntry(path="usr/sbin/absent"),), ARM)


def test_what_is_the_same_for_all_cpus_is_neutral_but_elf_never() -> None:
    cpus = (CpuArch.AARCH64, CpuArch.X86_64)
    merged = merge_cpus({cpu: modules_for(server_tree(cpu), TAKE, cpu) for cpu in cpus})
    by_path: dict[str, list[CpuArch | None]] = {}
    for module in merged:
        by_path.setdefault(module.path, []).append(module.cpu)
    assert by_path["etc/server/mime.types"] == [None]
    assert by_path["usr/sbin/server"] == list(cpus)
    toc, _ = pack(PackageHead("server", "1", 0), merged)
    assert [missing_libraries(toc, cpu) for cpu in cpus] == [{}, {}]


def test_with_one_cpu_nothing_is_taken_for_neutral() -> None:
    merged = merge_cpus({ARM: modules_for(server_tree(), TAKE, ARM)})
    assert {module.cpu for module in merged} == {ARM}


def test_libraries_that_a_package_lacks_are_listed_by_who_wants_them() -> None:
    sources = [source for source in modules_for(server_tree(), TAKE, ARM) if "libcrypto" not in source.path]
    toc, _ = pack(PackageHead("server", "1", 0), sources)
    assert missing_libraries(toc, ARM) == {
        "usr/lib/aarch64-linux-gnu/libssl.so.3.0.1": ("so:libcrypto.so.3",),
    }
    assert missing_libraries(toc, CpuArch.ARMV7) == {}


def test_a_library_is_found_by_the_name_of_its_file_too() -> None:
    sources = [
        ModuleSource("usr/lib/libplain.so", ModuleKind.SHARED_LIBRARY),
        ModuleSource("usr/bin/x", ModuleKind.PROGRAM, consumes=("so:libplain.so",)),
    ]
    toc, _ = pack(PackageHead("p", "1", 0), sources)
    assert missing_libraries(toc, ARM) == {}


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
@settings(deadline=None)  # a busy machine is no fault of the file
def test_no_damage_to_an_elf_file_gives_another_error_than_the_declared_one(at: int, piece: bytes) -> None:
    data = program("liba.so", soname="libx.so", interpreter="/lib/ld.so", runpath="/opt")
    at %= len(data)
    try:
        read_elf(data[:at] + piece + data[at + len(piece) :], "x")
    except PeerError as e:
        assert e.where == "x"
