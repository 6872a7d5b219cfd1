"""Bugs to plant in a copy of the code, each of a kind that has cost others their devices.

Knows a text of our source and what a careless hand would have written instead. A text that is not there any
more fails loudly: then the bug is to be planted anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.flash.powercut.card_operations import card_operations
from tests.flash.powercut.control_operations import control_operations
from tests.flash.powercut.house import Bug, House
from tests.flash.powercut.operation import Operation
from tests.flash.powercut.store_operations import store_operations
from tests.flash.powercut.table_operations import table_operations


@dataclass(frozen=True)
class Planted:
    """The bug, the operation on which it shows, and where that is cut (`at` is part of the site)."""

    bugs: tuple[Bug, ...]
    operations: Callable[[House], list[Operation]]
    on: str
    at: str = ""


def _one(
    name: str,
    module: str,
    text: str,
    instead: str,
    operations: Callable[[House], list[Operation]],
    *,
    on: str,
    at: str = "",
) -> Planted:
    return Planted((Bug(name, module, text, instead),), operations, on, at)


PLANTED = (
    Planted(
        (
            Bug(
                "a root torn in the middle of its magic is taken as whole",
                "flash.store_layout",
                "if not body.startswith(ROOT_MAGIC) or len(crc) != 4:",
                "body = (ROOT_MAGIC + body[8:]) if body.startswith(ROOT_MAGIC[:4]) else body\n"
                "        if not body.startswith(ROOT_MAGIC) or len(crc) != 4:",
            ),
            Bug(
                "and its checksum is not looked at",
                "flash.store_layout",
                "if found != ROOT_CRC.parse(crc):",
                "if found != ROOT_CRC.parse(crc) and slot[8:10] == bytes(2):",
            ),
        ),
        store_operations,
        on="store.install round the ring",
    ),
    Planted(
        (
            Bug(
                "a torn control record is taken as whole",
                "flash.control_layout",
                "if crc != copy.crc:",
                'if crc != copy.crc and not copy.text.startswith(b"fw_a="):',
            ),
            Bug(
                "in full",
                "flash.control_layout",
                "if record.encode() != raw:",
                "if record.encode()[4:] != raw[4:]:",
            ),
        ),
        control_operations,
        on="control.trial",
    ),
    _one(
        "other roots are erased before the new one stands",
        "flash.store",
        "        store._transact({}, {})\n"
        "        store_roots.erase_roots(device, but=store._history[0].slot)",
        "        store_roots.erase_roots(device)\n        store._transact({}, {})",
        store_operations,
        on="store.format over a store",
    ),
    _one(
        "pieces are overwritten before control takes the partition out of use",
        "card.burn_image",
        "            self._take_out_of_use(target)\n            self._write_pieces(target, layout, missing)",
        "            self._write_pieces(target, layout, missing)\n            self._take_out_of_use(target)",
        card_operations,
        on="card.update over a way back",
        at="boot_partition.write_piece",
    ),
    _one(
        "no sync between snapshot and root",
        "flash.store_roots",
        "        device.write(offset, whole)\n    device.sync()\n    for offset in offsets:\n"
        "        if device.read(offset, len(raw)) != raw:\n"
        '            raise DeviceError("store snapshot reads back differently", where=f"offset {offset}")',
        "        device.write(offset, whole)",
        store_operations,
        on="store.activate",
    ),
    _one(
        "no sync between the two copies of the table",
        "flash.gpt",
        "            device.write(offset, data)\n        device.sync()\n",
        "            device.write(offset, data)\n    device.sync()\n",
        table_operations,
        on="table.write over another",
    ),
    _one(
        "the snapshot may go where the fallback's is",
        "flash.store",
        "*store_places.taken_in_zones(self._geometry, self._history),\n            ]\n",
        "*store_places.taken_in_zones(self._geometry, self._history[:1]),\n            ]\n"
        "            self._zone_cursor = 0\n",
        store_operations,
        on="store.checkpoint",
    ),
    _one(
        "the root goes to the current slot",
        "flash.store_roots",
        "    return sorted(usable, key=lambda slot: bad_halves[slot])",
        "    return [newest, *usable] if history else usable",
        store_operations,
        on="store.activate",
    ),
    _one(
        "control is written to the current copy",
        "flash.control",
        "        return 1 if self.chosen == 0 else 0",
        "        return 0 if self.chosen == 0 else 1",
        control_operations,
        on="control.trial",
    ),
    _one(
        "room is used again that the fallback refers to",
        "flash.store",
        "        for committed in self._history:\n            taken.update",
        "        for committed in self._history[:0]:\n            taken.update",
        store_operations,
        on="store.reclaim",
    ),
    _one(
        "a partition gets its starts before it was verified",
        "card.burn",
        "            self._image.write(target, layout, missing)\n",
        "            self._put_on_trial(target, order.trial_tries)\n"
        "            self._image.write(target, layout, missing)\n",
        card_operations,
        on="card.update",
        at="boot_partition.write_piece",
    ),
    _one(
        "what a cut left in the ring is not settled",
        "flash.store",
        "        if self._settled or not self._history:\n            return\n",
        "        return\n",
        store_operations,
        on="store.activate",
    ),
    _one(
        "pieces whose write was cut are trusted when they read right",
        "card.burn_image",
        "missing_pieces(letter, layout), *doubtful}",
        "missing_pieces(letter, layout)}",
        card_operations,
        on="card.update",
        at="boot_partition.write_piece",
    ),
    _one(
        "records are written before the modules",
        "card.burn",
        "        self._packages.write(work)\n",
        "        self._store.commit(self._documents(order, work, target, layout, self._store.documents()))\n"
        "        self._packages.write(work)\n",
        card_operations,
        on="card.update",
        at="write_blob",
    ),
)
