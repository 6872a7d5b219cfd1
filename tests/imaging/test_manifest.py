"""The manifest of a boot image: pieces, reading back, and what is said when a file is not what it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firmware_mgr.imaging.manifest import (
    MANIFEST_NAME,
    PARTITION_FILE,
    PIECE_SIZE,
    FileSummary,
    Manifest,
    PackageSource,
    read_boot_image,
    write_boot_image,
)
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import CpuArch, Digest

NETBOOT_SCRIPT, NETBOOT_FIT = "net/boot.scr.uimg", "net/boot.itb"
CONTENTS = {PARTITION_FILE: b"p" * (PIECE_SIZE + 5), NETBOOT_SCRIPT: b"script", NETBOOT_FIT: b"fit"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {name: FileSummary.of(data) for name, data in CONTENTS.items()}
    packages = (PackageSource("libc6", "2.36", "arm64", Digest.of(b"deb").hex),)
    manifest = Manifest("b1", CpuArch.AARCH64, "1.0", 1700000000, "6.1", Digest.of(b"in"), files, packages)
    return write_boot_image(tmp_path, manifest, CONTENTS).folder


def altered(folder: Path, **fields: object) -> Path:
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return folder


def test_every_piece_is_listed_and_the_last_is_shorter() -> None:
    summary = FileSummary.of(CONTENTS[PARTITION_FILE])
    assert summary.length == PIECE_SIZE + 5
    assert summary.pieces == (Digest.of(b"p" * PIECE_SIZE), Digest.of(b"p" * 5))


def test_what_was_written_is_read_back(folder: Path) -> None:
    image = read_boot_image(folder)
    assert image.reference.digest == Digest.of(CONTENTS[PARTITION_FILE])
    assert image.reference.version == "1.0"
    assert Manifest.from_document(image.manifest.document(), "x") == image.manifest


def test_a_changed_file_is_named_with_both_digests(folder: Path) -> None:
    (folder / NETBOOT_FIT).write_bytes(b"fix")
    with pytest.raises(PeerError, match=rf"boot\.itb.*{Digest.of(b'fit').hex}.*{Digest.of(b'fix').hex}"):
        read_boot_image(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / NETBOOT_SCRIPT).unlink()
    with pytest.raises(PeerError, match=r"boot\.scr\.uimg"):
        read_boot_image(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"format": 2}, "another format: expected 1, found 2"),
        ({"cpu": "z80"}, "z80"),
        ({"files": {}}, r"expected boot\.img, net/…"),
        ({"files": 5}, "not a boot image's manifest"),
        ({"packages": [{"name": "x"}]}, "not a boot image's manifest"),
        ({"inputs": "12"}, "not a boot image's manifest"),
    ],
)
def test_a_wrong_manifest_is_refused(folder: Path, fields: dict[str, object], said: str) -> None:
    with pytest.raises(PeerError, match=said):
        read_boot_image(altered(folder, **fields))


def test_a_folder_without_a_manifest_is_no_boot_image(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not a boot image.*manifest\.json"):
        read_boot_image(tmp_path)
