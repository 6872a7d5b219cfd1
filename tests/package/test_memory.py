"""A head takes no more memory than its limits allow, whatever a signer puts into it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: SPEC-package §4.
MAX_HEAD_MEMORY = 48 << 20

MEASURE = """
import hashlib
from firmware_mgr.package import layout_tables as lt
from firmware_mgr.package.bundle_table import decode_bundle
from firmware_mgr.package.errors import PackageFormatError
from firmware_mgr.package.forms import build_tables
from firmware_mgr.package.layout import EnvelopeKind
from firmware_mgr.package.table import decode_table

NOTHING = hashlib.sha256(b"").digest()

def memory(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith(name))

def module(number, names=(), **fields):
    plain = dict(
        path=b"usr/lib/file/%06d" % number, kind=5, cpu=0, mode=420, length=0, offset=0, sha256=NOTHING,
        substantive=NOTHING, function=b"", link_target=b"", groups=[], provides=names, consumes=[], pieces=[],
    )
    return lt.MODULE.build({**plain, **fields})

def table(modules, local=(), remote=()):
    about = lt.PACKAGE.build(
        dict(name=b"p", version=b"1", build_date=0, local=local, remote=remote, upgrades=[])
    )
    moduled = lt.MODULE_COUNT.build(len(modules)) + b"".join(modules)
    return build_tables({1: about, 4: bytes(2), 2: moduled, 3: bytes(2)})

def limited(count, each):
    boards = [b"%04d" % number for number in range(each)]
    return [dict(name=b"p%04d" % number, value=b"", boards=boards) for number in range(count)]

def largest():
    count, each = 16_384, 4
    pieces = [
        {"compression": 1, "stored_length": 1, "sha256": hashlib.sha256(bytes([number])).digest()}
        for number in range(each)
    ]
    return table([
        module(
            number, [b"api%05d-%d" % (number, name) for name in range(each)],
            length=each << 20, offset=number * each, sha256=hashlib.sha256(b"%d" % number).digest(),
            function=b"f%05d" % number, pieces=pieces,
        )
        for number in range(count)
    ])

def many_boards():
    return table([], limited(32, 1_024), limited(32, 1_024))

def too_many_boards():
    return table([], limited(1_024, 1_024))

def too_many_names():
    names = [b"%04d" % number for number in range(1_024)]
    return table([module(number, names, consumes=names) for number in range(650)])

def too_many_files():
    file = lambda name: dict(name=name, length=0, offset=0, sha256=NOTHING, pieces=[])
    files = [file(b"boot.img"), file(b"manifest.json"), *(file(b"net/%04d" % one) for one in range(4_000))]
    member = lambda number: dict(kind=1, reserved=0, name=b"b%04d" % number, version=b"1", files=files)
    members = b"".join(map(lt.MEMBER.build, map(member, range(32))))
    about = lt.BUNDLE.build(dict(name=b"p", version=b"1", build_date=0))
    return build_tables({5: about, 7: bytes(8), 6: lt.MEMBER_COUNT.build(32) + members})

def decode(data, kind):
    return decode_bundle(data, kind, "x") if kind else decode_table(data, "x")
"""

RUN = """
data = {case}()
with open("/proc/self/clear_refs", "w") as clear:
    clear.write("5")
before, outcome = memory("VmRSS"), "read"
try:
    found = decode(data, {kind})
except PackageFormatError as e:
    outcome = e.what
print(memory("VmHWM") - before, outcome)
"""


def measured(case: str, kind: str = "None") -> tuple[int, str]:
    """Bytes that reading a table takes, and what came of it: in a process of its own."""
    command = [sys.executable, "-c", MEASURE + RUN.format(case=case, kind=kind)]
    top = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=top)
    taken, _, outcome = done.stdout.strip().partition(" ")
    return int(taken), outcome


@pytest.mark.parametrize("case", ["largest", "many_boards"])
def test_as_much_as_is_legal_takes_less_than_twice_the_stated_bound(case: str) -> None:
    """`largest` are modules, names and pieces; `many_boards` dependencies on boards."""
    taken, outcome = measured(case)
    assert outcome == "read"
    assert taken < 2 * MAX_HEAD_MEMORY, taken


@pytest.mark.parametrize(
    ("case", "kind", "says"),
    [
        ("too_many_boards", "None", "too many names of APIs, groups and boards"),
        ("too_many_names", "None", "too many names of APIs, groups and boards"),
        ("too_many_files", "EnvelopeKind.COMPOSITE", "too many files"),
    ],
)
def test_more_than_is_legal_is_refused_before_it_is_held(case: str, kind: str, says: str) -> None:
    taken, outcome = measured(case, kind)
    assert outcome == says
    assert taken < MAX_HEAD_MEMORY / 2, taken
