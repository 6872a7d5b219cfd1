"""Packets that real clients sent, from golden/: a name and the UDP payload in hex on each line."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "golden"


def read_golden(name: str) -> dict[str, bytes]:
    lines = (_FOLDER / name).read_text().splitlines()
    pairs = (line.split() for line in lines if not line.startswith("#"))
    return {name: bytes.fromhex(payload) for name, payload in pairs}
