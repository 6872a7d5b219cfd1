"""`fwmgr package` and `fwmgr key` as a person uses them: build, look into, verify."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firmware_mgr.cli import key, package
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.package.errors import PackageRefused

MANIFEST = """
[package]
name = "tool"
version = "1.0"
build_date = 2025-06-01T00:00:00Z

[[file]]
path = "usr/bin/tool"
source = "tool"
kind = "program"
function = "tool"

[[symlink]]
path = "usr/bin/other"
target = "tool"

[[process]]
name = "tool"
module = "usr/bin/tool"
argv = ["tool", "two words", "red\\u001b[31m"]
user = "1000:1000"
readiness = "started"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a manifest and a key, in which commands are run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manifest.toml").write_text(MANIFEST)
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    run(key.app, "new", "release", "--dir", "keys")
    return tmp_path


def run(app: object, *arguments: str) -> str:
    """What a command prints. Its error, if any, is raised."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result.output


def test_what_is_built_is_verified_and_shown(folder: Path) -> None:
    said = json.loads(run(package.app, "build", ".", "--key", "keys/release.key", "--json"))
    file = folder / "tool_1.0.fwp"
    assert said["file"] == file.name
    assert said["digest"] == Digest.of(file.read_bytes()).hex
    verified = json.loads(run(package.app, "verify", file.name, "--keys", "keys", "--json"))
    assert verified["signed_by"] == [
        item["id"] for item in json.loads(run(key.app, "list", "--dir", "keys", "--json"))
    ]
    assert "tool_1.0.fwp: good" in run(package.app, "verify", file.name, "--keys", "keys")
    assert sorted(path.name for path in folder.iterdir()) == ["keys", "manifest.toml", "tool", "tool_1.0.fwp"]


def test_looking_into_a_package_shows_all_and_obeys_nothing_in_it(folder: Path) -> None:
    run(package.app, "build", "manifest.toml", "--key", "keys/release.key", "--out", "t.fwp")
    shown = run(package.app, "inspect", "t.fwp")
    for text in ("tool 1.0", "usr/bin/tool  (tool)", "usr/bin/other -> tool", "'two words'", "(not checked)"):
        assert text in shown
    assert "\x1b[31m" not in shown
    document = json.loads(run(package.app, "inspect", "t.fwp", "--json"))
    assert [module["path"] for module in document["modules"]] == ["usr/bin/other", "usr/bin/tool"]
    assert document["processes"][0]["argv"][2] == "red\x1b[31m"
    assert (folder / "t.fwp").stat().st_size == document["length"]


def test_a_package_by_a_key_that_is_not_trusted_is_refused(folder: Path) -> None:
    run(package.app, "build", ".", "--key", "keys/release.key", "--out", "t.fwp")
    run(key.app, "new", "stranger", "--dir", "others")
    with pytest.raises(PackageRefused, match="unknown key"):
        run(package.app, "verify", "t.fwp", "--keys", "others")
    with pytest.raises(UsageError, match="no directory of public keys"):
        run(package.app, "verify", "t.fwp", "--keys", "absent")
    assert (folder / "others/stranger.key").exists()


def test_altered_content_is_refused(folder: Path) -> None:
    run(package.app, "build", ".", "--key", "keys/release.key", "--out", "t.fwp")
    data = bytearray((folder / "t.fwp").read_bytes())
    data[-1] ^= 1
    (folder / "t.fwp").write_bytes(data)
    with pytest.raises(PackageRefused, match="usr/bin/tool: piece 0: content was altered"):
        run(package.app, "verify", "t.fwp", "--keys", "keys")


def test_the_keyring_that_boot_images_carry_is_printed(folder: Path) -> None:
    document = json.loads(run(key.app, "export", "--dir", "keys"))
    assert document["format"] == 1
    assert len(document["keys"]) == 1
    assert (folder / "keys/release.key").read_text() not in json.dumps(document)


def test_a_key_is_listed_by_name_and_id(folder: Path) -> None:
    made = json.loads(run(key.app, "new", "test", "--dir", "keys", "--json"))
    assert made["id"] + "  test" in run(key.app, "list", "--dir", "keys")
    assert (folder / made["private"]).exists()
