"""Images of another site and packages that a card would refuse are found before a card boots."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.imaging.manifest import MANIFEST_NAME
from firmware_mgr.lab.sim.image import build_sim_image
from firmware_mgr.lab.sim.software import web_package
from firmware_mgr.master.site import MasterPaths, write_trust
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.packaging.keys import SigningKey

BOARD = "sim-aarch64"


@pytest.fixture
def system() -> Iterator[SimSystem]:
    system = SimSystem(1)
    system.make_site()
    system.start_master()
    yield system
    system.close()


def add_image(system: SimSystem, folder: Path) -> list[str]:
    """The warnings."""
    warnings: list[str] = system.post("/v1/images", {"path": str(folder)})["warnings"]
    return warnings


def trust_another_key(system: SimSystem) -> Path:
    """A package by a key that the master trusts from now on."""
    key = SigningKey(Ed25519PrivateKey.generate())
    pem = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (system.paths.keys / "later.pem").write_bytes(pem)
    write_trust(system.paths)
    package = system.directory / "later.fwp"
    package.write_bytes(web_package(key, "2.0"))
    return package


def test_a_boot_image_of_another_site_is_refused_with_both_authorities(
    system: SimSystem, tmp_path: Path
) -> None:
    other = MasterPaths(tmp_path / "other")
    write_trust(other)
    image = build_sim_image(system.boards[BOARD], trust=other.trust, out=tmp_path / "image", version="9")
    with pytest.raises(UsageError, match="built for another site") as refused:
        add_image(system, image.folder)
    error = refused.value
    assert error.expected != error.found and f"--trust {system.paths.trust}" in error.hint
    assert system.get("/v1/images") == []


def test_a_package_by_a_key_that_the_image_does_not_know_is_refused_before_a_card_is_touched(
    system: SimSystem,
) -> None:
    assert add_image(system, system.build_image(BOARD, "1.0").folder) == []
    package = trust_another_key(system)
    system.post("/v1/packages", {"path": str(package)})
    with pytest.raises(UsageError, match="boot image does not trust who signed it") as refused:
        system.post("/v1/burn-all")
    error = refused.value
    assert error.where == "slot 1, package web 2.0" and "fwmgr image build --board sim-aarch64" in error.hint
    with pytest.raises(UsageError, match="does not trust who signed it"):
        system.post("/v1/card/set", {"cards": ["1"], "packages": ["web=2.0"]})
    assert system.get("/v1/operations") == []

    assert add_image(system, system.build_image(BOARD, "1.1").folder) == []
    system.post("/v1/burn-all")
    system.wait_until(
        "it is in service", lambda: all(card["in_service"] for card in system.get("/v1/cards")), 300.0
    )


def test_an_image_that_lacks_a_key_of_the_masters_is_added_with_a_warning(system: SimSystem) -> None:
    image = system.build_image(BOARD, "1.0")
    trust_another_key(system)
    (warning,) = add_image(system, image.folder)
    assert "does not trust key" in warning and "fwmgr image build" in warning


def test_an_image_of_an_older_fwmgr_is_added_with_a_warning_and_burned(system: SimSystem) -> None:
    image = system.build_image(BOARD, "1.0")
    manifest = image.folder / MANIFEST_NAME
    document = json.loads(manifest.read_text())
    del document["trust"]
    manifest.write_text(json.dumps(document))
    (warning,) = add_image(system, image.folder)
    assert "does not say for which site" in warning
    system.post("/v1/packages", {"path": str(system.build_package())})
    system.post("/v1/burn-all")


@pytest.mark.parametrize("name", ["authority.pem", "keys.json"])
def test_an_image_is_not_built_with_trust_that_no_card_can_use(
    system: SimSystem, tmp_path: Path, name: str
) -> None:
    trust = Path(shutil.copytree(system.paths.trust, tmp_path / "trust"))
    (trust / name).write_text("{}")
    with pytest.raises(FwmgrError, match=name):
        build_sim_image(system.boards[BOARD], trust=trust, out=tmp_path / "image", version="1")
