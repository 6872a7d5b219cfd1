"""Runs in a small machine, on the kernel's own drivers: a store on each MTD device, told on the console.

The modules were loaded with faults: see mtd_machine. A line `RESULT {…}` for each device, `FAILED` with the
reason otherwise, `END` at last.
"""

import json
import random
import sys
import traceback
from pathlib import Path

sys.path.insert(0, "/usr/lib/fwmgr")

from firmware_mgr.flash.dump import describe_store
from firmware_mgr.flash.erase_block_device import EraseBlockDevice
from firmware_mgr.flash.mtd import MtdChip
from firmware_mgr.flash.store import Store
from firmware_mgr.model.ids import Digest

ROUNDS = 16
#: Times that all is read to see a flipped bit: one page in a thousand has one.
READINGS = 40
#: The first blob, in blocks 32 and 33 of the NAND; it is kept.
LASTING = random.Random(-1).randbytes(150_000)


def content(seed: int) -> bytes:
    rng = random.Random(seed)
    return rng.randbytes(rng.choice((500, 5_000, 150_000, 1_200_000 if seed % 10 == 0 else 40_000)))


def try_store(name: str, path: str) -> dict[str, object]:
    with MtdChip(path) as chip:
        device = EraseBlockDevice(chip, name)
        factory_bad = len(device.bad_offsets())
        store = Store.format(device, store_id=bytes(range(16)))
        lasting = Digest.of(LASTING)
        store.put(lasting, len(LASTING), [LASTING])
        kept = {lasting: LASTING}
        found_bad = 0
        for n in range(ROUNDS):
            data = content(n)
            digest = Digest.of(data)
            store.put(digest, len(data), [data])
            kept[digest] = data
            if n % 5 == 4:
                kept = {lasting: LASTING, **dict(list(kept.items())[-6:])}
            store.commit({"round": b"%d" % n}, keep=list(kept))
            if n % 10 == 9:
                found_bad += repair(store, kept)
        corrected = chip.corrected
    with MtdChip(path) as chip:
        device = EraseBlockDevice(chip, name)
        store = Store.open(device)
        assert store.document("round") == b"%d" % (ROUNDS - 1)
        assert set(store.blobs()) == set(kept)
        found_bad += repair(store, kept)
        assert all(store.read(digest) == data for digest, data in kept.items())
        for _ in range(READINGS if chip.kind == "NAND" and not corrected else 0):
            found_bad += repair(store, kept)
            if chip.corrected:
                break
        described = describe_store(device)
        assert "problem" not in described
        return {
            "name": name,
            "kind": chip.kind,
            "erase_size": chip.geometry.erase_size,
            "page_size": chip.geometry.page_size,
            "size": chip.geometry.size,
            "factory_bad": factory_bad,
            "bad": sorted(offset // device.block_size for offset in device.bad_offsets()),
            "corrected": corrected + chip.corrected,
            "found_bad": found_bad,
            "sequence": store.sequence,
            "space": described["space"],
        }


def repair(store: Store, kept: dict[Digest, bytes]) -> int:
    """Put again what flash has lost; how many blobs that were."""
    found = 0
    while bad := store.bad_blobs():
        found += len(bad)
        assert found < 10
        for digest in bad:
            store.put(digest, len(kept[digest]), [kept[digest]])
        store.checkpoint()
    return found


def main() -> None:
    for folder in sorted(Path("/sys/class/mtd").glob("mtd[0-9]")):
        name = (folder / "name").read_text().strip()
        try:
            print("RESULT", json.dumps(try_store(name, f"/dev/{folder.name}")), flush=True)  # noqa: T201
        except BaseException:
            traceback.print_exc(file=sys.stdout)
            print("FAILED", name, flush=True)  # noqa: T201
    print("END", flush=True)  # noqa: T201


main()
