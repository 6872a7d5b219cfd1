"""Code of dataclasses that was compiled when the boot image was built, found by its exact text.

A text that is not there is compiled as ever: a table that is missing, damaged or another Python's costs time
and nothing else. No `from __future__` here: what `exec` runs would inherit it.
"""

import dataclasses
import importlib.util
import marshal
from types import CodeType


def use(path: str) -> None:
    """From now on dataclasses take their methods' code from the table at `path`."""
    magic = importlib.util.MAGIC_NUMBER
    try:
        with open(path, "rb") as stream:
            found, table = stream.read(len(magic)), marshal.load(stream)
    except (OSError, EOFError, ValueError, TypeError):
        return
    if found != magic or not isinstance(table, dict):
        return

    def run(text: str, names: dict, results: dict) -> None:
        try:
            code = marshal.loads(table[text])
        except (KeyError, EOFError, ValueError, TypeError):
            code = None
        exec(code if isinstance(code, CodeType) else text, names, results)

    # A name of the module stands before the builtin's.
    vars(dataclasses)["exec"] = run
