"""The screen: one console for tables and text, wide enough when nobody looks (files, pipes, CI logs)."""

from __future__ import annotations

import sys
import time

from rich.console import Console

#: Columns when standard output is no terminal, whose width would be known.
PLAIN_WIDTH = 140


def screen() -> Console:
    """Plain text only: what cards say of themselves must not be taken for markup."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, markup=False)


def plain(text: object) -> str:
    """The text without control characters, which would move the cursor or set the title of a terminal."""
    return "".join(character if character.isprintable() else "�" for character in str(text))


def ago(moment: float) -> str:
    """How long it is since `moment` (seconds since 1970)."""
    seconds = max(0, int(time.time() - moment))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
