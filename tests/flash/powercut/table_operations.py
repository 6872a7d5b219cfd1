"""The partition table: written on empty flash, over another one, repaired. Old, new, or none if none was."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

from tests.flash.powercut.house import House
from tests.flash.powercut.medium import SECTOR, Medium, Powered
from tests.flash.powercut.operation import Operation

MIB = 1 << 20
SIZE = 10 * MIB
NOTHING = "no table"


@dataclass(frozen=True)
class Tables:
    house: House

    @property
    def gpt(self) -> Any:
        return self.house.flash("gpt")

    def planned(self, boot: int) -> Any:
        return self.gpt.plan(self.gpt.FlashLayout(MIB, boot * MIB, 0, MIB), SIZE)

    def look(self, device: Powered) -> Hashable:
        try:
            return self.gpt.read_table(device)  # type: ignore[no-any-return]
        except self.house.flash("errors").FlashFormatError:
            return NOTHING

    def beyond(self, seen: Hashable) -> bool:
        """Two copies cannot outlive an unstable one and a second cut; the next burn lays out the same."""
        return seen in (NOTHING, self.planned(1), self.planned(2))

    def write(self, device: Powered) -> None:
        self.gpt.write_table(device, self.planned(2))

    def repair(self, device: Powered) -> None:
        self.gpt.repair_table(device)

    def holding(self, boot: int, *spoilt: int) -> Callable[[], Medium]:
        """Flash with a table; in these sectors (from the end when negative) a byte is wrong."""

        def start() -> Medium:
            device = Powered(Medium(bytes(SIZE)), sites=False)
            self.gpt.write_table(device, self.planned(boot))
            contents = bytearray(device.medium.contents())
            for sector in spoilt:
                contents[sector * SECTOR % SIZE + 60] ^= 1
            return Medium(bytes(contents))

        return start


def table_operations(house: House) -> list[Operation]:
    t = Tables(house)
    operations = [
        Operation("table.write on empty flash", lambda: Medium(bytes(SIZE)), t.write, t.look),
        Operation("table.write over another", t.holding(1), t.write, t.look),
        Operation("table.write where the backup counts", t.holding(1, 1), t.write, t.look),
        Operation("table.write where the primary counts", t.holding(1, -1), t.write, t.look),
        Operation("table.repair the primary", t.holding(2, 1), t.repair, t.look),
        Operation("table.repair the backup", t.holding(2, -1), t.repair, t.look),
    ]
    return [replace(operation, weight=0.5, beyond=t.beyond) for operation in operations]
