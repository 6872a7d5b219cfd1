"""Substantive signatures are worked out again: a package with others is refused, whatever signed it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.bundle_reader import BundleFile
from firmware_mgr.package.contents import ModuleKind
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.layout import EnvelopeKind
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.package.substance_check import check_substance
from firmware_mgr.package.table import encode_table
from firmware_mgr.packaging.build import ModuleSource, pack, seal
from firmware_mgr.packaging.compose import BundleHead, build_bundle, package_member

from .elf_bytes import build_id, elf, text
from .goldens import GOLDENS, Golden
from .samples import HEAD, KEY, KEYRING

PROGRAM = elf(build_id(b"a" * 20), text())
SOURCES = (
    ModuleSource("etc/plain", ModuleKind.CONFIG, b"x = 1\n"),
    ModuleSource("usr/bin/program", ModuleKind.PROGRAM, PROGRAM, mode=0o755),
    ModuleSource("usr/share/link", ModuleKind.SYMLINK, link_target="nothing"),
    ModuleSource("usr/share/void", ModuleKind.DATA),
)


def made(
    folder: Path, wrong: str = "", signature: Digest | None = None, sources: Sequence[ModuleSource] = SOURCES
) -> Path:
    """A package, signed; the module at `wrong` has another substantive signature."""
    toc, content = pack(replace(HEAD, processes=()), sources)
    modules = tuple(
        replace(module, substantive=signature or Digest.of(b"other")) if module.path == wrong else module
        for module in toc.modules
    )
    path = folder / "p.fwp"
    path.write_bytes(seal(encode_table(replace(toc, modules=modules)), content, [KEY], signed_at=1))
    return path


def test_signatures_by_the_rules_are_good(tmp_path: Path) -> None:
    with PackageFile.open(made(tmp_path), KEYRING) as package:
        assert check_substance(package) == ()


@pytest.mark.parametrize(
    ("path", "signature"),
    [
        ("usr/bin/program", None),
        ("usr/bin/program", Digest.of(PROGRAM)),
        ("etc/plain", None),
        ("usr/share/void", None),
    ],
)
def test_another_signature_is_refused_though_all_else_is_good(
    path: str, signature: Digest | None, tmp_path: Path
) -> None:
    with PackageFile.open(made(tmp_path, path, signature), KEYRING) as package:
        package.check_content()
        with pytest.raises(PackageRefused, match="not by the rules of this version") as caught:
            check_substance(package)
    assert path in caught.value.where


def test_packages_of_a_set_are_checked_too(tmp_path: Path) -> None:
    for wrong in ("", "usr/bin/program"):
        member = package_member(made(tmp_path, wrong))
        path = tmp_path / "s.fws"
        path.write_bytes(build_bundle(BundleHead(EnvelopeKind.SET, "s", "1"), [member], [KEY], 1))
        with BundleFile.open(path, KEYRING) as bundle:
            if not wrong:
                assert check_substance(bundle) == ()
                continue
            with pytest.raises(PackageRefused, match="not by the rules of this version") as caught:
                check_substance(bundle)
            assert "package sample 1.2-3: usr/bin/program (any)" in caught.value.where


def test_a_large_module_is_not_held_and_said_to_be_not_looked_at(tmp_path: Path) -> None:
    large = PROGRAM + bytes(24 << 20)
    sources = [
        ModuleSource("etc/plain", ModuleKind.CONFIG, b"x" * (24 << 20)),
        ModuleSource("usr/bin/program", ModuleKind.PROGRAM, large, mode=0o755),
    ]
    path = made(tmp_path, sources=sources)
    with PackageFile.open(path, KEYRING) as package:
        assert check_substance(package) == ()
        tracemalloc.start()
        try:
            (missed,) = check_substance(package, limit=1 << 20)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert str(missed) == f"{path}: usr/bin/program (any): {len(large)} bytes, more than 1048576"
    assert peak < 8 << 20, peak
    other = PackageFile.open(made(tmp_path, "etc/plain", sources=sources), KEYRING)
    with other, pytest.raises(PackageRefused, match="not by the rules of this version"):
        check_substance(other, limit=1 << 20)


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: golden.name)
def test_golden_files_have_the_signatures_of_today(golden: Golden) -> None:
    with golden.open(golden.path, KEYRING) as opened:
        said = [missed.reason for missed in check_substance(opened)]
    old = golden.name in ("format-1.fwp", "set.fws")  # the set holds the one of format 1
    assert said == (["its format has other rules"] if old else [])
