"""`fwmgr package import-deb` as a person uses it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firmware_mgr.cli.main import app
from firmware_mgr.imaging.tree import File
from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.packaging.keys import keyring_of, load_key, new_key

from .deb_maker import BUILT, write_deb
from .elf_programs import program
from .test_deb_import import server_debs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    new_key(tmp_path, "k")
    return tmp_path


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["package", "import-deb", *words, "--key", "k.key"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def names(folder: Path) -> list[str]:
    return [str(path) for path in server_debs(folder)]


def test_the_screen_shows_modules_libraries_and_what_comes_next(folder: Path) -> None:
    said = run(*names(folder), "--name", "server", "--version", "1.0", "--out", "s.fwp")
    lines = {line.split("  ")[0]: line.split() for line in said.splitlines() if line.strip()}
    assert lines["server binary"][2:] == ["·", "1", "1", "1"]
    assert lines["plugin"][1:] == ["·", "1", "1", "1"]
    assert lines["libssl.so.3"][1:] == ["1", "1", "1"]
    assert "no [[process]]" in said and "Next: fwmgr package inspect s.fwp" in said
    with PackageFile.open(folder / "s.fwp", keyring_of([load_key(folder / "k.key")])) as package:
        package.check_content()
        assert (package.toc.name, package.toc.version, package.toc.build_date) == ("server", "1.0", BUILT)


def test_json_has_the_whole_report(folder: Path) -> None:
    report = json.loads(run(*names(folder), "--name", "server", "--version", "1.0", "--json"))
    assert report["file"] == "server_1.0.fwp"
    assert [deb["name"] for deb in report["debs"]].count("libserver1") == 3
    (use,) = [
        item for item in report["libraries"] if (item["path"], item["cpu"]) == ("usr/sbin/server", "armv7")
    ]
    assert use["every"]["libcrypto.so.3"] == "usr/lib/arm-linux-gnueabihf/libcrypto.so.3"
    assert {note["kind"] for note in report["notes"]} == {"to know"}
    assert {need["met"] for need in report["dependencies"]} == {"merged"}


def test_two_runs_give_the_same_file(folder: Path) -> None:
    for out in ("a.fwp", "b.fwp"):
        run(*names(folder), "--name", "server", "--version", "1.0", "--out", out)
    assert (folder / "a.fwp").read_bytes() == (folder / "b.fwp").read_bytes()


def test_a_sealed_key_takes_its_passphrase_from_a_file(folder: Path) -> None:
    (folder / "secret").write_text("correct horse battery staple\n")
    (folder / "k.key").unlink()
    (folder / "k.pem").unlink()
    new_key(folder, "k", "correct horse battery staple")
    said = run(*names(folder), "--name", "server", "--version", "1.0", "--passphrase-file", "secret")
    assert "server_1.0.fwp: server 1.0" in said


def test_a_time_from_the_environment_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    report = json.loads(run(*names(folder), "--name", "server", "--version", "1.0", "--json"))
    assert (report["build_date"], report["build_date_from"]) == (1600000000, "SOURCE_DATE_EPOCH")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(UsageError, match=r"\$SOURCE_DATE_EPOCH: not a time"):
        run(*names(folder), "--name", "server", "--version", "1.0")


def test_a_library_from_outside_and_a_local_dependency_are_shown(folder: Path) -> None:
    write_deb(folder, {"usr/bin/x": File(program("libc.so.6"), 0o755)}, "xx", Depends="libc6 (>= 2.34)")
    deb = "xx_1.0-1_arm64.deb"
    with pytest.raises(UsageError, match=r"libc6 \(>= 2\.34\)"):
        run(deb, "--name", "x", "--version", "1")
    assert not (folder / "x_1.fwp").exists()
    said = run(deb, "--name", "x", "--version", "1", "--depend", "libc6=glibc")
    assert "1, from outside" in said and "local dependency  glibc" in said


def test_what_a_deb_says_moves_no_cursor(folder: Path) -> None:
    write_deb(folder, {"usr/a\x1b[31m": File(b"x")}, "xx")
    assert "\x1b" not in run("xx_1.0-1_arm64.deb", "--name", "x", "--version", "1")
