"""A composite of real Debian packages fills an empty master in one command; real cards are burned from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from firmware_mgr.model.ids import SlotId
from tests.scenarios.corpus_composite import FEW, LIBRARIES, NAME, VERSION, compose
from tests.scenarios.provisioned import Provisioned
from tests.scenarios.rig import Rig
from tests.scenarios.software import BOARDS, fwmgr

pytestmark = pytest.mark.qemu

WHOLE = ("lighttpd", *LIBRARIES)


def test_one_command_fills_the_master_and_every_card_runs_what_it_says(
    provisioned: Provisioned, fresh: Rig, tmp_path: Path
) -> None:
    rig, site = fresh, provisioned.site
    shutil.rmtree(rig.master.directory)
    shutil.copytree(site.master.directory, rig.master.directory)
    composite = compose(site, tmp_path)
    rig.start_master()
    at = ("--dir", str(rig.master.directory))
    answer = json.loads(fwmgr("image", "add", composite, "--json", *at))
    assert len(answer["members"]) == len(BOARDS) + len(WHOLE)
    assert {member["news"] for member in answer["members"]} == {"added"}

    sets = {tuple(row["slots"]): row for row in json.loads(fwmgr("sets", "--json", *at)) if row["slots"]}
    named = {
        slots: [package["name"] for package in row["software"]["packages"]] for slots, row in sets.items()
    }
    assert named[("1",)] == named[("3",)] == list(WHOLE) and named[("2",)] == list(FEW)
    assert [sets[slots]["card_class"] for slots in (("1",), ("2",), ("3",))] == ["edge", None, "edge"]
    assert fwmgr("sets", *at).count("edge") >= 2 and "rack 5, left" in fwmgr("card", "1", *at)

    operation = rig.wait_burned(rig.burn_all(cards=[f"composite:{NAME}={VERSION}"]))
    assert sorted(operation["cards"]) == ["1", "2", "3"] and operation["state"] == "done"
    for slot in map(SlotId, (1, 2, 3)):
        rig.wait_in_service(slot)
        assert "This card is in service" in rig.page(slot)
        stored = {
            package["name"]: package
            for package in json.loads(fwmgr("card", str(slot), "--json", *at))["record"]["actual"]["packages"]
        }
        assert set(stored) == set(FEW if slot == SlotId(2) else WHOLE)
        assert all(package["modules"] > 0 and not package["bad_modules"] for package in stored.values())
