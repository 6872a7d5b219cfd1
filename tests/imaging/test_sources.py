"""Which archives are taken from a machine's apt sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.imaging.sources import debian_sources
from firmware_mgr.model.errors import UsageError


def test_one_line_sources_are_taken_without_their_cpu(tmp_path: Path) -> None:
    line = "deb [arch=amd64 signed-by=/k.gpg] http://deb.debian.org/debian bookworm main contrib  # why\n"
    (tmp_path / "sources.list").write_text(
        "# deb http://x/debian old main\ndeb-src http://x/debian a main\n" + line
    )
    expected = "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm\n"
    assert debian_sources(tmp_path) == expected + "Components: main contrib\nSigned-By: /k.gpg\n"


def test_stanzas_keep_an_inlined_key_and_drop_the_cpu(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    text = "# c\nTypes: deb deb-src\nURIs: http://h/debian-security/\nSuites: s\nComponents: main\n"
    text += "Architectures: amd64\nSigned-By:\n -----BEGIN\n .\n -----END\n"
    (tmp_path / "sources.list.d/a.sources").write_text(text)
    found = debian_sources(tmp_path)
    assert "Architectures" not in found
    assert "Signed-By: \n -----BEGIN\n .\n -----END" in found


@pytest.mark.parametrize(
    "text",
    [
        "Types: deb\nURIs: https://deb.example.com/node_20.x\nSuites: nodistro\nComponents: main\n",
        "Types: deb\nEnabled: no\nURIs: http://h/debian\nSuites: s\nComponents: main\n",
        "Types: deb-src\nURIs: http://h/debian\nSuites: s\nComponents: main\n",
    ],
)
def test_other_archives_are_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/a.sources").write_text(text)
    with pytest.raises(UsageError, match="no Debian archive"):
        debian_sources(tmp_path)
