"""Building: the same inputs give the same bytes, small files stay as they are, wrong parts are refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.contents import Compression, ModuleKind
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.packaging.build import ModuleSource, PackageHead, build_package, pack, write_package
from firmware_mgr.packaging.keys import SigningKey, keyring_of

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"a key for building, known to all"))
HEAD = PackageHead("tool", "1.0", 1_700_000_000)
SOURCES = [
    ModuleSource("usr/bin/tool", ModuleKind.PROGRAM, b"#!/bin/sh\nexec true\n", mode=0o755),
    ModuleSource("usr/share/tool/table", ModuleKind.DATA, b"0123456789abcdef" * 1000),
    ModuleSource("usr/share/tool/noise", ModuleKind.DATA, random.Random(1).randbytes(5000)),
    ModuleSource("usr/share/tool/latest", ModuleKind.SYMLINK, link_target="table"),
    ModuleSource("var", ModuleKind.DIRECTORY, mode=0o755),
]


def test_the_same_parts_in_any_order_give_the_same_bytes() -> None:
    shuffled = list(SOURCES)
    random.Random(7).shuffle(shuffled)
    assert build_package(HEAD, SOURCES, [KEY]) == build_package(HEAD, shuffled, [KEY])


def test_only_what_shrinks_is_compressed() -> None:
    toc, content = pack(HEAD, SOURCES)
    compression = {module.path: module.pieces[0].compression for module in toc.modules if module.pieces}
    assert compression["usr/share/tool/table"] is Compression.ZSTD
    assert compression["usr/share/tool/noise"] is Compression.NONE
    assert len(content) == toc.content_length < sum(len(source.data) for source in SOURCES)


def test_what_was_built_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "tool.fwp"
    write_package(path, build_package(HEAD, SOURCES, [KEY]))
    with PackageFile.open(path, keyring_of([KEY])) as package:
        package.check_content()
        held = {module.path: package.module_bytes(module) for module in package.toc.modules}
    assert held == {source.path: source.data for source in SOURCES}
    assert [file.name for file in tmp_path.iterdir()] == ["tool.fwp"]


def test_one_key_given_twice_signs_once() -> None:
    assert build_package(HEAD, SOURCES, [KEY, KEY]) == build_package(HEAD, SOURCES, [KEY])


def test_a_directory_with_content_is_refused() -> None:
    with pytest.raises(UsageError, match="content of a symlink or directory"):
        pack(HEAD, [ModuleSource("var", ModuleKind.DIRECTORY, b"x")])


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="package cannot be written"):
        write_package(tmp_path / "absent" / "tool.fwp", b"")
