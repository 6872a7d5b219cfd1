"""Areas of flash without a partition table, from the text by which U-Boot and Linux know them (`mtdparts`).

Knows names, offsets and sizes. Refuses to know what an area holds. docs/FLASH-DEVICES.md, "Areas".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from firmware_mgr.flash.device import Window
from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.model.errors import UsageError

if TYPE_CHECKING:
    from firmware_mgr.flash.device import FlashDevice

#: SIZE[@OFFSET](NAME)[ro][lk] (Linux, drivers/mtd/parsers/cmdlinepart.c); a size of - is all that is left.
_AREA = re.compile(
    r"(?P<size>-|(?:0x[0-9a-fA-F]+|\d+)[kKmMgG]?)"
    r"(?:@(?P<offset>(?:0x[0-9a-fA-F]+|\d+)[kKmMgG]?))?"
    r"\((?P<name>[^()]+)\)(?:ro)?(?:lk)?"
)
_FACTORS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True)
class Area:
    """A named part of a device: `offset` and `size` in bytes."""

    name: str
    offset: int
    size: int

    def window(self, device: FlashDevice) -> Window:
        """The area as a device of its own. Raises UsageError when it is not in whole blocks."""
        return Window(device, self.offset, self.size, self.name)


def parse_areas(text: str, device: str, size: int) -> tuple[Area, ...]:
    """The areas of the device of that name, `size` bytes long, in `mtdparts=DEVICE:…;DEVICE:…`.

    Raises UsageError when there are none, one leaves the device, or two overlap or share a name.
    """
    definitions = dict(
        one.partition(":")[::2] for one in text.strip().removeprefix("mtdparts=").split(";") if one
    )
    if device not in definitions:
        raise UsageError("no areas for this device", where="mtdparts", expected=device, found=text)
    areas: list[Area] = []
    end = 0
    for part in definitions[device].split(","):
        match = _AREA.fullmatch(part.strip())
        if match is None:
            raise UsageError("not an area", where="mtdparts", expected="SIZE[@OFFSET](NAME)", found=part)
        offset = end if match["offset"] is None else _bytes(match["offset"])
        length = size - offset if match["size"] == "-" else _bytes(match["size"])
        areas.append(Area(match["name"], offset, length))
        end = offset + length
    _check(areas, size)
    return tuple(areas)


def find_area(areas: tuple[Area, ...], name: str) -> Area:
    """The area of that name. Raises FlashFormatError when there is none."""
    for area in areas:
        if area.name == name:
            return area
    names = ", ".join(area.name for area in areas)
    raise FlashFormatError("no such area", where="mtdparts", expected=name, found=names)


def _bytes(text: str) -> int:
    factor = _FACTORS.get(text[-1].lower(), 1)
    return int(text.rstrip("kKmMgG"), 0) * factor


def _check(areas: list[Area], size: int) -> None:
    if len({area.name for area in areas}) != len(areas):
        raise UsageError("two areas have one name", where="mtdparts", found=[area.name for area in areas])
    end = 0
    for area in sorted(areas, key=lambda area: area.offset):
        if area.size <= 0 or area.offset < end or area.offset + area.size > size:
            raise UsageError(
                "area overlaps another or leaves the device",
                where=f"mtdparts, {area.name}",
                expected=f"within {end} to {size}",
                found=f"{area.offset} to {area.offset + area.size}",
            )
        end = area.offset + area.size
