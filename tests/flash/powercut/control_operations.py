"""Boot control's operations: each step of the agent, and starts that the loader counts, from several records.

At any moment a record that was written, and starts for none but partitions that hold an image.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

from tests.flash.powercut import loader
from tests.flash.powercut.house import House
from tests.flash.powercut.medium import Medium, Powered
from tests.flash.powercut.operation import RASH, Operation

SIZE = 1 << 20
DEFAULT = "the loader's default"


def view_of(house: House, window: Any, whole: str) -> tuple[str, ...]:
    """What control says, whoever wrote it and whenever; and where the loader ends. `whole` have an image."""
    letter, control = house.flash("letter").Letter, house.flash("control")
    state = control.read_control(window)
    target = control.decide_boot(state, [letter(name) for name in whole]).target.value
    record = state.record
    if record is None:
        return DEFAULT, target
    rash = [f"{name} {RASH}" for name in "ab" if record.left(letter(name)) and name not in whole]
    trial = "-" if record.trial is None else record.trial.value
    return record.boot.value, trial, f"{record.left_a}", f"{record.left_b}", *rash, target


@dataclass(frozen=True)
class Controls:
    """`whole` are the boot partitions that hold an image."""

    house: House
    whole: str = "ab"

    @property
    def control(self) -> Any:
        return self.house.flash("control")

    def letter(self, name: str) -> Any:
        return self.house.flash("letter").Letter(name)

    def record(self, boot: str, trial: str, left_a: int, left_b: int) -> Any:
        layout = self.house.flash("control_layout")
        return layout.ControlRecord(
            layout.Target(boot),
            None if trial == "-" else layout.Target(trial),
            left_a,
            left_b,
            layout.Maker.AGENT,
            1,
        )

    @property
    def letters(self) -> list[Any]:
        return [self.letter(name) for name in self.whole]

    def look(self, device: Powered) -> Hashable:
        return view_of(self.house, device, self.whole)

    def beyond(self, seen: Hashable) -> bool:
        """Two copies cannot outlive an unstable one and a second cut; then images' checksums decide."""
        assert isinstance(seen, tuple)
        return seen[-1] in (*self.whole, "n")

    def holding(self, *records: Any) -> Callable[[], Medium]:
        """A medium on which these were written one after the other."""

        def start() -> Medium:
            device = Powered(Medium(bytes(SIZE)), sites=False)
            for record in records:
                self.control.write_control(device, record)
            return Medium(device.medium.contents())

        return start

    def step(self, change: Callable[[Any], Any]) -> Callable[[Powered], None]:
        """As the agent does: read, change, write; unless it stands there already and both copies are good."""

        def act(device: Powered) -> None:
            state = self.control.read_control(device)
            wanted = change(state.record or self.record("n", "-", 0, 0))
            self.control.write_control(device, wanted)
            self.heal(device)

        return act

    def heal(self, device: Powered) -> None:
        state = self.control.read_control(device)
        if state.record is not None and any(copy.record is None for copy in state.copies):
            self.control.write_control(device, state.record)

    def count_and_restore(self, device: Powered) -> None:
        """The loader starts what is committed; it comes up, and the agent gives it its starts back."""
        decision = loader.start(self.house, device, self.letters)
        record = self.control.read_control(device).record
        running = decision.target.letter
        if running is not None and record.left(running) < self.control.TRIES:
            self.control.write_control(device, self.control.restore_tries(record, running))

    def losing_one(self, start: Callable[[], Medium], copy: int) -> Callable[[], Medium]:
        """One copy was damaged beforehand."""

        def damaged() -> Medium:
            spoilt = bytearray(start().contents())
            spoilt[self.house.flash("control_layout").COPY_OFFSETS[copy] + 40] ^= 1
            return Medium(bytes(spoilt))

        return damaged

    def operation(
        self, name: str, start: Callable[[], Medium], act: Callable[[Powered], None], **more: Any
    ) -> Operation:
        return Operation(f"control.{name}", start, act, self.look, beyond=self.beyond, **more)

    def _on(self, name: str, start: Callable[[], Medium], change: Callable[[Any], Any]) -> Operation:
        return self.operation(name, start, self.step(change))


def control_operations(house: House) -> list[Operation]:
    both, only_a, none = Controls(house), Controls(house, "a"), Controls(house, "")
    c = both.control
    a, b = both.letter("a"), both.letter("b")
    committed = both.record("a", "-", 3, 3)
    on_trial = both.record("a", "b", 3, 2)
    alone = both.record("a", "-", 3, 0)
    return [
        none._on("first record", none.holding(), lambda r: c.fall_back(r, b)),
        only_a._on("first burn", only_a.holding(), lambda r: c.first_burn(a)),
        both._on("trial", both.holding(alone, alone), lambda r: c.begin_trial(r, b, 2)),
        both._on("confirm", both.holding(alone, on_trial), lambda r: c.confirm_validated(r, b)),
        both._on("fall back from trial", both.holding(alone, on_trial), lambda r: c.fall_back(r, b)),
        both._on(
            "fall back from committed",
            both.holding(on_trial, both.record("b", "-", 3, 3)),
            lambda r: c.fall_back(r, b),
        ),
        both._on("netboot once", both.holding(committed, committed), c.netboot_once),
        both._on(
            "restore starts",
            both.holding(committed, replace(committed, left_a=1)),
            lambda r: c.restore_tries(r, a),
        ),
        # With both copies lost there is nothing to heal from: that takes the next burn.
        both.operation(
            "heal copy 0", both.losing_one(both.holding(on_trial, committed), 0), both.heal, ends=False
        ),
        both.operation(
            "heal copy 1", both.losing_one(both.holding(committed, on_trial), 1), both.heal, ends=False
        ),
        both.operation(
            "count and restore",
            both.holding(committed, committed),
            both.count_and_restore,
            steady=False,
            extra=lambda: [("a", "-", "1", "3", "a")],
        ),
    ]
