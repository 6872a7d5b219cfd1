"""Every command and option says what it is for, and wrong usage says what is wrong and what to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from firmware_mgr.cli.main import app, main
from firmware_mgr.packaging.keys import new_key

#: Typer's own.
_GIVEN = {"help", "install_completion", "show_completion"}


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    yield " ".join(words), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*words, name))


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", ALL)
def test_command_and_options_have_help(name: str) -> None:
    command = ALL[name]
    assert command.help
    silent = [one.name for one in command.params if one.name not in _GIVEN and not getattr(one, "help", None)]
    assert silent == []


Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs `fwmgr` in this process and an empty folder: exit code, output and complaints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    for variable in ("FWMGR_MASTER", "FWMGR_CHASSIS", "FWMGR_KEYS"):
        monkeypatch.delenv(variable, raising=False)

    def run_words(words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fwmgr", *words.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run_words


@pytest.mark.parametrize("name", ALL)
def test_help_ends_well(name: str, run: Run) -> None:
    code, out, _ = run(f"{name} --help")
    assert code == 0 and "Usage: fwmgr" in out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("nonsense", 2, ["No such command"]),
        ("cards", 1, ["no master answers", "fwmgr master run", "--dir"]),
        ("card x", 2, ["not a slot", "such as 3", "x"]),
        ("power on 1", 1, ["nothing answers here", "fwmgr chassis up"]),
        ("operations --wait", 2, ["fwmgr operations ID --wait"]),
        ("master run", 2, ["where is the master?", "--address", "--chassis"]),
        ("master trust none", 2, ["no public key", "NAME.pem", "No such file"]),
        ("master trust a.key", 2, ["no public key", "a private key", "a.pem"]),
        ("package build p --key a.pem --out x", 2, ["this is a public key", "a.key"]),
        ("package build p --key none --out x", 2, ["no private key", "fwmgr key new"]),
        ("package build p --key a.key --out x", 2, ["manifest cannot be read", "manifest.toml"]),
        ("package import-deb x --name n --version 1 --key a.key", 2, [".deb file cannot be read", "x"]),
        ("package import-deb x --name N --version 1 --key a.key", 2, ["not a package name"]),
        ("package import-deb x --name n --version 1 --key a.key --depend y", 2, ["--depend", "libc6=glibc"]),
        ("package import-deb x --name n --version 1 --key a.key --manifest m", 2, ["extra manifest", "m"]),
        (
            "package inspect none",
            2,
            ["package cannot be read", "set (.fws) or composite image (.fwc)", "No such file"],
        ),
        ("key list", 2, ["no directory of public keys", "fwmgr key new"]),
        ("image inspect none", 2, ["not a boot image", "manifest.json", "fwmgr image build"]),
        ("image build --board qemu-aarch64 --trust none --out o", 2, ["trust is incomplete", "master trust"]),
        ("image build --board nix --trust t --out o", 2, ["no such board", "qemu-aarch64", "nix"]),
        ("master export --list none --passphrase-file p", 2, ["there is no such file"]),
        ("master import none --dir new", 2, ["there is no such file"]),
    ],
)
def test_wrong_usage_says_what_to_do(
    words: str, code: int, says: list[str], run: Run, tmp_path: Path
) -> None:
    new_key(tmp_path, "a")
    ended, _, err = run(words)
    assert ended == code
    assert [text for text in says if text not in err] == [], err


def test_an_error_in_json_has_the_same_parts(run: Run) -> None:
    code, out, err = run("cards --json")
    assert code == 1 and out == ""
    assert json.loads(err).keys() == {"kind", "what", "where", "found", "hint"}
