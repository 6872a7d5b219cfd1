"""What is below a minimum of the root of trust gets onto a card only when the card holds it already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firmware_mgr.card.burn import Burner
from firmware_mgr.flash.device import MemoryDevice
from firmware_mgr.link import messages as m
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import PackageRef
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.root_trust import RootTrust
from firmware_mgr.packaging.build import build_package
from tests.card.burning import Master, burner, flash
from tests.package.roots import RELEASE, make_root
from tests.package.samples import HEAD, SOURCES

OLD = build_package(replace(HEAD, version="1.0"), SOURCES, [RELEASE])
NEW = build_package(replace(HEAD, version="2.0"), SOURCES, [RELEASE])


def judging(device: MemoryDevice, master: Master, **root: object) -> Burner:
    """A burner whose root of trust has these fields."""
    return replace(burner(device, master), trust=RootTrust(make_root(**root)))


def ordered(master: Master, version: str, length: int, digest: Digest) -> m.Burn:
    order = master.order()
    ref = PackageRef(HEAD.name, version, digest, length)
    return replace(order, wanted=replace(order.wanted, packages=(ref,)))


@pytest.fixture
def master() -> Master:
    return Master()


@pytest.mark.parametrize(
    "bound", [{"minimum_versions": {HEAD.name: "2.0"}}, {"earliest": HEAD.build_date + 1}]
)
def test_an_old_package_under_the_digest_of_a_stored_one_is_refused(
    master: Master, bound: dict[str, object]
) -> None:
    device, digest = flash(), master.add(NEW)
    judging(device, master).burn(ordered(master, "2.0", len(NEW), digest))
    master.blobs[digest] = OLD
    before = device.contents()
    with pytest.raises(PackageRefused, match="older than what is let in from outside"):
        judging(device, master, **bound).burn(ordered(master, "1.0", len(OLD), digest))
    assert device.contents() == before


def test_a_stored_package_may_be_ordered_again_when_it_is_below_the_minimum(master: Master) -> None:
    device, digest = flash(), master.add(OLD)
    order = ordered(master, "1.0", len(OLD), digest)
    judging(device, master).burn(order)
    again = judging(device, master, minimum_versions={HEAD.name: "2.0"}).burn(order)
    assert again.package_bytes_written == 0
