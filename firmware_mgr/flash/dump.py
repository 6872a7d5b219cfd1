"""What flash holds, as JSON-able documents for people: partition table, boot control, store.

Knows every format's fields and shows damage as text instead of raising. Writes nothing and prints nothing.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from firmware_mgr.flash import store_roots
from firmware_mgr.flash.control import read_control
from firmware_mgr.flash.device import bad_offsets
from firmware_mgr.flash.gpt import read_table
from firmware_mgr.flash.store import Store
from firmware_mgr.flash.store_geometry import unit_for
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import Digest

if TYPE_CHECKING:
    from firmware_mgr.flash.device import FlashDevice
    from firmware_mgr.flash.store_roots import SlotReading


def describe_table(device: FlashDevice) -> dict[str, Any]:
    """The partitions by the copy of the table that counts, or `problem`."""
    try:
        partitions = read_table(device)
    except DeviceError as e:
        return {"problem": str(e)}
    return {
        "partitions": [
            {
                "name": p.name,
                "offset": p.offset,
                "size": p.size,
                "guid": str(p.guid),
                "type": str(p.type_guid),
                "bootable": p.bootable,
            }
            for p in partitions
        ]
    }


def describe_control(window: FlashDevice) -> dict[str, Any]:
    """Both copies of the boot-control record, and which one is current."""
    state = read_control(window)
    copies = [
        {"record": copy.record.document()} if copy.record else {"problem": copy.problem}
        for copy in state.copies
    ]
    return {"current": state.chosen, "copies": copies, "effective": state.effective.document()}


def describe_store(device: FlashDevice, *, check: bool = False) -> dict[str, Any]:
    """Roots, room, documents (by length and digest) and blobs; with `check` each blob is read and hashed."""
    result: dict[str, Any] = {"unit": unit_for(device.block_size)}
    bad_blocks = bad_offsets(device)
    if bad_blocks is not None:
        result["bad_blocks"] = sorted(bad_blocks)
    result["roots"] = [_root(reading) for reading in store_roots.read_ring(device)]
    try:
        store = Store.open(device)
    except DeviceError as e:
        return result | {"problem": str(e)}
    space = store.space()
    bad = set(store.bad_blobs()) if check else None
    return result | {
        "store_id": store.store_id.hex(),
        "sequence": store.sequence,
        "space": asdict(space),
        "documents": [
            {"name": name, "length": len(value), "digest": Digest.of(value).hex}
            for name, value in sorted(store.documents().items())
        ],
        "blobs": [
            {"digest": digest.hex, "offset": extent.offset, "length": extent.length}
            | ({} if bad is None else {"good": digest not in bad})
            for digest, extent in sorted(store.blobs().items(), key=lambda item: item[1])
        ],
    }


def _root(reading: SlotReading) -> dict[str, Any]:
    place = {"slot": reading.slot, "twin": reading.twin}
    if reading.root is None:
        return place | {"problem": "empty" if reading.blank else reading.problem}
    root = reading.root
    return place | {
        "sequence": root.sequence,
        "store_id": root.store_id.hex(),
        "snapshot_length": root.snapshot_length,
        "snapshot_offsets": list(root.snapshot_offsets),
    }
