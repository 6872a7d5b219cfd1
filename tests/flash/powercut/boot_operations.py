"""Boot partitions with boot control: an image written to the one not in use, verified, tried, committed.

At any moment the loader ends at a whole image, old or new, or at netboot; and the one in use is as it was.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from firmware_mgr.flash.device import Window
from firmware_mgr.model.errors import DeviceError
from tests.flash.powercut import loader
from tests.flash.powercut.control_operations import Controls, view_of
from tests.flash.powercut.house import House
from tests.flash.powercut.medium import Medium, Powered
from tests.flash.powercut.operation import Broken, Operation

CONTROL_SIZE, BOOT_SIZE = 1 << 20, 32 * 1024
SIZE = CONTROL_SIZE + 2 * BOOT_SIZE
#: Three pieces of 4 KiB each; the first pieces are the same in both.
#: Starts of a trial (`Settings.trial_tries`).
TRIES = 2
OLD = random.Random(1).randbytes(9000)
NEW = OLD[:4096] + random.Random(2).randbytes(5500)


@dataclass(frozen=True)
class Boots:
    house: House

    def letter(self, name: str) -> Any:
        return self.house.flash("letter").Letter(name)

    @cached_property
    def layouts(self) -> dict[str, Any]:
        layout = self.house.flash("boot_partition").BootImageLayout
        return {"old": layout.of(OLD), "new": layout.of(NEW)}

    def control(self, device: Any) -> Any:
        return Window(device, 0, CONTROL_SIZE, "control")

    def windows(self, device: Any) -> dict[Any, Any]:
        return {
            self.letter(name): Window(device, CONTROL_SIZE + number * BOOT_SIZE, BOOT_SIZE, name)
            for number, name in enumerate("ab")
        }

    def held(self, device: Any, name: str) -> str:
        """Which image the partition holds whole, going by its bytes."""
        window = self.windows(device)[self.letter(name)]
        for image, data in (("old", OLD), ("new", NEW)):
            try:
                if window.read(0, len(data)) == data:
                    return image
            except DeviceError:
                pass
        return "nothing whole"

    def look(self, device: Powered) -> Hashable:
        images = {name: self.held(device, name) for name in "ab"}
        if images["a"] != "old":
            raise Broken(f"the partition in use holds {images['a']}")
        whole = "".join(name for name in "ab" if images[name] != "nothing whole")
        seen = view_of(self.house, self.control(device), whole)
        return *seen[:-1], images.get(seen[-1], "netboot")

    def beyond(self, seen: Hashable) -> bool:
        assert isinstance(seen, tuple)
        return seen[-1] in ("old", "new", "netboot")

    # What loader and agent do; the agent burns while it runs from a

    def _write(self, device: Any, step: Callable[[Any], Any]) -> None:
        control = self.house.flash("control")
        window = self.control(device)
        state = control.read_control(window)
        control.write_control(window, step(state.record or Controls(self.house).record("n", "-", 0, 0)))

    def burn(self, device: Any) -> None:
        """The order of writes of a burn: out of use, pieces, sync, read back, trial."""
        partitions, control = self.house.flash("boot_partition"), self.house.flash("control")
        b, layout = self.letter("b"), self.layouts["new"]
        boot = partitions.BootPartitions(self.windows(device), self.letter("a"))
        missing = boot.missing_pieces(b, layout)
        record = control.read_control(self.control(device)).record
        # Neither starts nor on trial: a burn was cut. A trial without starts was burned whole, and used up.
        cut = record is not None and not record.left(b) and record.trial is not control.Target.of(b)
        if missing or cut:
            missing = list(range(len(layout.pieces)))  # what reads right may read wrong later
            self._write(device, lambda record: control.fall_back(record, b))
            for index in missing:
                offset, length = layout.span(index)
                boot.write_piece(b, layout, index, NEW[offset : offset + length])
                boot.sync(b)
        boot.sync(b)
        if boot.verify(b, layout) != layout.digest:
            raise Broken("verifies differently")
        self._write(device, lambda record: control.begin_trial(record, b, TRIES))
        self.heal(device)

    def switch(self, device: Any) -> None:
        """From power-on until b is validated: the loader starts what it finds; from a, b is burned and tried.

        Cuts may use up a trial: then a starts, and what is burned is put on trial once more, as when it is
        ordered again. Nothing else leads to a second turn, unless control cannot be read the same way twice.
        """
        control = self.house.flash("control")
        a, b = self.letter("a"), self.letter("b")
        for _ in range(2 if device.medium.calm else 4):
            decision = loader.start(self.house, self.control(device), list(self.windows(device)))
            running = decision.target.letter
            if running is None:
                raise Broken(f"starts from the network, and a holds an image: {decision}")
            if running is b and self.held(device, "b") != "new":
                break  # control could not be read; the card is up, and a burn to a is another operation
            if running is b:
                self._write(device, lambda record: control.confirm_validated(record, b))
                self.heal(device)
                return
            self._write(device, lambda record: control.restore_tries(record, a))
            self.burn(device)
        raise DeviceError("the trial is not started", found=str(decision))

    def heal(self, device: Any) -> None:
        """Both copies are usable again, as after every trial and commit."""
        Controls(self.house).heal(self.control(device))

    def fall_back(self, device: Any) -> None:
        self._write(device, lambda record: self.house.flash("control").fall_back(record, self.letter("b")))

    def starts_used_up(self) -> list[Hashable]:
        """What two cuts leave of starts, each of which has cost one, where one cut does not."""
        return [
            ("a", "-", "1", "3", "old"),
            ("a", "-", "2", "0", "old"),
            ("a", "b", "3", "0", "old"),
            ("b", "-", "3", "2", "new"),
        ]

    # Media to start from

    def holding(self, b: bytes, *records: tuple[str, str, int, int]) -> Callable[[], Medium]:
        def start() -> Medium:
            device = Powered(Medium(bytes(SIZE)), sites=False)
            controls = Controls(self.house)
            for name, data in (("a", OLD), ("b", b)):
                self.windows(device)[self.letter(name)].write(0, data + bytes(-len(data) % 512))
            device.sync()
            for record in records:
                self._write(device, lambda _, record=record: controls.record(*record))  # type: ignore[misc]
            return Medium(device.medium.contents())

        return start


def boot_operations(house: House) -> list[Operation]:
    b = Boots(house)
    committed, alone = ("a", "-", 3, 3), ("a", "-", 3, 0)
    spoilt = NEW[:5000] + b"spoilt" + NEW[5006:]

    def operation(
        name: str, start: Callable[[], Medium], act: Callable[[Any], None], **more: Any
    ) -> Operation:
        return Operation(f"boot.{name}", start, act, b.look, beyond=b.beyond, **more)

    return [
        operation("burn over nothing", b.holding(b"", alone, alone), b.burn, steady=False),
        operation("burn over a way back", b.holding(OLD, committed, committed), b.burn, steady=False),
        operation("burn what is damaged", b.holding(spoilt, alone, alone), b.burn, steady=False),
        operation(
            "switch", b.holding(OLD, committed, committed), b.switch, steady=False, extra=b.starts_used_up
        ),
        operation("fall back", b.holding(NEW, alone, ("a", "b", 3, 2)), b.fall_back),
    ]
