"""How evenly a store wears a chip: `python -m tests.flash.wear [ROUNDS]` puts and commits, and prints erases.

A round puts a blob of up to 200,000 bytes and commits; the blob of the round before is dropped. A fifth of
the room holds a blob that stays.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass

from firmware_mgr.flash.chip_twins import ChipTwin
from firmware_mgr.flash.erase_block_device import EraseBlockDevice
from firmware_mgr.flash.store import Store
from firmware_mgr.flash.store_geometry import Geometry
from firmware_mgr.flash.store_layout import SLOTS
from firmware_mgr.model.ids import Digest
from tests.flash.kinds import nand, nor


@dataclass(frozen=True, slots=True)
class AreaWear:
    """Erases of the good blocks of an area: fewest, on average, most."""

    name: str
    blocks: int
    least: int
    mean: float
    most: int


def wear_out(chip: ChipTwin, rounds: int) -> list[AreaWear]:
    """Use a new store for so many rounds."""
    device = EraseBlockDevice(chip)
    store = Store.format(device, store_id=bytes(16))
    rng = random.Random(1)
    stays = rng.randbytes(700_000)
    kept = Digest.of(stays)
    store.put(kept, len(stays), [stays])
    for n in range(rounds):
        data = n.to_bytes(4, "little") * (rng.randrange(4, 200_000) // 4)
        digest = Digest.of(data)
        store.put(digest, len(data), [data])
        store.commit({"n": b"%d" % n}, keep=[kept, digest])
    extent = store.extent(kept)
    return _by_area(chip, set(range(extent.offset // device.block_size, extent.end // device.block_size)))


def _by_area(chip: ChipTwin, still: set[int]) -> list[AreaWear]:
    """Without what lies still, and without slots and places of which the other half is bad."""
    size = chip.geometry.erase_size
    device = EraseBlockDevice(chip)
    bad = {offset // size for offset in device.bad_offsets()}
    g = Geometry.of(device.size, size)
    slots = [slot for slot in range(SLOTS) if not bad & {slot, SLOTS + slot}]
    zones = [zone // size for zone in g.zones]
    places = [at for at in range(g.zone_size // size) if not bad & {zone + at for zone in zones}]
    areas = {
        "ring": [*slots, *(SLOTS + slot for slot in slots)],
        "zones": [zone + at for zone in zones for at in places],
        "blobs": [b for b in range(g.blobs_start // size, g.blobs_end // size) if b not in bad | still],
    }
    wear = {name: [chip.wear[block] for block in blocks] for name, blocks in areas.items()}
    return [
        AreaWear(name, len(counts), min(counts), sum(counts) / len(counts), max(counts))
        for name, counts in wear.items()
    ]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    for name, chip in (("NOR", nor()), ("NAND", nand())):
        for area in wear_out(chip, rounds):
            print(  # noqa: T201
                f"{name} {area.name}: {area.blocks} blocks, erased {area.least} to {area.most} times, "
                f"{area.mean:.1f} on average, in {rounds} rounds"
            )


if __name__ == "__main__":
    main()
