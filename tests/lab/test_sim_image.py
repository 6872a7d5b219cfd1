"""`fwmgr image build` for a simulated board: an image as any other, without kernel and packages."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from firmware_mgr.cli.image import app
from firmware_mgr.imaging.manifest import read_boot_image
from firmware_mgr.lab.sim.software import sim_boards
from firmware_mgr.master.site import MasterPaths, write_trust
from firmware_mgr.model.errors import UsageError
from firmware_mgr.packaging.assemble import SHIPPED_PACKAGES, build_from_manifest
from firmware_mgr.packaging.keys import load_key, new_key


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    paths = MasterPaths(tmp_path / "master")
    paths.make()
    write_trust(paths)
    return paths.trust


@pytest.mark.parametrize("board", sorted(sim_boards()))
def test_image_is_built_and_an_older_one_in_its_place_is_replaced(
    board: str, trust: Path, tmp_path: Path
) -> None:
    out = tmp_path / "image"
    for version in ("1.0", "1.1"):
        command = ["build", "--board", board, "--trust", str(trust), "--out", str(out), "--version", version]
        assert CliRunner().invoke(app, command).exit_code == 0
        reference = read_boot_image(out).reference
        assert (reference.board, reference.version) == (board, version)


def test_something_else_in_its_place_is_left_alone(trust: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").write_text("dear all")
    command = ["build", "--board", "sim-armv7", "--trust", str(trust), "--out", str(tmp_path / "mine")]
    outcome = CliRunner().invoke(app, command)
    assert isinstance(outcome.exception, UsageError) and "something else is there" in str(outcome.exception)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter"]


def test_kernel_for_a_board_that_has_none_is_refused(trust: Path, tmp_path: Path) -> None:
    command = ["build", "--board", "sim-armv7", "--trust", str(trust), "--out", str(tmp_path / "image")]
    outcome = CliRunner().invoke(app, [*command, "--kernel", str(tmp_path)])
    assert isinstance(outcome.exception, UsageError) and "--kernel" in str(outcome.exception)
    assert not (tmp_path / "image").exists()


def test_the_package_for_simulated_cards_is_built_without_the_archive(tmp_path: Path) -> None:
    manifest = SHIPPED_PACKAGES / "sim-web" / "manifest.toml"
    key = load_key(new_key(tmp_path / "keys", "demo")[0])
    cache = tmp_path / "cache"
    assert build_from_manifest(manifest, [key], cache) == build_from_manifest(manifest, [key], cache)
    assert not cache.exists()
