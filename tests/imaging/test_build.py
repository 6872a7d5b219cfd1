"""The whole build, with Debian's real packages: two builds of the same inputs are the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_mgr.imaging.cache import default_cache
from firmware_mgr.imaging.manifest import read_boot_image
from firmware_mgr.master.site import MasterPaths, write_trust
from firmware_mgr.master.trust import key_fingerprint

PROGRAM = """
import os, sys
from pathlib import Path
from firmware_mgr.imaging.board import load_board
from firmware_mgr.imaging.build import build_boot_image
os.umask(int(sys.argv[1], 8))
build_boot_image(load_board("qemu-aarch64"), trust=Path("trust"), out=Path("out"), cache=Path("cache"),
                 agent_source=Path("source"))
"""


def build(desk: Path, packages: Path, trust: Path, umask: str, **environment: str) -> dict[str, bytes]:
    """Build in a folder of its own, with a cache that has nothing but downloaded packages."""
    source = desk / "source"
    for name in ("__init__.py", "model/__init__.py", "app/__init__.py", "app/agent.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("import asyncio, ssl\n")
    shutil.copytree(trust, desk / "trust")
    (desk / "cache").mkdir()
    (desk / "cache/debs").symlink_to(packages)
    command = [sys.executable, "-c", PROGRAM, umask]
    done = subprocess.run(
        command, cwd=desk, env={**os.environ, **environment}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    out = desk / "out"
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.qemu
def test_two_builds_on_two_desks_are_the_same_bytes(tmp_path: Path) -> None:
    packages = default_cache().absolute() / "debs"
    packages.mkdir(parents=True, exist_ok=True)
    one, two = tmp_path / "one", tmp_path / "another/place"
    one.mkdir()
    two.mkdir(parents=True)
    site = MasterPaths(tmp_path / "site")
    authority = write_trust(site)
    first = build(one, packages, site.trust, "022", PYTHONHASHSEED="1", TZ="UTC")
    shutil.rmtree(one / "cache/base")
    second = build(two, packages, site.trust, "077", PYTHONHASHSEED="2", TZ="America/Lima", LC_ALL="C")
    assert sorted(first) == ["boot.img", "manifest.json", "net/boot.itb", "net/boot.scr.uimg"]
    assert first == second
    manifest = read_boot_image(two / "out").manifest
    assert manifest.files["boot.img"].length < 32 << 20
    assert manifest.trust is not None
    assert manifest.trust.authority.hex == key_fingerprint(authority.certificate.public_key())
    assert {"libc6", "python3-cryptography", "linux-image-cloud-arm64"} <= {p.name for p in manifest.packages}
