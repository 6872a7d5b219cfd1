"""`fwmgr package` and `fwmgr key` as a person uses them: build, look into, verify."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from firmware_mgr.cli import key, main, package
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.package.table import encode_table
from firmware_mgr.packaging.build import seal
from firmware_mgr.packaging.compose_manifest import load_composite_manifest
from firmware_mgr.packaging.keys import keyring_of, load_key
from tests.package.goldens import GOLDENS
from tests.package.samples import KEY
from tests.package.samples_bundle import image_source

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
    assert verified["substance_not_checked"] == []
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


def test_a_package_whose_substance_is_not_by_the_rules_is_refused(folder: Path) -> None:
    run(package.app, "build", ".", "--key", "keys/release.key", "--out", "t.fwp")
    signer = load_key(folder / "keys/release.key")
    with PackageFile.open(folder / "t.fwp", keyring_of([signer])) as built:
        modules = tuple(
            replace(one, substantive=Digest.of(b"")) if one.path == "usr/bin/tool" else one
            for one in built.toc.modules
        )
        toc, start = replace(built.toc, modules=modules), built.header.content_offset
    content = (folder / "t.fwp").read_bytes()[start:]
    (folder / "t.fwp").write_bytes(seal(encode_table(toc), content, [signer], signed_at=1))
    with pytest.raises(PackageRefused, match=r"usr/bin/tool .any.: substantive signature is not by"):
        run(package.app, "verify", "t.fwp", "--keys", "keys")


def test_what_of_the_substance_was_not_checked_is_said(folder: Path) -> None:
    old = next(golden for golden in GOLDENS if golden.name == "format-1.fwp")
    public = KEY.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "keys/golden.pem").write_bytes(public)
    words = ("verify", str(old.path), "--keys", "keys")
    said = json.loads(run(package.app, *words, "--json"))["substance_not_checked"]
    assert said == [f"{old.path}: its format has other rules"]
    shown = " ".join(run(package.app, *words).split())
    assert "good" in shown and "substance not checked" in shown


def test_the_keyring_that_boot_images_carry_is_printed(folder: Path) -> None:
    document = json.loads(run(key.app, "export", "--dir", "keys"))
    assert document["format"] == 1
    assert len(document["keys"]) == 1
    assert (folder / "keys/release.key").read_text() not in json.dumps(document)


def test_a_key_is_listed_by_name_and_id(folder: Path) -> None:
    made = json.loads(run(key.app, "new", "test", "--dir", "keys", "--json"))
    assert made["id"] + "  test" in run(key.app, "list", "--dir", "keys")
    assert (folder / made["private"]).exists()


COMPOSITE = """
[composite]
name = "site"
version = "2025.1"

[targets]
boards = ["arm-board"]
slots = ["2/3", "1"]

[[image]]
folder = "image"

[[package]]
file = "t.fwp"

[class.line]
packages = ["tool=1.0"]
images = { arm-board = "7" }

[[card]]
slot = "2/3"
class = "line"
location = "left"

[preferred.packages]
tool = "1.0"
"""


@pytest.fixture
def composite(folder: Path) -> Path:
    """A composite image of a package, a boot image and card information."""
    run(package.app, "build", ".", "--key", "keys/release.key", "--out", "t.fwp")
    for name, data in image_source().files.items():
        (folder / "image" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "image" / name).write_bytes(data)
    (folder / "site.toml").write_text(COMPOSITE)
    said = json.loads(run(main.app, "image", "compose", "site.toml", "--key", "keys/release.key", "--json"))
    assert said["members"] == ["boot image arm-board 7", "package tool 1.0", "card information cards 1"]
    return folder / said["file"]


def test_a_composite_image_is_composed_shown_and_verified(composite: Path) -> None:
    shown = run(package.app, "inspect", composite.name)
    for text in (
        "composite image", "site 2025.1", "for slots", "1, 2/3", "boot image", "arm-board 7", "tool 1.0",
        "class line", "slot 2/3", "left", "package tool 1.0",
    ):  # fmt: skip
        assert text in shown, text
    assert max(map(len, shown.splitlines())) <= 100
    document = json.loads(run(package.app, "inspect", composite.name, "--json"))
    assert document["card_information"]["cards"] == [{"slot": "2/3", "class": "line", "location": "left"}]
    verified = run(package.app, "verify", composite.name, "--keys", "keys")
    assert "good" in verified and "boot image arm-board 7" in verified
    again = composite.read_bytes()
    run(main.app, "image", "compose", "site.toml", "--key", "keys/release.key")
    assert composite.read_bytes() == again


def test_a_set_is_built_and_verified_and_a_damaged_member_is_refused(folder: Path) -> None:
    run(package.app, "build", ".", "--key", "keys/release.key", "--out", "t.fwp")
    words = ("build-set", "t.fwp", "--name", "tools", "--version", "1", "--key", "keys/release.key")
    assert "tools_1.fws: set tools 1, 1 members" in run(package.app, *words)
    assert "package tool 1.0" in run(package.app, "verify", "tools_1.fws", "--keys", "keys")
    data = bytearray((folder / "tools_1.fws").read_bytes())
    data[-1] ^= 1
    (folder / "tools_1.fws").write_bytes(data)
    with pytest.raises(PackageRefused, match="content was altered"):
        run(package.app, "verify", "tools_1.fws", "--keys", "keys")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("[composite]", "[composed]"), "unknown key"),
        (('version = "2025.1"', "version = 1"), "missing or not a text"),
        (('slots = ["2/3", "1"]', 'slots = ["2/3", "x"]'), "not a slot"),
        (('slots = ["2/3", "1"]', 'cards = ["1"]'), "unknown key"),
        (('file = "t.fwp"', 'path = "t.fwp"'), "unknown key"),
        (('class = "line"\n', 'class = "line"\nlocation = 3\n'), "not TOML"),
        (('location = "left"', "location = 3"), "not a text"),
        (('location = "left"', 'locatoin = "x"'), "unknown name"),
    ],
)
def test_a_wrong_key_of_a_composite_manifest_is_named_with_its_file(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    path = tmp_path / "site.toml"
    path.write_text(COMPOSITE.replace(*change))
    with pytest.raises(UsageError, match=complaint) as caught:
        load_composite_manifest(path)
    assert str(path) in caught.value.where


def test_a_damaged_file_is_dumped_as_far_as_it_can_be_read(folder: Path) -> None:
    run(package.app, "build", ".", "--key", "keys/release.key", "--out", "t.fwp")
    whole = (folder / "t.fwp").read_bytes()
    said = run(package.app, "dump", "t.fwp")
    for text in ("magic", "signed_at", "[0].path", "'usr/bin/tool'", "[1].pieces[0].sha256", "content"):
        assert text in said
    data = bytearray(whole[:-100])
    data[300] ^= 0xFF
    (folder / "t.fwp").write_bytes(data)
    lines = json.loads(run(package.app, "dump", "t.fwp", "--json"))
    assert lines[-1]["name"] == "end of file" and str(len(whole)) in lines[-1]["value"]
    covered = {at for line in lines for at in range(line["offset"], line["offset"] + line["length"])}
    assert set(range(160)) <= covered
    for length in range(0, len(whole), 11):
        (folder / "t.fwp").write_bytes(whole[:length])
        run(package.app, "dump", "t.fwp")


def test_the_signing_time_is_the_build_date_or_what_is_said(folder: Path) -> None:
    def signed_at(*words: str) -> int:
        run(package.app, "build", ".", "--key", "keys/release.key", "--out", "t.fwp", *words)
        return int(json.loads(run(package.app, "inspect", "t.fwp", "--json"))["signed_at"])

    assert signed_at() == 1_748_736_000
    assert signed_at("--signed-at", "2025-06-02T00:00:00Z") == 1_748_736_000 + 86_400
    assert signed_at("--signed-at", "now") > 1_748_736_000
    with pytest.raises(UsageError, match="not a date"):
        signed_at("--signed-at", "tomorrow")


def test_groups_and_boards_of_a_manifest_are_in_the_package(folder: Path) -> None:
    text = MANIFEST.replace(
        "build_date = 2025-06-01T00:00:00Z\n",
        "build_date = 2025-06-01T00:00:00Z\n"
        'local_dependencies = [{ name = "base", constraint = ">= 1", boards = ["pc", "arm"] }]\n',
    )
    group = '\n[[group]]\nname = "extra"\nsummary = "More"\nwanted = false\nmodules = ["usr/bin/o*"]\n'
    (folder / "manifest.toml").write_text(text + group)
    run(package.app, "build", ".", "--key", "keys/release.key", "--out", "t.fwp")
    shown = run(package.app, "inspect", "t.fwp")
    for said in ("base >= 1 (on arm, pc)", "extra", "on request", "More", "usr/bin/other -> tool  [extra]"):
        assert said in shown
    (folder / "manifest.toml").write_text(text + group.replace("usr/bin/o*", "absent"))
    with pytest.raises(UsageError, match="group names no module"):
        run(package.app, "build", ".", "--key", "keys/release.key", "--out", "t.fwp")


SECRET = "correct horse battery staple"
SITE = """
[composite]
name = "site"
version = "1"

[[package]]
file = "tool_1.0.fwp"
"""


@pytest.fixture
def sealed(folder: Path) -> list[str]:
    """The options of a key that a passphrase seals; `tool_1.0.fwp` is built."""
    (folder / "secret").write_text(SECRET + "\n")
    run(key.app, "new", "alice", "--dir", "keys", "--passphrase-file", "secret")
    run(package.app, "build", ".", "--key", "keys/release.key")
    return ["--key", "keys/alice.key", "--passphrase-file", "secret"]


def bundle(folder: Path, suffix: str, options: list[str]) -> str:
    """Made by the command for that kind; its file."""
    date = ("--signed-at", "2025-07-08")
    if suffix == "fws":
        run(package.app, "build-set", "tool_1.0.fwp", "--name", "site", "--version", "1", *date, *options)
    else:
        (folder / "site.toml").write_text(SITE)
        run(main.app, "image", "compose", "site.toml", *date, *options)
    return f"site_1.{suffix}"


@pytest.mark.parametrize("suffix", ["fws", "fwc"])
def test_a_set_and_a_composite_image_are_signed_by_several_people(
    folder: Path, sealed: list[str], suffix: str
) -> None:
    file = bundle(folder, suffix, sealed)
    run(package.app, "sign-request", file, "--signatures", "2")
    asked = f"{file}.request"
    for name, options in (("alice", sealed), ("release", ["--key", "keys/release.key"])):
        shown = " ".join(run(package.app, "sign", asked, *options).split())
        assert "signed 2025-07-08 00:00:00 UTC" in shown and "tool 1.0" in shown
        assert (
            shown.index("tool 1.0") < shown.index("as one of 2")
            and (folder / f"{asked}.{name}.signature").exists()
        )
    parts = [f"{asked}.{name}.signature" for name in ("alice", "release")]
    run(package.app, "seal", file, *parts, "--keys", "keys")
    verified = json.loads(run(package.app, "verify", file, "--keys", "keys", "--json"))
    assert len(verified["signed_by"]) == 2
    run(key.app, "sign", file, "--key", "keys/release.key")
    assert len(json.loads(run(package.app, "inspect", file, "--json"))["signed_by"]) == 1


def test_what_is_signed_is_shown_before_it_is_signed(folder: Path, sealed: list[str]) -> None:
    """With its signing time, which is what keys and minimums are judged by, and all else that it holds."""
    run(package.app, "build", ".", "--signed-at", "2025-07-08", *sealed)
    run(package.app, "sign-request", "tool_1.0.fwp", "--signatures", "1")
    (folder / "wrong").write_text("another passphrase\n")
    words = ["sign", "tool_1.0.fwp.request", "--key", "keys/alice.key", "--passphrase-file", "wrong"]
    done = CliRunner().invoke(package.app, words)
    assert isinstance(done.exception, UsageError) and not list(folder.glob("*.signature"))
    shown = " ".join(done.output.split())
    assert "built 2025-06-01 00:00:00 UTC signed 2025-07-08 00:00:00 UTC signed by nobody yet" in shown
    assert "usr/bin/tool" in shown and "two words" in shown
    said = json.loads(run(package.app, "sign", "tool_1.0.fwp.request", "--json", *sealed))
    assert said["signed_at"] - said["build_date"] == 37 * 86400
