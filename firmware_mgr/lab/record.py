"""The record of a chassis: what has been made and has to be ended again, and by which pid or name.

Written before a network is made and before a machine runs. Knows the file. Refuses to know how to end
anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from firmware_mgr.lab.process import ProcessIdentity
from firmware_mgr.model.errors import FwmgrError, PeerError
from firmware_mgr.model.ids import SlotId

#: The version of the record's form.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class NetworkRecord:
    """The backplane. `name` is that of the network namespace, None for the daemon's own user namespace."""

    name: str | None
    bridge: str
    taps: tuple[str, ...]
    address: str

    def document(self) -> dict[str, Any]:
        return {"name": self.name, "bridge": self.bridge, "taps": list(self.taps), "address": self.address}

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        name = doc["name"]
        taps = tuple(str(tap) for tap in doc["taps"])
        return cls(None if name is None else str(name), str(doc["bridge"]), taps, str(doc["address"]))


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """One slot: the machine in it while it has power, and how often it was given power."""

    slot: SlotId
    machine: ProcessIdentity | None = None
    power_on_count: int = 0

    def document(self) -> dict[str, Any]:
        return {
            "slot": str(self.slot),
            "machine": None if self.machine is None else self.machine.document(),
            "power_on_count": self.power_on_count,
        }

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        machine = doc["machine"]
        return cls(
            SlotId.parse(str(doc["slot"])),
            None if machine is None else ProcessIdentity.from_document(machine),
            int(doc["power_on_count"]),
        )


@dataclass(frozen=True, slots=True)
class ChassisRecord:
    """A whole chassis."""

    daemon: ProcessIdentity
    network: NetworkRecord
    slots: tuple[SlotRecord, ...]

    def document(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "daemon": self.daemon.document(),
            "network": self.network.document(),
            "slots": [slot.document() for slot in self.slots],
        }

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        """Raises PeerError when a field is missing or wrong, or the form is of another version."""
        try:
            if doc["format"] != FORMAT:
                raise PeerError("a record of another version", expected=FORMAT, found=doc["format"])
            return cls(
                ProcessIdentity.from_document(doc["daemon"]),
                NetworkRecord.from_document(doc["network"]),
                tuple(SlotRecord.from_document(slot) for slot in doc["slots"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as e:
            raise PeerError("not a chassis record", found=f"{e!s}") from e


def load_record(path: Path) -> ChassisRecord | None:
    """The record at `path`; None when there is none. Raises PeerError when it cannot be read."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as e:
        raise PeerError("not a chassis record", where=str(path), found=str(e)) from e
    try:
        return ChassisRecord.from_document(document)
    except FwmgrError as e:
        raise PeerError(e.what, where=str(path), expected=e.expected, found=e.found) from e


def save_record(path: Path, record: ChassisRecord) -> None:
    """Write it whole or not at all: a crash leaves the old one or the new one."""
    draft = path.with_suffix(".new")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(record.document(), file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
