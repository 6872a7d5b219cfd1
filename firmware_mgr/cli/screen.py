"""The screen: one console for tables and text, wide enough when nobody looks (files, pipes, CI logs)."""

from __future__ import annotations

import sys

from rich.console import Console

#: Columns when standard output is no terminal, whose width would be known.
PLAIN_WIDTH = 140


def screen() -> Console:
    """Plain text only: what cards say of themselves must not be taken for markup."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, markup=False)


def plain(text: object) -> str:
    """The text without control characters, which would move the cursor or set the title of a terminal."""
    return "".join(character if character.isprintable() else "�" for character in str(text))
