"""The corpus: its lock file against a small archive, and the libraries of its real packages by other tools.

The real .debs come out of the cache or Debian's archive, as those of other packages do.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from firmware_mgr.imaging.deb_versions import HeldDeb, held_debs
from firmware_mgr.imaging.debs import DEBIAN_ARCH, Pin
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package.contents import ModuleKind
from firmware_mgr.package.paths import MERGED
from firmware_mgr.packaging.assemble import SHIPPED_PACKAGES
from firmware_mgr.packaging.build import ModuleSource
from firmware_mgr.packaging.closure import library_directories
from firmware_mgr.packaging.corpus import (
    NEW,
    OLD,
    Corpus,
    CorpusEntry,
    choose_releases,
    load_corpus,
    refresh_corpus,
)
from firmware_mgr.packaging.corpus_run import build_twice, compare_releases
from firmware_mgr.packaging.deb_import import Imported, ImportOrder, import_debs

from ..imaging.archive import Archive
from .test_build import KEY
from .trees import LOADER, LOADER_FOLDER

CACHE = Path(__file__).resolve().parents[2] / ".cache/fwmgr"  # where tools/corpus has them too
CORPUS = load_corpus(SHIPPED_PACKAGES / "corpus")
ENTRIES = {entry.name: entry for entry in CORPUS.listed.package}
#: Small ones, one of them with a plug-in directory and an RPATH of its own: what is built whole in each run.
BUILT = ("expat", "libssh")


def release(name: str, which: str) -> Imported:
    entry = ENTRIES[name]
    debs = CORPUS.fetch(CORPUS.release(name, which), CACHE)
    version = CORPUS.version(entry, which)
    paths = tuple(deb.path for deb in debs)
    return import_debs(ImportOrder(paths, name, version, entry.outside, entry.extra))


# --- the list and the lock ---


def test_the_lock_has_two_releases_of_each_package_for_every_cpu() -> None:
    assert len(ENTRIES) >= 8 and "openssl" in ENTRIES
    for entry in ENTRIES.values():
        versions = {which: CORPUS.version(entry, which) for which in (OLD, NEW)}
        assert versions[OLD] != versions[NEW]
        for which in (OLD, NEW):
            found = {(d.pin.name, d.pin.arch) for d in CORPUS.release(entry.name, which)}
            wanted = {(name, arch) for name in entry.debs for arch in DEBIAN_ARCH.values()}
            assert wanted <= found


def test_sources_hashes_and_sizes_are_fixed() -> None:
    for line in CORPUS.locked:
        assert "/pool/" in line.deb.pin.uri and line.deb.size > 0
        assert re.fullmatch("[0-9a-f]{64}", line.deb.pin.sha256)


def held(name: str, version: str, arch: str) -> HeldDeb:
    return HeldDeb(
        Pin(name, version, arch, Digest.of(f"{name}{version}{arch}".encode()).hex, "http://x/pool/x"), 1
    )


def test_the_two_newest_versions_that_all_cpus_have_are_chosen() -> None:
    entry = CorpusEntry(name="x", debs=("a", "b"), companions=("c",))
    versions = {
        "arm64": ["1.9-1", "1.10-1", "1.8-1"],
        "armhf": ["1.9-1", "1.10-1+b2"],
        "amd64": ["1.10-1", "1.9-1", "2-1"],
    }
    debs = {
        arch: [held(name, version, arch) for version in listed for name in ("a", "b")]
        + [held("c", "7", arch)]
        for arch, listed in versions.items()
    }
    chosen = choose_releases(entry, debs)
    found = {(line.release, line.deb.pin.name, line.deb.pin.version) for line in chosen}
    assert {version for which, name, version in found if (which, name) == (OLD, "a")} == {"1.9-1"}
    assert {version for which, name, version in found if (which, name) == (NEW, "b")} == {
        "1.10-1",
        "1.10-1+b2",
    }
    assert ("old", "c", "7") in found and ("new", "c", "7") in found


def test_a_package_without_two_versions_for_all_cpus_is_named_with_what_there_is() -> None:
    entry = CorpusEntry(name="x", debs=("a",))
    debs = {"arm64": [held("a", "1", "arm64"), held("a", "2", "arm64")], "armhf": [held("a", "2", "armhf")]}
    with pytest.raises(UsageError, match=r"x: the archive does not hold two versions.*a for armhf: 2"):
        choose_releases(entry, debs)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive that holds a tool at two versions, as one with a security suite does."""
    archive = Archive(tmp_path / "archive")
    for version in ("1.0", "1.1"):
        archive.add("tool", version)
        archive.packages[f"tool {version}"] = archive.packages.pop("tool")
    archive.publish()
    return archive


def test_all_versions_that_an_archive_holds_are_listed_with_sizes_and_hashes(archive: Archive) -> None:
    found = held_debs(["tool"], "arm64", archive.etc)
    assert [deb.pin.version for deb in found] == ["1.0", "1.1"]
    for deb in found:
        file = archive.root / "debian/pool" / f"tool_{deb.pin.version}_arm64.deb"
        assert (deb.size, deb.pin.sha256) == (file.stat().st_size, Digest.of(file.read_bytes()).hex)
    with pytest.raises(UsageError, match="absent"):
        held_debs(["absent"], "arm64", archive.etc)


def small_corpus(archive: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.setattr("firmware_mgr.packaging.corpus.DEBIAN_ARCH", {CpuArch.AARCH64: "arm64"})
    folder.mkdir()
    (folder / "corpus.toml").write_text('[[package]]\nname = "tool"\ndebs = ["tool"]\n')
    return refresh_corpus(folder, archive.etc)


def test_a_refresh_fixes_both_releases_and_they_are_fetched_and_built(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = small_corpus(archive, tmp_path / "list", monkeypatch)
    (entry,) = corpus.listed.package
    debs = {which: corpus.fetch(corpus.release("tool", which), tmp_path / "cache") for which in (OLD, NEW)}
    built = {
        which: build_twice(
            corpus, entry, which, [deb.path for deb in debs[which]], keys=[KEY], scratch=tmp_path / which
        )
        for which in (OLD, NEW)
    }
    compared = compare_releases(corpus, entry, built[OLD], built[NEW])
    assert (compared.old, compared.new, compared.elf) == ("1.0", "1.1", 0)


def test_an_archive_that_has_moved_on_is_said_with_which_deb_and_what_to_do(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = small_corpus(archive, tmp_path / "list", monkeypatch)
    (archive.root / "debian/pool/tool_1.0_arm64.deb").unlink()
    with pytest.raises(PeerError, match=r"corpus\.lock.*moved on") as caught:
        corpus.fetch([line.deb for line in corpus.locked], tmp_path / "cache")
    assert caught.value.expected == "tool 1.0 arm64"
    assert "tools/corpus --refresh" in caught.value.hint
    assert corpus.fetch(corpus.release("tool", NEW), tmp_path / "cache")[0].version == "1.1"


@pytest.mark.parametrize(
    "text",
    ["", "format = 2\n", "format = 1\n", 'format = 1\n[[deb]]\npackage = "x"\n', "format = 1\ndeb = 3\n"],
)
def test_a_lock_file_of_another_form_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "corpus.toml").write_text('[[package]]\nname = "tool"\ndebs = ["tool"]\n')
    (tmp_path / "corpus.lock").write_text(text)
    with pytest.raises(UsageError, match=r"corpus\.lock.*--refresh"):
        load_corpus(tmp_path)


# --- real packages ---


def lay_out(sources: tuple[ModuleSource, ...], cpu: CpuArch, root: Path) -> dict[str, ModuleSource]:
    """The files for a CPU as a card's root has them; the ELF files among them."""
    for name, target in MERGED.items():
        (root / target).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    programs = {}
    for source in sources:
        if source.cpu not in (None, cpu):
            continue
        place = root / source.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.kind is ModuleKind.SYMLINK:
            place.symlink_to(source.link_target)
        elif source.kind is ModuleKind.DIRECTORY:
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(source.data)
            if source.data.startswith(b"\x7fELF"):
                programs[source.path] = source
    return programs


def readelf(root: Path, paths: list[str]) -> dict[str, str]:
    """What readelf says of each file, in one run."""
    tool = shutil.which("readelf")
    assert tool, "binutils is missing: tools/prepare installs it"
    command = [tool, "--wide", "--dynamic", "--program-headers", "--version-info", *paths]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout
    parts = re.split(r"^File: (.+)$", said, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True)) if len(paths) > 1 else {paths[0]: said}


def wanted(said: str) -> set[str]:
    found = set(re.findall(r"\(NEEDED\)\s+Shared library: \[(.+)]", said))
    return found | {Path(name).name for name in re.findall(r"program interpreter: (.+)]", said)}


def followed(path: str, said: Mapping[str, str], root: Path, cpu: CpuArch) -> dict[str, Path | None]:
    """All libraries of a file, found by readelf alone and by looking into the root: a second opinion."""
    found: dict[str, Path | None] = {}
    waiting = [path]
    while waiting:
        current = waiting.pop(0)
        runpaths = re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.+)]", said[current])
        origin = f"/{Path(current).parent}"
        folders = [f.replace("$ORIGIN", origin).lstrip("/") for text in runpaths for f in text.split(":")]
        for name in wanted(said[current]) - set(found):
            hits = [root / folder / name for folder in (*folders, *library_directories(cpu))]
            interpreter = re.search(rf"program interpreter: /(.*{re.escape(name)})]", said[current])
            hits += [root / interpreter[1]] if interpreter else []
            place = next((hit.resolve() for hit in hits if hit.exists()), None)
            found[name] = place
            if place is not None:
                waiting.append(str(place.relative_to(root.resolve())))
    return found


@pytest.mark.parametrize("name", ENTRIES)
def test_library_use_is_what_readelf_says_direct_and_through_others(name: str, tmp_path: Path) -> None:
    imported = release(name, NEW)
    checked = 0
    for cpu in CpuArch:
        root = tmp_path / cpu.value
        sources = lay_out(imported.sources, cpu, root)
        said = readelf(root, sorted(sources))
        for path, source in sources.items():
            direct = wanted(said[path])
            assert {n.removeprefix("so:") for n in source.consumes if n.startswith("so:")} == direct, path
            sonames = re.findall(r"\(SONAME\)\s+Library soname: \[(.+)]", said[path])
            assert [n.removeprefix("so:") for n in source.provides if n.startswith("so:")] == sonames, path
            use = imported.report.uses[cpu][path]
            assert set(use.direct) == direct, path
            every = {n: None if p is None else (root / p).resolve() for n, p in use.every.items()}
            assert every == followed(path, said, root, cpu), path
            checked += 1
    assert checked >= 3


@pytest.mark.parametrize("name", ["openssl", "expat", "sudo"])
def test_symbol_versions_are_what_readelf_says(name: str, tmp_path: Path) -> None:
    imported = release(name, NEW)
    sources = lay_out(imported.sources, CpuArch.ARMV7, tmp_path)
    said = readelf(tmp_path, sorted(sources))
    for path, source in sources.items():
        needs = said[path].partition("Version needs section")[2]
        found = set()
        for library, versions in re.findall(
            r"Version: 1  File: (\S+)  Cnt: \d+\n((?:  0x.*Name:.*\n)*)", needs
        ):
            for version, flags in re.findall(r"Name: (\S+)  Flags: (\S+)", versions):
                if flags != "WEAK":
                    found.add(f"symbols:{library}@{version}")
        assert {n for n in source.consumes if n.startswith("symbols:")} == found, path
        defined = said[path].partition("Version definition section")[2].partition("Version needs section")[0]
        names = re.findall(r"Flags: (?:none|WEAK)\s+Index: \d+\s+Cnt: \d+\s+Name: (\S+)", defined)
        assert {n.partition("@")[2] for n in source.provides if n.startswith("symbols:")} == set(names), path


def test_the_loader_itself_finds_the_same_libraries(tmp_path: Path) -> None:
    """glibc's own loader, for this machine's CPU, lists what openssl gets in a root of openssl and glibc."""
    cpu = CpuArch(platform.machine())
    openssl, glibc = release("openssl", NEW), release("glibc", NEW)
    lay_out((*openssl.sources, *glibc.sources), cpu, tmp_path)
    loader = tmp_path / LOADER_FOLDER[cpu] / LOADER[cpu]
    loader.resolve().chmod(0o755)
    folders = ":".join(f"{tmp_path}/{folder}" for folder in library_directories(cpu))
    command = [
        str(loader),
        "--inhibit-cache",
        "--library-path",
        folders,
        "--list",
        f"{tmp_path}/usr/bin/openssl",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    listed = {
        Path(name).name: Path(place).resolve()
        for name, place in re.findall(r"^\s*(\S+) (?:=> (\S+) )?\(0x", said, re.MULTILINE)
        if place
    }
    use = openssl.report.uses[cpu]["usr/bin/openssl"].every
    inside = {name: (tmp_path / place).resolve() for name, place in use.items() if place}
    assert inside == {name: place for name, place in listed.items() if name in inside}
    outside = {name for name, place in use.items() if place is None} | {LOADER[cpu]}
    assert outside == (set(listed) - set(inside)) | {LOADER[cpu]}


@pytest.mark.parametrize("name", BUILT)
def test_rebuilding_a_real_package_gives_the_same_bytes_and_its_changes_are_counted(
    name: str, tmp_path: Path
) -> None:
    entry = ENTRIES[name]
    built = {}
    for which in (OLD, NEW):
        debs = [deb.path for deb in CORPUS.fetch(CORPUS.release(name, which), CACHE)]
        built[which] = build_twice(CORPUS, entry, which, debs, keys=[KEY], scratch=tmp_path / which)
    compared = compare_releases(CORPUS, entry, built[OLD], built[NEW])
    assert 0 <= compared.substantive <= compared.exact <= compared.elf
    assert compared.elf > 0


def test_set_user_id_programs_and_private_libraries_of_a_real_package_are_found() -> None:
    imported = release("sudo", NEW)
    changed = {note.subject: note.text for note in imported.report.notes}
    assert changed["usr/bin/sudo"].startswith("was set-user-id (4755)")
    use = imported.report.uses[CpuArch.ARMV7]["usr/bin/sudo"]
    assert use.direct["libsudo_util.so.0"] == "usr/libexec/sudo/libsudo_util.so.0.0.0"
