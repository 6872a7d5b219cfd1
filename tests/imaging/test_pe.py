"""Sections added to a UEFI program, seen by binutils too."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest

from firmware_mgr.imaging.pe import with_sections
from firmware_mgr.imaging.pe_layout import FILE_HEADER, OPTIONAL_HEADER, SECTION
from firmware_mgr.model.errors import UsageError

HEADERS = 0x400
START = 0x80


def program(sections: int = 1, headers: int = HEADERS) -> bytes:
    """A program of `sections` sections of 512 bytes, as systemd's stub is laid out."""
    head = bytearray(headers)
    head[:2] = b"MZ"
    head[0x3C] = START
    file_header = FILE_HEADER.build(
        {
            "machine": 0x8664,
            "section_count": sections,
            "time": 0,
            "symbol_table": 0,
            "symbol_count": 0,
            "optional_size": 240,
            "characteristics": 0x206,
        }
    )
    optional = OPTIONAL_HEADER.build(
        {
            "linker": bytes(2),
            "code_size": 512,
            "data_size": 0,
            "zero_size": 0,
            "entry": 0x4000,
            "code_base": 0x4000,
            "image_base": bytes(8),
            "section_alignment": 0x200,
            "file_alignment": 0x200,
            "versions": bytes(16),
            "image_size": 0x4200,
            "headers_size": headers,
            "checksum": 0x1234,
            "rest": b"\x0a".ljust(28 - 4, b"\0") + b"\x10\0\0\0",
        }
    )
    body = bytes(file_header) + bytes(optional) + bytes(240 - OPTIONAL_HEADER.sizeof())
    for number in range(sections):
        body += SECTION.build(
            {
                "name": f".t{number}".encode().ljust(8, b"\0"),
                "virtual_size": 0x1F0,
                "virtual_address": 0x4000 + number * 0x200,
                "file_size": 0x200,
                "file_offset": headers + number * 0x200,
                "characteristics": 0x60000020,
            }
        )
    head[START : START + len(body)] = body
    return bytes(head) + b"\xcc" * 0x200 * sections


CONTENTS = {".cmdline": b"console=ttyS0\0", ".linux": b"kernel" * 1000, ".initrd": b"i" * 5000}


def test_binutils_finds_each_section_whole_and_apart(tmp_path: Path) -> None:
    path = tmp_path / "made.efi"
    path.write_bytes(with_sections(program(), CONTENTS, "stub"))
    for name, data in CONTENTS.items():
        out = tmp_path / "section"
        command = ["objcopy", "-O", "binary", f"--only-section={name}", path, out]
        subprocess.run(command, check=True, capture_output=True)
        assert out.read_bytes()[: len(data)] == data
    listing = subprocess.run(["objdump", "-h", path], check=True, capture_output=True, text=True).stdout
    spans = []
    for line in listing.splitlines():
        words = line.split()
        if len(words) > 5 and words[0].isdigit():
            spans.append((int(words[3], 16), int(words[3], 16) + int(words[2], 16)))
    assert len(spans) == 4
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert all(start % 0x200 == 0 for start, _ in spans)


def test_what_was_there_stays_and_only_headers_change() -> None:
    before = program(2)
    after = with_sections(before, CONTENTS, "stub")
    assert after[HEADERS : len(before)] == before[HEADERS:]
    assert after[: START + 6] == before[: START + 6]


def test_headers_tell_count_and_size_and_no_checksum() -> None:
    after = with_sections(program(), CONTENTS, "stub")
    optional = OPTIONAL_HEADER.parse(after[START + FILE_HEADER.sizeof() :])
    assert FILE_HEADER.parse(after[START:]).section_count == 4
    last = SECTION.parse(after[START + 24 + 240 + 3 * 40 :])
    assert optional.image_size >= last.virtual_address + last.virtual_size
    assert optional.checksum == 0
    assert len(after) % 0x200 == 0


@pytest.mark.parametrize(
    ("stub", "said"),
    [
        (b"\x7fELF" + bytes(600), "not a PE32"),
        (program()[:100], "not a PE32"),
        (program(headers=0x200), "no room for sections"),
        (with_sections(program(), {".linux": b"x"}, "stub"), "section cannot be added"),
    ],
)
def test_what_cannot_be_a_stub_is_refused(stub: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        with_sections(stub, CONTENTS, "stub")
