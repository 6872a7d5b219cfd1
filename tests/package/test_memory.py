"""A head takes no more memory than its limits allow, whatever a signer puts into it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: SPEC-package §4.
MAX_HEAD_MEMORY = 48 << 20

LARGEST = """
import hashlib
from firmware_mgr.package import layout_tables as lt
from firmware_mgr.package.forms import build_tables
from firmware_mgr.package.table import decode_table

def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))

count, each, offset = 16_384, 4, 0
pieces = [
    {"compression": 1, "stored_length": 1, "sha256": hashlib.sha256(bytes([number])).digest()}
    for number in range(each)
]
modules = [lt.MODULE_COUNT.build(count)]
for number in range(count):
    digest = hashlib.sha256(b"%d" % number).digest()
    names = [b"api%05d-%d" % (number, name) for name in range(each)]
    modules.append(
        lt.MODULE.build(
            dict(
                path=b"usr/lib/file/%06d" % number, kind=5, cpu=0, mode=420, length=each << 20,
                offset=offset, sha256=digest, substantive=digest, function=b"f%05d" % number,
                link_target=b"", groups=[], provides=names, consumes=[], pieces=pieces,
            )
        )
    )
    offset += each
about = lt.PACKAGE.build(dict(name=b"p", version=b"1", build_date=0, local=[], remote=[], upgrades=[]))
table = build_tables({1: about, 4: bytes(2), 2: b"".join(modules), 3: bytes(2)})
del modules
with open("/proc/self/clear_refs", "w") as clear:
    clear.write("5")
before = memory("VmRSS")
assert len(decode_table(table, "largest").modules) == count
print(memory("VmHWM") - before)
"""


def test_as_many_modules_names_and_pieces_as_are_legal_take_less_than_twice_the_stated_bound() -> None:
    top = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", LARGEST], capture_output=True, text=True, check=True, cwd=top
    )
    assert int(done.stdout) < 2 * MAX_HEAD_MEMORY, done.stdout
