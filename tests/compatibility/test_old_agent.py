"""An agent one version back in flash comes up, and is brought to today's image: issue 3, "done when" 5."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_mgr.card.data_keeper import NO_PLACE
from firmware_mgr.flash.device import FileDevice
from firmware_mgr.flash.gpt import read_table
from firmware_mgr.imaging.cache import CACHE_VARIABLE, DEFAULT_CACHE
from firmware_mgr.model.ids import SlotId
from firmware_mgr.packaging.assemble import fetch_trees, read_sources
from firmware_mgr.packaging.keys import load_key
from firmware_mgr.packaging.manifest import load_manifest
from firmware_mgr.rack.hands import PowerAction
from tests.compatibility.golden import unpack_agent
from tests.package.format_1 import build_package_1
from tests.scenarios.rig import Rig
from tests.scenarios.software import TOP, Site, ask, fwmgr
from tests.scenarios.waiting import wait_until
from tests.scenarios.words import IN_SERVICE

pytestmark = pytest.mark.qemu

SLOT = SlotId(1)
OLD, TODAY = "protocol-1", "today"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Two boot images: today's, and one that is the same but for its agent."""
    site = Site(tmp_path / "site")
    site.make_trust()
    site.build_image(site.directory / OLD, version=OLD, agent=unpack_agent(tmp_path / "agent"))
    site.build_image(site.image, version=TODAY)
    # The old agent reads packages of format 1 only, as those are that lie in old catalogues.
    manifest = load_manifest(TOP / "packages" / "lighttpd" / "manifest.toml")
    cache = Path(os.environ.get(CACHE_VARIABLE, TOP / DEFAULT_CACHE))
    head, sources = read_sources(manifest, fetch_trees(manifest, cache))
    site.package.write_bytes(build_package_1(head, sources, [load_key(site.key)]))
    return site


@pytest.fixture
def rig(site: Site) -> Iterator[Rig]:
    """One card with the old agent in its flash, in service."""
    rig = Rig(1, capture=False)
    try:
        shutil.copytree(site.master.directory, rig.master.directory)
        rig.up()
        rig.start_master()
        fwmgr("image", "add", site.directory / OLD, "--dir", rig.master.directory)
        fwmgr("package", "add", site.package, "--dir", rig.master.directory)
        rig.wait_burned(rig.burn_all())
        rig.wait_booted(SLOT, OLD, IN_SERVICE)
        yield rig
        rig.keep_evidence(TOP / "var" / "scenarios" / "old-agent")
    finally:
        rig.down()


def test_an_old_agent_in_flash_comes_up_and_is_brought_to_todays_image(rig: Rig, site: Site) -> None:
    directory = rig.master.directory
    assert "This card is in service" in rig.page(SLOT)
    # What it cannot do is said, with the next step, and nothing else is disturbed.
    fwmgr("settings", "set", str(SLOT), "--hostname", "today-1", "--dir", directory)
    assert rig.card(SLOT)["settings"]["state"] == "agent too old"
    refused = ask("card", "cores", str(SLOT), "--dir", directory)
    assert refused.code != 0 and "too old" in refused.error and "burn" in refused.error
    assert rig.card(SLOT)["in_service"]

    # A start from flash with the old agent, by today's master: only validated, nothing is burned.
    burns = len(rig.burns(SLOT))
    rig.take_out(SLOT)
    rig.power(SLOT, PowerAction.ON)
    card = rig.wait_booted(SLOT, OLD, IN_SERVICE)
    assert card["booted_from"] == "a" and len(rig.burns(SLOT)) == burns

    # Today's image: burned beside the old one, tried, kept. Its settings arrive with the first hello.
    fwmgr("image", "add", site.image, "--dir", directory)
    fwmgr("card", "want", str(SLOT), "--image", TODAY, "--dir", directory)
    rig.take_out(SLOT)
    rig.power(SLOT, PowerAction.ON)
    card = rig.wait_booted(SLOT, TODAY, 2 * IN_SERVICE)
    control = card["record"]["actual"]["control"]
    assert (card["booted_from"], control["boot"], control["trial"]) == ("b", "b", "-")
    assert card["record"]["rejected"] == []
    wait_until("its settings are kept", lambda: rig.card(SLOT)["settings"]["state"] == "kept", IN_SERVICE)
    assert "This card is in service" in rig.page(SLOT)

    # Its flash is laid out as the old agent did it: that goes on, and the report says what is missing.
    device = FileDevice(rig.paths(SLOT).flash)
    assert len(read_table(device)) == 5
    data = rig.card(SLOT)["record"]["actual"]["data"]
    assert (data["state"], data["detail"]) == ("empty", NO_PLACE)
