"""A manifest's errors name the file, the key, what was expected and what stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.contents import Dependency, ModuleKind
from firmware_mgr.package.process import NumericUser
from firmware_mgr.packaging.assemble import build_from_trees
from firmware_mgr.packaging.manifest import (
    About,
    DebianEntry,
    DirectoryEntry,
    FileEntry,
    Manifest,
    ProcessEntry,
    SymlinkEntry,
    TakeEntry,
    load_manifest,
    parse_manifest,
)

from .elf_programs import program
from .test_build import KEY
from .trees import server_tree

GOOD = """
[package]
name = "server"
version = "1.0"
build_date = 2025-06-01T00:00:00Z
upgrades = [{ name = "server", constraint = "< 1.0" }]

[[file]]
path = "etc/server.conf"
source = "server.conf"
kind = "config"

[[file]]
path = "usr/bin/tool"
source = "tool"
kind = "program"
mode = "0700"

[[symlink]]
path = "usr/bin/link"
target = "tool"

[[directory]]
path = "srv"

[debian]
packages = ["server"]
[debian.locks]
aarch64 = "debs.lock"
[[debian.take]]
path = "usr/sbin/server"
kind = "server-binary"

[[process]]
name = "server"
module = "usr/sbin/server"
argv = ["/usr/sbin/server"]
environment = { B = "2", A = "1" }
user = "1000:1000"
readiness = "tcp:80"
stop_signal = "INT"
"""


def parsed(text: str = GOOD, folder: Path = Path("/manifests")) -> Manifest:
    return parse_manifest(text, folder / "manifest.toml")


def test_a_manifest_says_what_is_in_it() -> None:
    manifest = parsed()
    head = manifest.head()
    assert (head.name, head.version, head.build_date) == ("server", "1.0", 1748736000)
    assert head.upgrades == (Dependency("server", "< 1.0"),)
    assert [entry.mode_bits for entry in manifest.file] == [0o644, 0o700]
    assert manifest.debian is not None
    assert manifest.debian.cpus == (CpuArch.AARCH64,)
    process = head.processes[0]
    assert (process.environment, process.user) == ((("A", "1"), ("B", "2")), NumericUser(1000, 1000))
    assert (process.stop_signal, process.grace_s, str(process.readiness)) == (2, 10, "tcp:80")


@pytest.mark.parametrize(
    ("old", "new", "where", "expected"),
    [
        ('name = "server"\nversion', 'name = "Server!"\nversion', "package.name", "lower-case letters"),
        ('version = "1.0"', "version = 1.0", "package.version", "string"),
        ("2025-06-01T00:00:00Z", "2025-06-01T00:00:00", "package.build_date", "time zone"),
        ("2025-06-01T00:00:00Z", '"yesterday"', "package.build_date", "integer"),
        ('kind = "config"', 'kind = "symlink"', "file.0.kind", "a kind of file"),
        ('kind = "config"', 'kind = "conf"', "file.0.kind", "'config'"),
        ('path = "etc/server.conf"', 'path = "/etc/server.conf"', "file.0.path", "no empty part"),
        ('path = "etc/server.conf"', 'path = "../x"', "file.0.path", "no part '..'"),
        ('path = "etc/server.conf"', 'path = "lib/x.conf"', "file.0.path", "'usr/lib/x.conf'"),
        ('path = "usr/bin/link"', 'path = "bin/link"', "symlink.0.path", "'usr/bin/link'"),
        ('path = "srv"', 'path = "tmp"', "directory.0.path", "a path outside /tmp"),
        ('module = "usr/sbin/server"', 'module = "sbin/server"', "process.0.module", "'usr/sbin/server'"),
        ('mode = "0700"', "mode = 700", "file.1.mode", 'octal digits in quotes, such as "0644"'),
        ('mode = "0700"', 'mode = "4755"', "file.1.mode", "less than or equal"),
        ('mode = "0700"', 'mood = "0700"', "file.1.mood", "not permitted"),
        ('mode = "0700"', 'cpu = "arm64"', "file.1.cpu", "aarch64, armv7, x86_64 or any"),
        ('aarch64 = "debs.lock"', "", "debian.locks", "at least 1"),
        ('readiness = "tcp:80"', 'readiness = "soon"', "process.0.readiness", "notify, started or tcp:PORT"),
        ('readiness = "tcp:80"', "", "process.0.readiness", "required"),
        ('user = "1000:1000"', 'user = "Ann Other"', "process.0.user", "1000:1000"),
        ('stop_signal = "INT"', 'stop_signal = "SIGINT"', "process.0.stop_signal", "a signal such as TERM"),
    ],
)
def test_a_wrong_key_is_named_with_what_was_expected(old: str, new: str, where: str, expected: str) -> None:
    assert old in GOOD
    with pytest.raises(UsageError) as caught:
        parsed(GOOD.replace(old, new, 1))
    assert caught.value.where == f"/manifests/manifest.toml: {where}"
    assert expected in str(caught.value.expected)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('target = "tool"', 'target = "../../../etc"', "symlink target leaves the root"),
        ('constraint = "< 1.0"', 'constraint = "older"', "not a version constraint"),
        ('argv = ["/usr/sbin/server"]', "argv = []", "illegal number of arguments"),
        ("[package]", "folder = 1\n[package]", "unknown key"),
        ("[package]", "[package", "manifest is not TOML"),
    ],
)
def test_values_that_do_not_fit_are_refused_with_the_file_named(old: str, new: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        parsed(GOOD.replace(old, new, 1))
    assert caught.value.where.startswith("/manifests/manifest.toml")


def test_a_lock_for_an_unknown_cpu_is_refused() -> None:
    manifest = parsed(GOOD.replace('aarch64 = "debs.lock"', 'sparc = "debs.lock"'))
    assert manifest.debian is not None
    with pytest.raises(UsageError, match=r"unknown CPU.*sparc"):
        _ = manifest.debian.cpus


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="manifest cannot be read"):
        load_manifest(tmp_path / "manifest.toml")


def folder_with_sources(folder: Path) -> Path:
    (folder / "server.conf").write_text("port = 80\n")
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "manifest.toml").write_text(GOOD)
    return folder


def test_a_package_is_put_together_from_files_and_debian_trees(tmp_path: Path) -> None:
    manifest = load_manifest(folder_with_sources(tmp_path) / "manifest.toml")
    trees = {CpuArch.AARCH64: server_tree()}
    package = build_from_trees(manifest, trees, [KEY])
    assert package == build_from_trees(manifest, trees, [KEY])


def test_a_source_that_is_missing_is_named(tmp_path: Path) -> None:
    manifest = load_manifest(folder_with_sources(tmp_path) / "manifest.toml")
    (tmp_path / "tool").unlink()
    with pytest.raises(UsageError, match=r"tool: source file cannot be read"):
        build_from_trees(manifest, {}, [KEY])


def test_a_process_without_its_program_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace('module = "usr/sbin/server"', 'module = "usr/sbin/absent"')
    folder_with_sources(tmp_path)
    with pytest.raises(UsageError, match="process server: process without a program"):
        build_from_trees(parsed(text, tmp_path), {CpuArch.AARCH64: server_tree()}, [KEY])


def test_a_program_for_another_cpu_than_its_entry_says_is_refused(tmp_path: Path) -> None:
    folder_with_sources(tmp_path)
    (tmp_path / "tool").write_bytes(program())
    with pytest.raises(UsageError, match="for another CPU than its entry says") as caught:
        build_from_trees(parsed(GOOD, tmp_path), {}, [KEY])
    assert (caught.value.expected, caught.value.found) == ("any", "EM_AARCH64, 64 bits")


def test_a_package_on_its_own_must_hold_its_libraries(tmp_path: Path) -> None:
    folder_with_sources(tmp_path)
    (tmp_path / "tool").write_bytes(program("libfar.so.1"))
    text = GOOD.replace('mode = "0700"', 'cpu = "aarch64"')
    trees = {CpuArch.AARCH64: server_tree()}
    with pytest.raises(UsageError, match=r"libraries are missing: expected libfar\.so\.1"):
        build_from_trees(parsed(text, tmp_path), trees, [KEY])
    leaning = text.replace("[[file]]", 'local_dependencies = [{ name = "far" }]\n[[file]]', 1)
    assert build_from_trees(parsed(leaning, tmp_path), trees, [KEY])


def test_kinds_of_files_are_all_but_links_and_directories() -> None:
    for kind in set(ModuleKind) - {ModuleKind.SYMLINK, ModuleKind.DIRECTORY}:
        assert parsed(GOOD.replace('kind = "config"', f'kind = "{kind.value}"')).file[0].kind is kind


def test_the_manifest_on_the_page_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "PACKAGES.md").read_text()
    section = page.partition("## The manifest of a package")[2].partition("\n## ")[0]
    block = [line[4:] for line in section.splitlines() if line.startswith("    ") or not line]
    path = tmp_path / "manifest.toml"
    path.write_text("\n".join(block))
    manifest = load_manifest(path)
    keys = re.findall(r"^\[*([a-z_.]+)", "\n".join(block), re.M)
    shown = {part for key in keys for part in key.split(".")}
    for section_type in (
        About,
        FileEntry,
        SymlinkEntry,
        DirectoryEntry,
        DebianEntry,
        TakeEntry,
        ProcessEntry,
    ):
        assert section_type.model_fields.keys() <= shown, f"{section_type.__name__}: not all on the page"
    assert manifest.process[0].module == manifest.file[0].path
