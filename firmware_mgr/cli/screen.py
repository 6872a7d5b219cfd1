"""The screen: one console for tables and text, wide enough when nobody looks (files, pipes, CI logs)."""

from __future__ import annotations

import sys

from rich.console import Console

#: Columns when standard output is no terminal, whose width would be known.
PLAIN_WIDTH = 140


def screen() -> Console:
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
