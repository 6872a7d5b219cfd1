"""The .debs of several CPUs become one package: what goes where, what is refused, and what is said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from firmware_mgr.imaging.debs import DEBIAN_ARCH
from firmware_mgr.imaging.tree import File, Folder, Link, Node
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package.contents import Dependency, Group, ModuleKind
from firmware_mgr.packaging.build import pack
from firmware_mgr.packaging.deb_import import Imported, ImportOrder, import_debs
from firmware_mgr.packaging.import_manifest import ExtraManifest, load_extra
from firmware_mgr.packaging.import_notes import NoteKind

from .deb_maker import (
    BUILT,
    CHARACTER_DEVICE,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    SYMLINK,
    entry,
    pax,
    script,
    write_deb,
)
from .elf_programs import program
from .test_build import KEY
from .trees import LOADER, LOADER_FOLDER, server_tree

ARM, ARMV7, X86 = CpuArch.AARCH64, CpuArch.ARMV7, CpuArch.X86_64
UNIT = File(b"[Service]\nExecStart=-/usr/sbin/server --quiet\n")


def bring(
    debs: list[Path],
    extra: ExtraManifest | None = None,
    *,
    assume: tuple[str, ...] = (),
    depend: tuple[str, ...] = (),
) -> Imported:
    extra = extra or ExtraManifest()
    return import_debs(ImportOrder(tuple(debs), "server", "1", extra.outside(assume, depend), extra))


def extra_of(folder: Path, text: str) -> ExtraManifest:
    path = folder / "extra.toml"
    path.write_text(text)
    return load_extra(path)


def kinds(imported: Imported) -> dict[str, str]:
    return {module.source.path: module.found.value for module in imported.report.modules}


def cpus(imported: Imported) -> dict[str, list[CpuArch | None]]:
    found: dict[str, list[CpuArch | None]] = {}
    for module in imported.report.modules:
        found.setdefault(module.source.path, []).append(module.source.cpu)
    return found


def notes(imported: Imported, kind: NoteKind) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for note in imported.report.notes:
        if note.kind is kind:
            found.setdefault(note.subject, []).append(note.text)
    return found


def server_debs(folder: Path, *, without: str = "") -> list[Path]:
    """The server's files as .debs of all CPUs, libraries apart, its configuration in one for all."""
    debs = []
    for cpu, arch in DEBIAN_ARCH.items():
        tree = server_tree(cpu, merged=False)
        shared = {path: node for path, node in tree.items() if path.startswith(("etc", "usr/share"))}
        own = {path: node for path, node in tree.items() if "server" in path and path not in shared}
        libraries = {path: node for path, node in tree.items() if path not in shared and path not in own}
        own["usr/lib/systemd/system/server.service"] = UNIT
        debs.append(write_deb(folder, own, "server", arch, Depends="libserver1 (>= 1.0), server-common"))
        debs.append(write_deb(folder, libraries, "libserver1", arch))
    debs.append(write_deb(folder, shared, "server-common", "all"))
    return [deb for deb in debs if not without or without not in deb.name]


def test_three_cpus_and_a_package_for_all_are_merged(tmp_path: Path) -> None:
    imported = bring(server_debs(tmp_path))
    found = kinds(imported)
    assert found["usr/sbin/server"] == "server binary"
    assert found["usr/lib/server/mod_x.so"] == "plugin"
    assert found["usr/lib/x86_64-linux-gnu/libssl.so.3"] == "symlink"
    assert found["usr/lib/x86_64-linux-gnu/libssl.so.3.0.1"] == "shared library"
    assert found["etc/server/mime.types"] == "config"
    assert found["usr/share/doc/server/copyright"] == "data"
    by_cpu = cpus(imported)
    assert by_cpu["usr/sbin/server"] == [ARM, ARMV7, X86]
    assert by_cpu["etc/server/mime.types"] == [None]
    assert by_cpu["usr/lib/systemd/system/server.service"] == [None]
    for cpu in CpuArch:
        loader = f"usr/{LOADER_FOLDER[cpu]}/{LOADER[cpu]}"
        assert by_cpu[loader] == [cpu]
    toc, _ = pack(imported.head, imported.sources)
    assert (toc.local_dependencies, toc.build_date) == ((), BUILT)


def test_each_file_says_which_libraries_it_gets(tmp_path: Path) -> None:
    report = bring(server_debs(tmp_path)).report
    use = report.uses[ARM]["usr/sbin/server"]
    assert set(use.direct) == {"ld-linux-aarch64.so.1", "libc.so.6", "libssl.so.3"}
    assert set(use.every) == {*use.direct, "libcrypto.so.3"}
    assert use.direct["libssl.so.3"] == "usr/lib/aarch64-linux-gnu/libssl.so.3.0.1"
    assert report.outside_libraries(ARM) == {}
    modules = {module.source.path: module.source for module in report.modules if module.source.cpu is ARM}
    assert "so:libssl.so.3" in modules["usr/sbin/server"].consumes
    assert modules["usr/lib/aarch64-linux-gnu/libssl.so.3.0.1"].provides == ("so:libssl.so.3",)


def test_names_order_and_times_of_the_files_count_for_nothing(tmp_path: Path) -> None:
    debs = server_debs(tmp_path)
    first = bring(debs)
    (tmp_path / "copies").mkdir()
    copies = []
    for place, deb in enumerate(debs):
        copies.append(tmp_path / "copies" / f"{place}.deb")
        copies[-1].write_bytes(deb.read_bytes())
    again = bring(copies[::-1])
    assert Digest.of(again.build([KEY])) == Digest.of(first.build([KEY]))
    assert again.report.document() == first.report.document()


def test_the_build_date_is_the_newest_members_or_what_is_given(tmp_path: Path) -> None:
    more = [entry("./usr/share/late", b"x", mtime=BUILT + 5)]
    deb = write_deb(tmp_path, {"usr/share/a": File(b"a")}, more=more)
    order = ImportOrder((deb,), "x", "1")
    assert import_debs(order).head.build_date == BUILT + 5
    given = ImportOrder((deb,), "x", "1", source_date=12)
    assert import_debs(given).head.build_date == 12


def test_only_files_that_differ_go_by_cpu_and_with_one_cpu_all_do(tmp_path: Path) -> None:
    debs = [
        write_deb(tmp_path, {"usr/share/same": File(b"1"), "usr/share/own": File(arch.encode())}, arch=arch)
        for arch in ("amd64", "arm64")
    ]
    assert cpus(bring(debs)) == {"usr/share/same": [None], "usr/share/own": [ARM, X86]}
    assert cpus(bring(debs[:1])) == {"usr/share/same": [X86], "usr/share/own": [X86]}


def test_packages_for_all_alone_are_neutral(tmp_path: Path) -> None:
    deb = write_deb(tmp_path, {"usr/bin/tool": script(), "etc/tool": File(b"")}, arch="all")
    assert cpus(bring([deb])) == {"etc/tool": [None], "usr/bin/tool": [None]}
    assert kinds(bring([deb])) == {"etc/tool": "config", "usr/bin/tool": "script"}


def test_a_conffile_is_configuration_wherever_it_is(tmp_path: Path) -> None:
    deb = write_deb(tmp_path, {"usr/lib/x.conf": File(b"x")}, scripts={"conffiles": "/usr/lib/x.conf\n"})
    assert kinds(bring([deb])) == {"usr/lib/x.conf": "config"}


def test_an_init_script_makes_a_server_too(tmp_path: Path) -> None:
    init = File(b"#!/bin/sh\nDAEMON=/usr/sbin/broker\n", 0o755)
    deb = write_deb(tmp_path, {"etc/init.d/broker": init, "usr/sbin/broker": script()})
    assert kinds(bring([deb]))["usr/sbin/broker"] == "server binary"


MISSING = {
    "libserver1": r"libserver1 \(>= 1\.0\) for aarch64, armv7, x86_64, wanted by server:amd64, server:arm64",
    "libserver1_1.0-1_armhf": r"libserver1 \(>= 1\.0\) for armv7, wanted by server:armhf \(",
    "server-common": r"server-common for aarch64",
}


@pytest.mark.parametrize("without", MISSING)
def test_a_missing_deb_is_named_with_who_wants_it_and_what_would_do(without: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=MISSING[without]) as caught:
        bring(server_debs(tmp_path, without=without))
    name = without.partition("_")[0]
    assert f"--depend {name}=PACKAGE" in caught.value.hint and f"--assume {name}" in caught.value.hint


def test_a_missing_deb_is_named_with_its_library(tmp_path: Path) -> None:
    deb = write_deb(
        tmp_path, {"usr/bin/x": File(program("libssl.so.3"), 0o755)}, Depends="libssl3 (>= 3), yy"
    )
    with pytest.raises(UsageError, match=r"libssl3 \(>= 3\).*with libssl\.so\.3 \(of usr/bin/x\); yy for"):
        bring([deb])


def test_what_is_assumed_or_depended_on_is_not_missing(tmp_path: Path) -> None:
    tree: dict[str, Node] = {"usr/bin/x": File(program("libssl.so.3", "libc.so.6"), 0o755)}
    deb = write_deb(tmp_path, tree, Depends="libssl3, libc6 (>= 2.34), debconf | debconf-2.0")
    depend = ("libc6=base >= 2", "libssl3=base")
    imported = bring([deb], assume=("debconf-2.0",), depend=depend)
    assert imported.head.local_dependencies == (Dependency("base", ">= 2"),)
    assert imported.report.outside_libraries(ARM) == {
        "libc.so.6": ["usr/bin/x"],
        "libssl.so.3": ["usr/bin/x"],
    }


def test_a_virtual_package_and_a_version_in_the_import_are_minded(tmp_path: Path) -> None:
    one = write_deb(tmp_path, {}, "one", Depends="two (>= 2), virtual")
    two = write_deb(tmp_path, {}, "two", version="2.1", Provides="virtual")
    assert bring([one, two]).head.local_dependencies == ()
    old = write_deb(tmp_path, {}, "two", version="1.9", Provides="virtual")
    with pytest.raises(UsageError, match=r"two \(>= 2\)"):
        bring([one, old])


def test_a_library_that_no_dependency_would_bring_is_an_error(tmp_path: Path) -> None:
    tree: dict[str, Node] = {"usr/bin/x": File(program("libgone.so"), 0o755)}
    with pytest.raises(UsageError, match=r"usr/bin/x \(aarch64\), of tool:arm64.*libgone\.so.*neither"):
        bring([write_deb(tmp_path, tree)])


def test_an_assumption_that_nobody_needs_is_said(tmp_path: Path) -> None:
    imported = bring([write_deb(tmp_path, {})], assume=("libc6",))
    assert list(notes(imported, NoteKind.HINT)) == ["libc6"]


def test_a_program_for_another_cpu_than_its_deb_is_refused(tmp_path: Path) -> None:
    tree: dict[str, Node] = {"usr/bin/x": File(program(cpu=X86), 0o755)}
    for arch in ("arm64", "all"):
        with pytest.raises(UsageError, match=r"another CPU than its \.deb.*found EM_X86_64") as caught:
            bring([write_deb(tmp_path, tree, arch=arch)])
        assert caught.value.where == f"tool:{arch}: usr/bin/x"
    extra = extra_of(tmp_path, '[[mark]]\npath = "usr/bin/x"\nkind = "data"\n')
    assert bring([write_deb(tmp_path, tree)], extra).sources[0].kind is ModuleKind.DATA


def test_a_damaged_elf_file_is_named_with_a_way_round(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"tool:arm64: usr/x: damaged ELF.*\[\[drop\]\]"):
        bring([write_deb(tmp_path, {"usr/x": File(program("a")[:70])})])


@pytest.mark.parametrize(
    ("debs", "says"),
    [
        ([("aa", "mips", "1")], "for a CPU that no card has"),
        ([("aa", "arm64", "1"), ("aa", "arm64", "2")], "two .debs of one package and architecture"),
        ([("aa", "arm64", "1"), ("aa", "armhf", "2")], "of different versions"),
    ],
)
def test_debs_that_do_not_go_together_are_refused(
    debs: list[tuple[str, str, str]], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        bring([write_deb(tmp_path, {}, name, arch, version) for name, arch, version in debs])


def test_a_rebuild_for_one_cpu_is_the_same_version(tmp_path: Path) -> None:
    debs = [write_deb(tmp_path, {}, "aa", "arm64", "1-1"), write_deb(tmp_path, {}, "aa", "armhf", "1-1+b2")]
    assert len(bring(debs).report.debs) == 2


def test_two_debs_that_differ_in_a_path_are_refused_and_one_may_be_dropped(tmp_path: Path) -> None:
    debs = [write_deb(tmp_path, {"usr/x": File(name.encode())}, name) for name in ("one", "two")]
    with pytest.raises(UsageError, match=r"usr/x.*as in one:arm64.*another in two:arm64"):
        bring(debs)
    extra = extra_of(tmp_path, '[[drop]]\npath = "usr/x"\n')
    assert bring(debs, extra).sources == ()


def test_what_a_package_cannot_carry_is_left_out_and_said(tmp_path: Path) -> None:
    more = [
        entry("./dev/", kind=DIRECTORY),
        entry("./dev/null", kind=CHARACTER_DEVICE),
        entry("./usr/fifo", kind=FIFO),
        entry("./run/x/", kind=DIRECTORY, mode=0o755),
        entry("./usr/a\\x2db", b"x"),
        entry("./usr/up", kind=SYMLINK, link="../../../etc/passwd"),
        entry("./usr/middle", kind=SYMLINK, link="a/../../b"),
        entry("./usr/here", kind=SYMLINK, link="."),
        entry(b"./usr/\xff", b"x"),
    ]
    imported = bring([write_deb(tmp_path, {"usr/ok": File(b"x")}, more=more)])
    assert list(kinds(imported)) == ["usr/ok"]
    said = notes(imported, NoteKind.LEFT_OUT)
    assert set(said) == {
        "dev/null", "usr/fifo", "run/x", "usr/a\\x2db", "usr/up", "usr/middle", "usr/here", "usr/\udcff",
    }  # fmt: skip
    assert said["usr/fifo"] == ["a FIFO cannot be in a package"]
    assert "belongs to the root itself" in said["run/x"][0]


def test_what_is_changed_is_said(tmp_path: Path) -> None:
    more = [
        entry("./usr/bin/su", b"su", mode=0o4755),
        entry("./usr/mail/", kind=DIRECTORY, mode=0o2775, owner=(0, 8)),
        entry("./usr/bin/two", kind=HARD_LINK, link="./usr/bin/su"),
        pax(**{"SCHILY.xattr.security.capability": "x"}),
        entry("./usr/bin/ping", b"ping", mode=0o755),
    ]
    imported = bring([write_deb(tmp_path, {}, more=more)])
    modules = {module.source.path: module.source for module in imported.report.modules}
    assert (modules["usr/bin/su"].mode, modules["usr/mail"].mode) == (0o755, 0o775)
    assert modules["usr/bin/two"].data == b"su"
    said = notes(imported, NoteKind.CHANGED)
    assert said["usr/bin/su"] == ["was set-user-id (4755), is 0755"]
    assert said["usr/mail"] == ["belonged to 0:8, belongs to root", "was set-group-id (2775), is 0775"]
    assert "was a hard link to usr/bin/su, is a copy" in said["usr/bin/two"]
    assert said["usr/bin/ping"] == ["attribute is dropped: SCHILY.xattr.security.capability"]


def test_a_hard_link_to_nothing_is_refused(tmp_path: Path) -> None:
    for target in ("./usr/later", "../../etc/shadow", "/etc/shadow"):
        more = [entry("./usr/x", kind=HARD_LINK, link=target), entry("./usr/later", b"x")]
        with pytest.raises(PeerError, match="hard link to nothing"):
            bring([write_deb(tmp_path, {}, more=more)])


def test_absolute_links_become_relative_and_lead_through_the_merged_usr(tmp_path: Path) -> None:
    tree: dict[str, Node] = {
        "usr/bin/a": Link("/etc/alternatives/a"),
        "usr/bin/b": Link("./b.real"),
        "bin/c": Link("/lib/c"),
        "lib/c": File(b"c"),
    }
    targets = {s.path: s.link_target for s in bring([write_deb(tmp_path, tree)]).sources}
    assert targets == {
        "usr/bin/a": "../../etc/alternatives/a",
        "usr/bin/b": "b.real",
        "usr/bin/c": "../lib/c",
        "usr/lib/c": "",
    }


def test_a_file_of_one_deb_below_a_link_of_another_is_refused(tmp_path: Path) -> None:
    one = write_deb(tmp_path, {"usr/lib/app": Link("/etc")}, "one")
    two = write_deb(tmp_path, {"usr/lib/app/passwd": File(b"x")}, "two")
    with pytest.raises(UsageError, match="usr/lib/app"):
        bring([one, two])


def test_directories_are_listed_when_they_are_empty_or_have_a_mode(tmp_path: Path) -> None:
    tree: dict[str, Node] = {
        "var/lib/empty": Folder(),
        "var/lib/private": Folder(0o700),
        "var/lib/private/x": File(b"x"),
        "var/lib/plain/x": File(b"x"),
    }
    found = kinds(bring([write_deb(tmp_path, tree)]))
    assert [path for path, kind in found.items() if kind == "directory"] == [
        "var/lib/empty",
        "var/lib/private",
    ]


def test_documentation_is_left_out_but_for_licences_unless_it_is_asked_for(tmp_path: Path) -> None:
    tree: dict[str, Node] = {
        "usr/share/doc/x/copyright": File(b"free"),
        "usr/share/doc/x/changelog.gz": File(b"c"),
        "usr/share/man/man1/x.1.gz": File(b"m"),
    }
    deb = write_deb(tmp_path, tree)
    imported = bring([deb])
    assert list(kinds(imported)) == ["usr/share/doc/x/copyright"]
    (note,) = imported.report.notes
    assert (note.kind, note.count) == (NoteKind.LEFT_OUT, 2)
    assert set(kinds(bring([deb], extra_of(tmp_path, "keep_documentation = true\n")))) == set(tree)


def test_maintainer_scripts_are_not_run_and_what_they_would_do_is_said(tmp_path: Path) -> None:
    text = """#!/bin/sh
# dpkg-divert in a comment says nothing
update-alternatives --install /usr/bin/nc nc /usr/bin/nc.openbsd 50
adduser --system broker
chmod 4755 /usr/bin/x
"""
    scripts = {
        "postinst": text,
        "prerm": "#!/bin/sh\nexit 0\n",
        "triggers": "# no\nactivate-noawait ldconfig\n",
    }
    said = notes(bring([write_deb(tmp_path, {}, scripts=scripts)]), NoteKind.SCRIPT)["tool"]
    assert "postinst is not run" in said and "prerm is not run" in said
    assert "postinst sets alternatives: give their links as [[symlink]]" in said
    assert any("users or groups" in line for line in said) and any("set-user-id" in line for line in said)
    assert "trigger: activate-noawait ldconfig" in said
    assert not any("divert" in line for line in said)


def test_what_to_know_is_said(tmp_path: Path) -> None:
    opener = program("libx.so") + b"\0dlopen\0"
    tree: dict[str, Node] = {
        "usr/bin/x": File(opener, 0o755),
        "usr/lib/libx.so": File(program(soname="libx.so")),
        "usr/bin/script": script(),
        "usr/lib/dangling": Link("nowhere"),
        "usr/lib/masked": Link("/dev/null"),
        "usr/sbin/server": script(),
        "usr/lib/systemd/system/server.service": UNIT,
    }
    said = notes(bring([write_deb(tmp_path, tree)]), NoteKind.HINT)
    assert set(said) == {"usr/bin/x", "/bin/sh", "usr/lib/dangling", "usr/sbin/server"}
    assert "dlopen" in said["usr/bin/x"][0] and "[[process]]" in said["usr/sbin/server"][0]


EXTRA = """
assume = ["debconf"]
depend = ["libc6=glibc"]

[package]
upgrades = [{ name = "server", constraint = "< 2" }]
remote_dependencies = [{ name = "time", boards = ["line-card", "edge"] }]
local_dependencies = [{ name = "fpga", constraint = ">= 3", boards = ["line-card"] }]

[[drop]]
path = "lib/server/mod_*.so"

[[rename]]
path = "etc/server/mime.types"
to = "etc/server/mime.types.example"

[[mark]]
path = "usr/sbin/server"
kind = "server-binary"
function = "http-server"
mode = "0700"
provides = ["http"]
consumes = ["so:libextra.so.1", "clock"]

[[symlink]]
path = "usr/sbin/httpd"
target = "server"

[[directory]]
path = "var/lib/server"

[[process]]
name = "server"
module = "usr/sbin/server"
argv = ["/usr/sbin/server"]
user = "1000:1000"
readiness = "notify"
self_managing = true

[[group]]
name = "serving"
summary = "What serves"
wanted = false
modules = ["usr/sbin/*", "etc/server/*"]
"""


def whole_deb(folder: Path) -> Path:
    tree: Mapping[str, Node] = {**server_tree(), "usr/lib/server/x": File(b"x")}
    return write_deb(folder, tree, "server", Depends="debconf, libc6")


def test_the_extra_manifest_says_what_no_tool_can_see(tmp_path: Path) -> None:
    imported = bring([whole_deb(tmp_path)], extra_of(tmp_path, EXTRA))
    modules = {source.path: source for source in imported.sources}
    assert "usr/lib/server/mod_x.so" not in modules and "etc/server/mime.types" not in modules
    assert modules["etc/server/mime.types.example"].kind is ModuleKind.CONFIG
    server = modules["usr/sbin/server"]
    assert (server.function, server.mode, server.provides) == ("http-server", 0o700, ("http",))
    assert {"clock", "so:libextra.so.1", "so:libssl.so.3"} <= set(server.consumes)
    assert modules["usr/sbin/httpd"].link_target == "server"
    assert modules["var/lib/server"].kind is ModuleKind.DIRECTORY
    toc, _ = pack(imported.head, imported.sources)
    assert toc.local_dependencies == (Dependency("fpga", ">= 3", ("line-card",)), Dependency("glibc"))
    assert toc.remote_dependencies == (Dependency("time", "", ("edge", "line-card")),)
    assert toc.upgrades == (Dependency("server", "< 2"),)
    assert toc.groups == (Group("serving", "What serves", wanted=False),)
    serving = {"usr/sbin/server", "usr/sbin/httpd", "etc/server/mime.types.example"}
    assert {module.path for module in toc.modules if module.groups} == serving
    (process,) = toc.processes
    assert process.self_managing
    assert notes(imported, NoteKind.LEFT_OUT)["lib/server/mod_*.so"] == ["dropped by the extra manifest"]


def test_a_library_named_by_hand_must_be_there(tmp_path: Path) -> None:
    extra = extra_of(tmp_path, '[[mark]]\npath = "usr/sbin/server"\nconsumes = ["so:libnss_x.so.2"]\n')
    deb = write_deb(tmp_path, server_tree(), "server")
    with pytest.raises(UsageError, match=r"libraries are missing.*libnss_x\.so\.2"):
        bring([deb], extra)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[drop]]\npath = "usr/absent"\n', "extra manifest: drop.*nothing in the .debs.*usr/absent"),
        ('[[rename]]\npath = "usr/absent"\nto = "usr/x"\n', "extra manifest: rename"),
        ('[[mark]]\npath = "usr/sbin"\nfunction = "x"\n', "extra manifest: mark"),
        ('[[rename]]\npath = "usr/sbin/server"\nto = "etc/server/mime.types"\n', "cannot be renamed"),
        ('[[symlink]]\npath = "usr/sbin/server"\ntarget = "x"\n', "two things have one path"),
        ('[[directory]]\npath = "usr/sbin/server/x"\n', "below something else than a directory"),
        ('[[group]]\nname = "g"\nmodules = ["usr/no"]\n', "extra manifest: group g"),
        ('[[drop]]\npth = "x"\n', r"extra\.toml: drop\.0\.p"),
        ('depend = ["libc6"]\n', r"extra\.toml: --depend: not a dependency"),
        ('[[symlink]]\npath = "usr/a"\ntarget = "../../../x"\n', "symlink target leaves the root"),
        ("not toml", "is not TOML"),
    ],
)
def test_an_extra_manifest_that_does_not_fit_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=says):
        bring([whole_deb(tmp_path)], extra_of(tmp_path, text), assume=("debconf", "libc6"))
