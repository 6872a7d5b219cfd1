"""Imports the agent's modules and says which texts their dataclasses had compiled. Run by path.

Standard input: the folder that holds `firmware_mgr`, then the modules' names, a line each. Standard output:
the texts, sorted, each behind its length in bytes (32 bits, big endian).
"""

from __future__ import annotations

import dataclasses
import importlib
import struct
import sys
from typing import Any


def main(lines: list[str]) -> None:
    folder, *names = lines
    texts: set[str] = set()

    def keep(text: str, names: dict[str, Any], results: dict[str, Any]) -> None:
        # Other libraries here may be of other versions than the card's.
        if str(names.get("__name__")).partition(".")[0] == "firmware_mgr":
            texts.add(text)
        exec(text, names, results)

    # A name of the module stands before the builtin's.
    vars(dataclasses)["exec"] = keep
    sys.path.insert(0, folder)
    for name in names:
        importlib.import_module(name)
    for data in sorted(text.encode() for text in texts):
        sys.stdout.buffer.write(struct.pack(">I", len(data)) + data)


if __name__ == "__main__":
    main(sys.stdin.read().splitlines())
