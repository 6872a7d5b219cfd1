"""`fwmgr master export | import` as a script uses them: exit codes, JSON, and no question at no terminal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_mgr.master.site import MasterPaths
from tests.master.small_site import PASSPHRASE, small_site, tree


@pytest.fixture
def site(tmp_path: Path) -> MasterPaths:
    (tmp_path / "word").write_text(PASSPHRASE + "\nanother line\n")
    return small_site(tmp_path / "m")


def fwmgr(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firmware_mgr.app.fwmgr", *map(str, words)]
    return subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_a_sealed_export_is_listed_and_imported_with_the_passphrase_of_a_file(
    site: MasterPaths, tmp_path: Path
) -> None:
    word = ("--passphrase-file", "word")
    made = fwmgr(tmp_path, "master", "export", "a.fwx", "--dir", "m", *word, "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["sealed"] is True
    listed = fwmgr(tmp_path, "master", "export", "--list", "a.fwx", *word, "--json")
    assert "catalogue.sqlite" in [file["path"] for file in json.loads(listed.stdout)["files"]]
    back = fwmgr(tmp_path, "master", "import", "a.fwx", "--dir", "new", *word)
    assert back.returncode == 0, back.stderr
    assert tree(tmp_path / "new") == tree(site.directory)


def test_without_a_terminal_keys_are_not_written_in_plain_unless_that_is_said(
    site: MasterPaths, tmp_path: Path
) -> None:
    refused = fwmgr(tmp_path, "master", "export", "a.fwx", "--dir", "m")
    assert refused.returncode == 2 and "--plain" in refused.stderr and not (tmp_path / "a.fwx").exists()
    assert fwmgr(tmp_path, "master", "export", "a.fwx", "--dir", "m", "--plain").returncode == 0
    again = fwmgr(tmp_path, "master", "export", "a.fwx", "--dir", "m", "--plain")
    assert again.returncode == 2 and "there is a file already" in again.stderr


def test_an_altered_export_ends_with_1_and_says_where(site: MasterPaths, tmp_path: Path) -> None:
    fwmgr(tmp_path, "master", "export", "a.fwx", "--dir", "m", "--plain")
    data = bytearray((tmp_path / "a.fwx").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.fwx").write_bytes(data)
    for words in (("export", "--list", "a.fwx"), ("import", "a.fwx", "--dir", "new")):
        ended = fwmgr(tmp_path, "master", *words, "--json")
        assert ended.returncode == 1
        assert json.loads(ended.stderr)["where"].startswith("a.fwx")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_no_masters_is_not_exported(tmp_path: Path) -> None:
    ended = fwmgr(tmp_path, "master", "export", "a.fwx", "--dir", "none", "--plain")
    assert ended.returncode == 2 and "there is no master" in ended.stderr
