"""Debian packages from a small archive in a folder: resolving, pinning, keeping, reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.imaging.debs import DebFile, fetch_debs, read_deb
from firmware_mgr.imaging.tree import File
from firmware_mgr.model.errors import PeerError, UsageError

from .archive import Archive


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = Archive(tmp_path / "archive")
    archive.add("libx", "1:2.0~rc1")
    archive.add("tool", "1.0", depends="libx, sh")
    archive.add("sh", "5")
    archive.publish()
    return archive


def names(debs: tuple[DebFile, ...]) -> list[str]:
    return [f"{deb.name} {deb.version}" for deb in debs]


def test_a_package_comes_with_what_it_needs(archive: Archive, tmp_path: Path) -> None:
    debs = fetch_debs(["tool"], "arm64", tmp_path / "cache", apt_etc=archive.etc)
    assert names(debs) == ["libx 1:2.0~rc1", "sh 5", "tool 1.0"]
    assert read_deb(debs[2].path)["usr/share/tool/version"] == File(b"1.0")


def test_assumed_packages_are_not_fetched(archive: Archive, tmp_path: Path) -> None:
    debs = fetch_debs(["tool"], "arm64", tmp_path / "cache", assumed=["sh"], apt_etc=archive.etc)
    assert names(debs) == ["libx 1:2.0~rc1", "tool 1.0"]


def test_what_was_resolved_stays_until_refresh(archive: Archive, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = fetch_debs(["tool"], "arm64", cache, apt_etc=archive.etc)
    archive.add("tool", "1.1", depends="libx, sh")
    archive.publish()
    assert fetch_debs(["tool"], "arm64", cache, apt_etc=archive.etc) == first
    assert "tool 1.1" in names(fetch_debs(["tool"], "arm64", cache, refresh=True, apt_etc=archive.etc))


def test_without_a_lock_a_package_that_left_the_archive_is_resolved_again(
    archive: Archive, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    old = fetch_debs(["tool"], "arm64", cache, apt_etc=archive.etc)[2]
    old.path.unlink()
    (archive.root / "debian/pool/tool_1.0_arm64.deb").unlink()
    archive.add("tool", "1.1", depends="libx, sh")
    archive.publish()
    assert "tool 1.1" in names(fetch_debs(["tool"], "arm64", cache, apt_etc=archive.etc))


def test_a_lock_gives_the_same_files_to_another_cache(archive: Archive, tmp_path: Path) -> None:
    lock = tmp_path / "tool.lock.toml"
    first = fetch_debs(["tool"], "arm64", tmp_path / "one", lock, apt_etc=archive.etc)
    archive.add("sh", "6")
    archive.publish()
    second = fetch_debs(["tool"], "arm64", tmp_path / "two", lock, apt_etc=archive.etc)
    assert [deb.sha256 for deb in second] == [deb.sha256 for deb in first]


def test_a_lock_that_the_archive_left_behind_says_how_to_refresh(archive: Archive, tmp_path: Path) -> None:
    lock = tmp_path / "tool.lock.toml"
    fetch_debs(["tool"], "arm64", tmp_path / "one", lock, apt_etc=archive.etc)
    (archive.root / "debian/pool/tool_1.0_arm64.deb").unlink()
    with pytest.raises(PeerError, match=r"moved on.*tool_1\.0.*--refresh"):
        fetch_debs(["tool"], "arm64", tmp_path / "two", lock, apt_etc=archive.etc)


def test_a_package_that_changed_under_its_name_is_refused(archive: Archive, tmp_path: Path) -> None:
    lock = tmp_path / "tool.lock.toml"
    fetch_debs(["tool"], "arm64", tmp_path / "one", lock, apt_etc=archive.etc)
    file = archive.root / "debian/pool/tool_1.0_arm64.deb"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(PeerError, match="moved on"):
        fetch_debs(["tool"], "arm64", tmp_path / "two", lock, apt_etc=archive.etc)
    assert not list((tmp_path / "two/debs/sha256").glob(f"*{file.name}"))


def test_a_lock_for_other_packages_is_refused(archive: Archive, tmp_path: Path) -> None:
    lock = tmp_path / "sh.lock.toml"
    fetch_debs(["sh"], "arm64", tmp_path / "cache", lock, apt_etc=archive.etc)
    with pytest.raises(UsageError, match="expected arm64: tool, found arm64: sh"):
        fetch_debs(["tool"], "arm64", tmp_path / "cache", lock, apt_etc=archive.etc)


def test_an_unknown_package_is_named(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nosuch"):
        fetch_debs(["nosuch"], "arm64", tmp_path / "cache", apt_etc=archive.etc)


def test_an_unmet_dependency_is_named(archive: Archive, tmp_path: Path) -> None:
    archive.add("broken", "1", depends="nowhere (>= 3)")
    archive.publish()
    with pytest.raises(UsageError, match="nowhere"):
        fetch_debs(["broken"], "arm64", tmp_path / "cache", apt_etc=archive.etc)


def test_a_damaged_package_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(b"!<arch>\nnothing")
    with pytest.raises(PeerError, match=r"x\.deb"):
        read_deb(path)


def test_an_index_of_security_fixes_that_is_being_refreshed_is_left_out_and_named(
    archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive.announce_security(whole=False)
    debs = fetch_debs(["tool"], "arm64", tmp_path / "cache", apt_etc=archive.etc)
    assert names(debs) == ["libx 1:2.0~rc1", "sh 5", "tool 1.0"]
    assert "index of bookworm-security cannot be read now" in caplog.text
    assert "--refresh" in caplog.text


def test_an_index_of_the_release_itself_that_cannot_be_read_is_an_error(
    archive: Archive, tmp_path: Path
) -> None:
    archive.announce_security(whole=True)
    index = archive.root / "debian/dists/bookworm/main/binary-arm64/Packages"
    index.write_bytes(index.read_bytes() + b"\n")
    with pytest.raises(PeerError, match="index cannot be read"):
        fetch_debs(["tool"], "arm64", tmp_path / "cache", apt_etc=archive.etc)
