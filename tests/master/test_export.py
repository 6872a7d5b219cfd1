"""Exports: whole or refused, the same for the same master, and a restored master is the one that was."""

from __future__ import annotations

import asyncio
import io
import os
import sqlite3
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.master.catalogue import Put
from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue
from firmware_mgr.master.export.archive import TRAILER_LENGTH, ArchiveReader
from firmware_mgr.master.export.contents import BLOBS, Contents, ExportedFile
from firmware_mgr.master.export.export_file import opened_export, write_export
from firmware_mgr.master.export.restore import restore
from firmware_mgr.master.export.seal import CHUNK, HEADER_LENGTH, TAG, SealedReader, SealedWriter
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.master.site_settings import SettingsRecord, VariableRecord
from firmware_mgr.model.errors import FwmgrError, PeerError, UsageError
from firmware_mgr.model.ids import Digest
from tests.master.small_site import CHEAP, MADE_AT, PASSPHRASE, gathered, small_site, tree


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> MasterPaths:
    return small_site(tmp_path_factory.mktemp("site") / "m")


@pytest.fixture(scope="module")
def plain(site: MasterPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(site, tmp_path_factory.mktemp("plain") / "a.fwx", None)


@pytest.fixture(scope="module")
def sealed(site: MasterPaths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(site, tmp_path_factory.mktemp("sealed") / "a.fwx", PASSPHRASE)


def export(site: MasterPaths, file: Path, passphrase: str | None) -> Path:
    snapshot = file.with_name("snapshot.sqlite")
    write_export(file, gathered(site, snapshot), passphrase, cost=CHEAP)
    snapshot.unlink()
    return file


def bring_back(file: Path, directory: Path, *, replace: bool = False) -> MasterPaths:
    with opened_export(file, PASSPHRASE) as archive:
        restore(archive, directory, replace=replace)
    return MasterPaths(directory)


def documents(paths: MasterPaths) -> list[tuple[str, str, int]]:
    db = sqlite3.connect(paths.catalogue)
    rows = db.execute("SELECT key, text, revision FROM documents ORDER BY key").fetchall()
    db.close()
    return rows


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_a_restored_master_has_every_file_mode_and_document(
    kind: str, site: MasterPaths, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    back = bring_back(request.getfixturevalue(kind), tmp_path / "new")
    assert tree(back.directory) == tree(site.directory)
    assert documents(back) == documents(site)
    for name in ("site.key", "authority/authority.key", "authority/record.key", "catalogue.sqlite"):
        assert (back.directory / name).stat().st_mode & 0o777 == 0o600


def test_what_nobody_listed_goes_along_and_what_passes_does_not(tmp_path: Path) -> None:
    site = small_site(tmp_path / "m")
    (site.directory / "later-room").mkdir()
    (site.directory / "later-room" / "x.json").write_text("{}")
    for left_out in ("master.log", ".draft", "catalogue-before-3.sqlite", "blobs/blobs/incoming/half"):
        (site.directory / left_out).write_text("no")
    os.mkfifo(site.directory / "fifo")
    names = [file.path for file in gathered(site, tmp_path / "s").contents.files]
    assert "later-room/x.json" in names and "site.key" in names and "catalogue.sqlite" in names
    assert not [name for name in names if name.endswith(".log") or "draft" in name or "before" in name]
    assert not [name for name in names if "incoming" in name or "fifo" in name]


def test_a_blob_folder_on_another_disk_is_followed_and_a_circle_is_not(tmp_path: Path) -> None:
    site = small_site(tmp_path / "m")
    site.blobs.rename(tmp_path / "elsewhere")
    site.blobs.symlink_to(tmp_path / "elsewhere")
    (site.directory / "circle").symlink_to(site.directory)
    names = [file.path for file in gathered(site, tmp_path / "s").contents.files]
    assert len([name for name in names if name.startswith("blobs/")]) == 3
    assert not [name for name in names if name.startswith("circle")]


def test_the_same_master_gives_the_same_bytes(site: MasterPaths, plain: Path, tmp_path: Path) -> None:
    assert export(site, tmp_path / "b.fwx", None).read_bytes() == plain.read_bytes()


def test_tools_that_we_did_not_write_read_a_plain_export(plain: Path, site: MasterPaths) -> None:
    unpacked = subprocess.run(["zstd", "-dc", plain], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
        names = tar.getnames()
        key = tar.extractfile("master/site.key")
        assert key is not None and key.read() == (site.directory / "site.key").read_bytes()
    assert names[0] == "fwmgr-export.json" and "master/catalogue.sqlite" in names


def test_a_sealed_export_shows_nothing_of_the_keys(sealed: Path, plain: Path) -> None:
    assert b"authority" not in sealed.read_bytes()
    with pytest.raises(PeerError, match="passphrase is not right"), opened_export(sealed, "wrong"):
        pass
    with pytest.raises(UsageError, match="sealed with a passphrase"), opened_export(sealed, None):
        pass
    with opened_export(plain, None):
        pass


def cut_at(data: bytes, rows: Iterator[int], file: Path) -> None:
    for length in rows:
        file.write_bytes(data[:length])
        refused(file, f"cut at {length}")


def refused(file: Path, what: str) -> None:
    try:
        with opened_export(file, PASSPHRASE) as archive:
            for _, chunks in archive.files():
                for _ in chunks:
                    pass
    except (PeerError, UsageError) as e:
        assert e.what and e.where
        return
    raise AssertionError(f"accepted: {what}")


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_every_cut_is_refused(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue(kind).read_bytes()
    ends = {length for length in range(len(data)) if length < 200 or length > len(data) - 200}
    cut_at(data, iter(sorted({*ends, *range(0, len(data), 97)})), tmp_path / "x")


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_every_flipped_bit_is_refused(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    data = bytearray(request.getfixturevalue(kind).read_bytes())
    file = tmp_path / "x"
    for at in sorted({*range(120), *range(120, len(data), 53), *range(len(data) - 60, len(data))}):
        bit = 1 << at % 8
        if kind == "sealed" and at == 10:
            bit = 4  # a cost of 2^5 and not one of 2^65
        data[at] ^= bit
        file.write_bytes(data)
        refused(file, f"bit {bit} of byte {at}")
        data[at] ^= bit


@pytest.mark.parametrize("kind", ["plain", "sealed"])
def test_what_stands_behind_the_end_is_refused(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = request.getfixturevalue(kind).read_bytes()
    for more in (b"\0", b"x" * TRAILER_LENGTH, data):
        (tmp_path / "x").write_bytes(data + more)
        refused(tmp_path / "x", f"{len(more)} more bytes")


def seal(data: bytes) -> bytearray:
    out = io.BytesIO()
    writer = SealedWriter(out, PASSPHRASE, CHEAP)
    writer.write(data)
    writer.finish()
    return bytearray(out.getvalue())


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7])
def test_sealed_streams_of_every_length_open(length: int) -> None:
    data = os.urandom(length)
    reader = SealedReader(io.BytesIO(seal(data)), PASSPHRASE, "x")
    parts = []
    while part := reader.read(1000):
        parts.append(part)
    assert b"".join(parts) == data


def test_chunks_cannot_be_left_out_swapped_or_cut_off(tmp_path: Path) -> None:
    whole, step = seal(bytes(3 * CHUNK)), CHUNK + TAG
    head, chunks = whole[:HEADER_LENGTH], [whole[HEADER_LENGTH + n * step :][:step] for n in range(3)]
    for order, what in (((0, 1), "is cut"), ((0, 2), "was altered"), ((1, 0, 2), "was altered"), ((), "cut")):
        reader = SealedReader(io.BytesIO(head + b"".join(chunks[n] for n in order)), PASSPHRASE, "x")
        with pytest.raises(PeerError, match=what):
            while reader.read(CHUNK):
                pass


def archive_of(*members: tuple[str, bytes, str]) -> ArchiveReader:
    """An export by hand: the first member is the contents."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.type = len(data), 0o600, kind.encode()
            tar.addfile(info, io.BytesIO(data))
    packed = zstandard.ZstdCompressor().compress(raw.getvalue())
    return ArchiveReader(io.BytesIO(packed + bytes(TRAILER_LENGTH)), "x")


@pytest.mark.parametrize(
    "path",
    ["../up", "/etc/passwd", "a/../../b", "a//b", ".ssh/keys", "a/.b", "", "a\nb", "a/", "ü", "a" * 300],
)
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(UsageError, match="name that cannot be exported"):
        ExportedFile(path, 0, 0o600, Digest.of(b""))


def test_contents_with_a_path_trick_or_two_forms_are_refused() -> None:
    good = Contents(1, "0", "s", 1, (ExportedFile("catalogue.sqlite", 0, 0o600, Digest.of(b"")),))
    raw = good.encode()
    assert Contents.decode(raw, "x") == good
    tricks = {
        b'"catalogue.sqlite"': b'"../catalogue.sqlite"',
        b'"mode":"600"': b'"mode":"4755"',
        b'"length":0': b'"length":-1',
        b'"made_at":1': b'"made_at":1.0',
        b'"version":1': b'"version":2',
        b'"site":"s"': b'"site":"s","more":1',
        b"{": b" {",
    }
    for old, new in tricks.items():
        assert old in raw
        with pytest.raises((PeerError, UsageError)):
            Contents.decode(raw.replace(old, new, 1), "x")


def test_the_same_path_as_file_and_folder_or_twice_is_refused() -> None:
    files = [ExportedFile(path, 0, 0o600, Digest.of(b"")) for path in ("a", "a/b", "catalogue.sqlite")]
    with pytest.raises(UsageError, match="same name"):
        Contents(1, "0", "s", 1, tuple(files))
    with pytest.raises(UsageError, match="twice or out of order"):
        Contents(1, "0", "s", 1, (files[2], files[2]))


def test_members_that_the_contents_do_not_list_are_refused() -> None:
    contents = Contents(1, "0", "s", 1, (ExportedFile("catalogue.sqlite", 1, 0o600, Digest.of(b"x")),))
    first = ("fwmgr-export.json", contents.encode(), "0")
    for member in (
        ("master/other", b"x", "0"),
        ("master/catalogue.sqlite", b"y", "0"),
        ("master/catalogue.sqlite", b"x", "2"),  # a symbolic link
        ("../catalogue.sqlite", b"x", "0"),
    ):
        with pytest.raises(PeerError):
            for _, chunks in archive_of(first, member).files():
                for _ in chunks:
                    pass
    with pytest.raises(PeerError, match="not an export of a master"):
        archive_of(("master/catalogue.sqlite", b"x", "0"))


def test_a_master_that_is_there_is_not_replaced_unasked_and_kept_when_asked(
    plain: Path, tmp_path: Path
) -> None:
    there = small_site(tmp_path / "m")
    before = tree(there.directory)
    with pytest.raises(UsageError, match="there is a master already"):
        bring_back(plain, there.directory)
    assert tree(there.directory) == before
    with opened_export(plain, None) as archive:
        restored = restore(archive, there.directory, replace=True)
    assert restored.replaced is not None and tree(restored.replaced) == before
    assert tree(there.directory) != before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["m", restored.replaced.name])


def test_a_running_master_is_never_replaced(plain: Path, tmp_path: Path) -> None:
    there = small_site(tmp_path / "m")
    db = sqlite3.connect(there.catalogue, isolation_level=None)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UsageError, match="in use by another process"):
        bring_back(plain, there.directory, replace=True)
    db.close()


def test_a_broken_export_leaves_nothing_behind(plain: Path, tmp_path: Path) -> None:
    data = bytearray(plain.read_bytes())
    data[-200] ^= 1
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(FwmgrError):
        bring_back(tmp_path / "x", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_export_without_a_blob_that_its_catalogue_names_is_refused(tmp_path: Path) -> None:
    whole = gathered(small_site(tmp_path / "m"), tmp_path / "snapshot.sqlite")
    blobs = [file for file in whole.contents.files if file.path.startswith(BLOBS)]
    files = tuple(file for file in whole.contents.files if file is not blobs[0])
    file = tmp_path / "a.fwx"
    write_export(file, replace(whole, contents=replace(whole.contents, files=files)), None)
    with pytest.raises(PeerError, match="what a document refers to is missing"):
        bring_back(file, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_damaged_blob_is_found_when_it_is_exported(tmp_path: Path) -> None:
    site = small_site(tmp_path / "m")
    victim = next((site.blobs / "blobs" / "sha256").glob("??/*"))
    victim.chmod(0o600)
    victim.write_bytes(b"other bytes")
    with pytest.raises(UsageError, match="a blob is not what its name says"):
        gathered(site, tmp_path / "s")


def test_a_file_that_changes_meanwhile_ends_the_export_and_leaves_the_good_one(
    site: MasterPaths, tmp_path: Path
) -> None:
    site = small_site(tmp_path / "m")
    good = tmp_path / "a.fwx"
    good.write_bytes(b"the export of yesterday")
    for after in (b"b secret", b"a secret that some other room has put here, and more"):
        found = gathered(site, tmp_path / "s")
        (site.directory / "site.key").write_bytes(after)
        with pytest.raises(PeerError):
            write_export(good, found, None, replace=True)
        assert good.read_bytes() == b"the export of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fwx", "m", "s"]


def test_a_file_that_is_there_is_not_written_over_unasked(site: MasterPaths, tmp_path: Path) -> None:
    (tmp_path / "a.fwx").write_bytes(b"good")
    with pytest.raises(UsageError, match="there is a file already"):
        write_export(tmp_path / "a.fwx", gathered(site, tmp_path / "s"), None)
    assert (tmp_path / "a.fwx").read_bytes() == b"good"


def test_an_export_is_for_its_owner_alone(plain: Path, sealed: Path) -> None:
    assert plain.stat().st_mode & 0o777 == sealed.stat().st_mode & 0o777 == 0o600


def test_what_is_no_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"), opened_export(tmp_path / "none", None):
        pass
    (tmp_path / "x").write_bytes(b"GIF89a, not an export")
    with pytest.raises(PeerError, match="not an export"), opened_export(tmp_path / "x", None):
        pass
    with pytest.raises(UsageError, match="not a file"), opened_export(tmp_path, None):
        pass


def test_the_contents_tell_when_and_of_whom(plain: Path) -> None:
    with opened_export(plain, None) as archive:
        assert archive.contents.made_at == MADE_AT and archive.contents.revision == 3
        assert len(archive.contents.site) == 64


def test_what_was_removed_between_snapshot_and_files_ends_the_export(tmp_path: Path) -> None:
    site = small_site(tmp_path / "m")
    blobs = BlobStore(site.blobs)
    blobs.path(next(blobs.digests())).unlink()
    with pytest.raises(PeerError, match=r"refers to is missing.*export again"):
        gathered(site, tmp_path / "snapshot.sqlite")


def test_a_sealed_setting_that_is_gone_ends_the_export_too(tmp_path: Path) -> None:
    site = small_site(tmp_path / "m")
    variable = VariableRecord("TOKEN", secret=True, length=3, mark=Digest.of(b"x"), sealed="0" * 32)
    record = SettingsRecord("slot/1", 1.0, variables=(variable,))
    put(site, record.key, record.to_document())
    with pytest.raises(PeerError, match="settings/slot/1: what a document refers to is missing"):
        gathered(site, tmp_path / "snapshot.sqlite")
    site.settings.mkdir()
    (site.settings / ("0" * 32)).write_bytes(b"sealed")
    names = {file.path for file in gathered(site, tmp_path / "other.sqlite").contents.files}
    assert f"settings/{'0' * 32}" in names


def put(site: MasterPaths, key: str, value: dict[str, Any]) -> None:
    async def write() -> None:
        catalogue = SqliteCatalogue(site.catalogue, lambda: 0.0)
        await catalogue.transact([], [Put(key, value)])
        catalogue.close()

    asyncio.run(write())
