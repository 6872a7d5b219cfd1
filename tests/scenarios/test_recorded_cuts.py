"""Disk images of legal cuts of a real burn boot: a sample; `tools/recorded-cuts` does many more of the same.

The record is that of the burn with which the shared rig begins.
"""

from __future__ import annotations

import pytest

from firmware_mgr.model.ids import SlotId
from tests.scenarios.conftest import SEED
from tests.scenarios.provisioned import Provisioned
from tests.scenarios.recorded_burns import DEADLINES, of_rig, wanted_first
from tests.scenarios.recorded_cuts import CardRecord, Outcome, undergo
from tests.scenarios.rig import Rig

pytestmark = [pytest.mark.qemu, pytest.mark.waits]

#: For the two aarch64 cards and the x86_64 one, which cuts of the seed's row; in it each phase has its turn:
#: partition table, loader; boot partition, commit; index of the store.
CUTS = {SlotId(1): (0, 6), SlotId(4): (3, 7), SlotId(3): (5,)}


def test_every_image_of_a_cut_comes_back_whole_and_is_burned_to_the_end(
    provisioned: Provisioned, fresh: Rig
) -> None:
    records = {record.slot: record for record in of_rig(provisioned, list(CUTS))}
    assert {record.board for record in records.values()} == {"qemu-aarch64", "qemu-x86_64"}
    for record in records.values():
        record.check_ends(provisioned.burned.flash(record.slot))
    fresh.start_master(*DEADLINES)
    for slot in CUTS:
        fresh.want(slot, wanted_first(provisioned, slot).image)

    def work(slot: SlotId) -> list[Outcome]:
        record: CardRecord = records[slot]
        wanted = wanted_first(provisioned, slot)
        row = record.chosen(SEED, max(CUTS[slot]) + 1)
        return [undergo(fresh, record, row[number], SEED, wanted) for number in CUTS[slot]]

    outcomes = [one for each in fresh.side_by_side(work, list(CUTS)) for one in each]
    assert len(outcomes) == 5
