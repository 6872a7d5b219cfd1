"""Compiles Python files, each in a fresh copy of one interpreter. Run by path; knows only bytes.

The bytes that marshal writes depend on how many references an object happens to have, and so on everything
the interpreter has done before. A fork for every file gives each the same past, whatever was compiled before.

Standard input: a count, then for each file a name (as it will be known on the card) and its source. Standard
output: for each file a byte that is 1 when it compiled, and its bytecode file, or the complaint. Numbers are
32 bits, big endian, and stand before each text.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import struct
import sys
from typing import BinaryIO

#: PEP 552: a hash-based file (bit 0) whose source is not to be compared (bit 1 clear).
UNCHECKED_HASH = 1


def compiled(name: str, source: bytes) -> bytes:
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    head = (
        importlib.util.MAGIC_NUMBER + struct.pack("<I", UNCHECKED_HASH) + importlib.util.source_hash(source)
    )
    return head + marshal.dumps(code)


def answer(stream: BinaryIO, good: int, data: bytes) -> None:
    stream.write(struct.pack(">BI", good, len(data)) + data)
    stream.flush()


def main(given: BinaryIO, answers: BinaryIO) -> int:
    def item() -> bytes:
        length: int = struct.unpack(">I", given.read(4))[0]
        return given.read(length)

    for _ in range(struct.unpack(">I", given.read(4))[0]):
        name, source = item(), item()
        child = os.fork()
        if child == 0:
            try:
                answer(answers, 1, compiled(name.decode(), source))
            except (SyntaxError, ValueError) as e:
                answer(answers, 0, str(e).encode())
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer, sys.stdout.buffer))
