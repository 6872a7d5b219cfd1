"""Made `catalogue-1.sqlite`: what the master of protocol 1 wrote of a chassis with a past.

Run in a source tree of commit cfb39de, whose code it uses:
    git archive cfb39de | tar -x -C OLD && cd OLD && python .../make_catalogue_1.py .../catalogue-1.sqlite
Clock, keys of cards and contents are fixed; identifiers of operations and the key that signs exports are not,
so that another run gives another file that says the same.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from firmware_mgr.link import messages as m
from firmware_mgr.master.catalogue import Put
from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue
from firmware_mgr.master.documents import Admission, PackageRecord
from firmware_mgr.master.leases import CatalogueLeases
from firmware_mgr.model.ids import Digest, MacAddress, SlotId
from firmware_mgr.model.software import SoftwareSet
from firmware_mgr.netboot.served import Lease, LeaseState
from tests.master.rack_twin import GOOD, NEW_IMAGE, SET, Rack, TwinCard

SLOTS = 8
NEW_PACKAGE = PackageRecord("web", "1.1", Digest.of(b"web 1.1"), 21, ("aarch64",), 3.0, {"modules": 3})


async def serve(rack: Rack, *cards: TwinCard) -> None:
    """A whole burn-all for these cards."""
    await rack.master.burn_all([card.slot for card in cards], False)
    for card in cards:
        await card.hello()
        await card.burn()
    await rack.settle()
    for card in cards:
        card.source, card.running = m.BootSource.A, None
        await card.hello()
        await card.run()
    await rack.settle()


async def live(rack: Rack) -> None:
    cards = {number: TwinCard(rack, number) for number in range(1, SLOTS + 1)}
    # Slots 1 to 4 are provisioned; then 1 stays in service.
    await serve(rack, *(cards[number] for number in range(1, 5)))
    # 2: another card shows another key and waits for approval.
    await cards[2].lose()
    await TwinCard(rack, 2, "f" * 64).hello()
    # 3: a new image and package are wanted by the user, and the image failed its trial.
    await rack.add(NEW_IMAGE)
    await rack.catalogue.transact([], [Put(NEW_PACKAGE.key, NEW_PACKAGE.to_document())])
    await rack.master.load_software()
    await rack.master.want(SlotId(3), "2", ["web=1.1"])
    entry = rack.master.roster.get(SlotId(3))
    cards[3].running = None
    cards[3].flash = replace(
        cards[3].flash,
        boot_b=m.BootPartitionReport(GOOD, NEW_IMAGE.digest, "2"),
        control=m.ControlReport(GOOD, GOOD, "a", "b", 3, 0, "other", "b"),
    )
    await rack.master.roster.write(entry, rack.clock(), rejected=(NEW_IMAGE.digest,))
    # 4: powered off, and admitted only by hand from now on, in a class.
    rack.hands.powered[4] = False
    await rack.wait(lambda: rack.state(4) == "absent")
    await rack.master.roster.write(
        rack.master.roster.get(SlotId(4)), rack.clock(), admission=Admission.APPROVED, card_class="edge"
    )
    # 5 and 6: in the middle of a burn-all, one of them has stored. 7: in a burn-all that was cancelled.
    await rack.master.burn_all([SlotId(5), SlotId(6)], True)
    await rack.settle()
    await cards[5].hello()
    await cards[5].burn(SoftwareSet(NEW_IMAGE.ref, (NEW_PACKAGE.ref,)))
    await cards[6].hello()
    rack.hands.powered[7] = True
    await rack.wait(lambda: rack.master.roster.get(SlotId(7)).powered is True)
    cancelled = await rack.master.burn_all([SlotId(7)], False)
    await rack.settle()
    await rack.master.cancel(cancelled.id)
    # 8: never spoke.
    rack.clock.now += 7.5
    await cards[1].run(SET)
    await rack.settle()


async def leases(catalogue: SqliteCatalogue) -> None:
    kept = CatalogueLeases(catalogue)
    ends = ((1, LeaseState.BOUND, 5000), (2, LeaseState.DECLINED, 5000), (3, LeaseState.RELEASED, 1200))
    for number, state, ends_at in ends:
        mac = MacAddress(f"52:54:00:f7:01:{number:02x}")
        address = IPv4Address(f"10.77.0.{10 + number}")
        await kept.keep([Lease(address, mac, bytes([1, number]), ends_at, state)])


async def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rack = Rack(Path(folder), slots=SLOTS)
        catalogue = SqliteCatalogue(out, rack.clock, history_length=256)
        rack.catalogue = catalogue  # type: ignore[assignment]
        rack.master = rack._make()
        async with rack:
            await live(rack)
            sys.stdout.write(
                "".join(f"{entry.slot}: {entry.life.state.value}\n" for entry in rack.master.roster)
            )
        await leases(catalogue)
        catalogue.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).absolute()))
