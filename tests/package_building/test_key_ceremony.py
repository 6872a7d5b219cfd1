"""The key ceremony of docs/OPERATING.md, run as it is written; and what its commands say when they refuse."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from firmware_mgr.cli.main import app
from firmware_mgr.lab.sim.software import web_package
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.package.root import RootRefused
from firmware_mgr.package.root_chain import RootChain
from firmware_mgr.package.trust import Role
from firmware_mgr.packaging.root_drafts import sign
from tests.package.roots import ALICE, BOB, STRANGER, make_chain, make_root

PAGE = Path(__file__).resolve().parents[2] / "docs" / "OPERATING.md"
PASSPHRASE = "correct horse battery staple"


def ask(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def fwmgr(*words: str) -> str:
    """It has to end well."""
    done = ask(*words)
    assert done.exit_code == 0, f"fwmgr {' '.join(words)}: {done.output} {done.exception!r}"
    return done.stdout


def refused(*words: str) -> FwmgrError:
    done = ask(*words)
    assert isinstance(done.exception, FwmgrError), f"fwmgr {' '.join(words)}: {done.output}"
    return done.exception


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a package that somebody else has signed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    (tmp_path / "web.fwp").write_bytes(web_package(STRANGER))
    return tmp_path


def written_commands() -> list[list[str]]:
    section = PAGE.read_text().partition("## A key ceremony\n")[2].partition("\n## ")[0]
    lines = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    return [shlex.split(line, comments=True) for line in lines]


def test_the_ceremony_is_run_as_it_is_written(desk: Path) -> None:
    commands = written_commands()
    assert len(commands) > 20
    said = ""
    for program, *words in commands:
        if program == "cp":
            shutil.copy(*words)
            continue
        assert program == "fwmgr"
        said = fwmgr(*words)
    assert "good" in said and "web 1.0" in said
    root = MasterPaths(desk / "var" / "master").read_root()
    assert root is not None and root.newest.version == 2
    assert [key.reason for key in root.newest.revoked.values()] == ["laptop stolen"]
    assert root.newest.roles[Role.RELEASE].threshold == 2

    shown = fwmgr("key", "root", "show", "root-2.json")
    for word in (
        "alice",
        "bob",
        "release-2027",
        "until 2028-01-01",
        "laptop stolen",
        "1.4.69-1",
        "2 of 2",
        "ci",
    ):
        assert word in shown
    document = json.loads(fwmgr("key", "root", "show", "root-2.json", "--json"))
    assert document["draft"] is False and len(document["signed_by"]) == 2
    assert document["root"] == root.newest.document()
    verified = json.loads(fwmgr("package", "verify", "web.fwp", "--root", "root-2.json", "--json"))
    assert verified["role"] == "release" and len(verified["signed_by"]) == 2

    fwmgr("key", "sign", "web.fwp", "--key", "keys/ci.key", "--out", "test.fwp")
    assert "TEST package" in refused("package", "verify", "test.fwp", "--root", "root-2.json").what
    assert "web 1.0 TEST" in fwmgr("package", "verify", "test.fwp", "--root", "root-2.json", "--accept-test")


def test_present_keys_go_on_releasing_under_a_first_root(desk: Path) -> None:
    for name in ("old", "keeper"):
        fwmgr("key", "new", name, "--dir", "keys")
    fwmgr("master", "trust", "keys/old.pem", "--dir", "m")
    fwmgr("key", "root", "init", "r.json", "--root", "keys/keeper.pem", "--present", "m/package-keys")
    assert "draft: 0 of 1" in fwmgr("key", "root", "init", "r2.json", "--root", "keys/keeper.pem")
    fwmgr("key", "root", "sign", "r.json", "--key", "keys/keeper.key")
    fwmgr("key", "root", "adopt", "r.json", "--dir", "m")
    fwmgr("key", "sign", "web.fwp", "--key", "keys/old.key")
    fwmgr("package", "verify", "web.fwp", "--root", "m/trust/root.json")


def test_a_sealed_key_takes_its_passphrase(desk: Path) -> None:
    fwmgr("key", "new", "alice", "--dir", "keys", "--passphrase-file", "passphrase")
    sealed = desk / "keys" / "alice.key"
    assert b"ENCRYPTED PRIVATE KEY" in sealed.read_bytes() and sealed.stat().st_mode & 0o777 == 0o600
    (desk / "wrong").write_text("not the passphrase\n")
    sign = ("key", "sign", "web.fwp", "--key", "keys/alice.key")
    assert "passphrase is wrong" in refused(*sign, "--passphrase-file", "wrong").what
    assert "passphrase" in refused(*sign).what
    shown = fwmgr("key", "show", "keys/alice.pem").split()
    assert fwmgr("key", "show", "keys/alice.key", "--passphrase-file", "passphrase").split() == shown
    (desk / "short").write_text("short\n")
    error = refused("key", "new", "bob", "--dir", "keys", "--passphrase-file", "short")
    assert "too short" in error.what and not (desk / "keys" / "bob.key").exists()
    sealed.chmod(0o640)
    assert "read by others" in refused(*sign, "--passphrase-file", "passphrase").what


def test_a_package_that_is_not_good_by_the_root_is_not_sealed(desk: Path) -> None:
    for name in ("keeper", "release", "other"):
        fwmgr("key", "new", name, "--dir", "keys")
    init = ("key", "root", "init", "r.json", "--root", "keys/keeper.pem", "--release", "keys/release.pem")
    fwmgr(*init)
    assert "not signed by enough" in refused("package", "verify", "web.fwp", "--root", "r.json").what
    fwmgr("key", "root", "sign", "r.json", "--key", "keys/keeper.key")
    fwmgr("package", "sign-request", "web.fwp", "--signatures", "1")
    fwmgr("package", "sign", "web.fwp.request", "--key", "keys/other.key")
    before = (desk / "web.fwp").read_bytes()
    error = refused("package", "seal", "web.fwp", "web.fwp.request.other.signature", "--root", "r.json")
    assert error.what == "signed by an unknown key"
    assert (desk / "web.fwp").read_bytes() == before
    assert sorted(path.name for path in desk.iterdir() if path.name.startswith(".")) == []


def test_no_file_is_overwritten_by_a_new_draft(desk: Path) -> None:
    fwmgr("key", "new", "keeper", "--dir", "keys")
    fwmgr("key", "root", "init", "root.json", "--root", "keys/keeper.pem")
    assert (
        "there is a file already"
        in refused("key", "root", "init", "root.json", "--root", "keys/keeper.pem").what
    )
    fwmgr("key", "root", "sign", "root.json", "--key", "keys/keeper.key")
    fwmgr("key", "root", "minimum", "root.json", "web", "1")
    error = refused("key", "root", "minimum", "root.json", "web", "2")
    assert isinstance(error, UsageError) and error.where == "root-2.json" and "--out" in error.hint
    assert "root keys" in refused("key", "root", "init", "x.json").what


def test_one_says_by_what_to_judge(desk: Path) -> None:
    assert "say by what to judge" in refused("package", "verify", "web.fwp").what


@pytest.mark.parametrize("text", ["tomorrow", "2025-13-01", "@x", "@-1"])
def test_a_moment_is_a_day_a_time_or_seconds(desk: Path, text: str) -> None:
    fwmgr("key", "new", "keeper", "--dir", "keys")
    fwmgr("key", "root", "init", "root.json", "--root", "keys/keeper.pem")
    assert refused("key", "root", "earliest", "root.json", text).what == "not a moment"


def test_the_end_of_a_chain_is_announced_and_no_draft_is_written_beyond_it(desk: Path) -> None:
    minimums = {f"package-{number:04}": "1.2.3-4+deb12u1" for number in range(1000)}
    Path("root.json").write_bytes(make_chain(replace(make_root(), minimum_versions=minimums)).encode())
    warned, file = [], "root.json"
    while True:
        version = len(RootChain.decode(Path(file).read_bytes()).roots) + 1
        done = ask("key", "root", "earliest", file, "@1", "--out", f"root-{version}.json")
        if done.exit_code:
            break
        file = f"root-{version}.json"
        warned.append("more versions like this one fit" in done.stderr)
        draft = RootChain.decode(Path(file).read_bytes())
        Path(file).write_bytes(sign(draft, [ALICE, BOB]).encode())
    assert isinstance(done.exception, RootRefused) and "--start-over" in done.exception.hint
    assert not Path(f"root-{version}.json").exists()
    assert not warned[0] and warned[-3:] == [True] * 3 and warned == sorted(warned)
    assert "more versions like this one fit" in fwmgr("key", "root", "show", file).replace("\n", " ")
    assert json.loads(fwmgr("key", "root", "show", file, "--json"))["versions_left"] == 0
