"""Passphrases of private keys: from a file, or asked at the terminal. Knows no key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from firmware_mgr.model.errors import UsageError
from firmware_mgr.packaging.keys import AskPassphrase

#: Whoever has the file may try them as fast as it lets them.
MIN_PASSPHRASE = 8

PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="The passphrase of private keys is the first line of this file (for scripts)."),
]


def asker(file: Path | None) -> AskPassphrase:
    """What `load_key` asks when a key is sealed."""
    return lambda key: _passphrase(file, f"Passphrase of {key}", new=False)


def new_passphrase(file: Path | None) -> str:
    """One for a new key; asked twice at the terminal. Raises UsageError."""
    text = _passphrase(file, "Passphrase for the new key", new=True)
    if len(text) < MIN_PASSPHRASE:
        raise UsageError(
            "the passphrase is too short", expected=f"{MIN_PASSPHRASE} characters", found=len(text)
        )
    return text


def _passphrase(file: Path | None, prompt: str, *, new: bool) -> str:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except (OSError, ValueError) as e:
            raise UsageError("the passphrase cannot be read", where=str(file), found=str(e)) from e
    if not sys.stdin.isatty():
        raise UsageError(
            "a passphrase is needed",
            expected="a terminal to ask at, or a file",
            found="neither",
            hint="--passphrase-file FILE",
        )
    return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=new, err=True))
