"""What a flash shows before anything is written to it, by our own reading code; and what a cut may show.

Knows the old and the new set of a record by what the record begins and ends with. Refuses to know machines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from firmware_mgr.link.messages import BootSource
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.software import BootImageRef
from tests.flash.powercut.bench import Cut
from tests.flash.powercut.house import House
from tests.flash.powercut.medium import Event, Medium, Powered
from tests.flash.powercut.operation import RASH, Broken
from tests.flash.recorded.phases import Phase
from tests.flash.recorded.recording import Recording, with_writes

#: Where there is no table, no store, or one that was never whole: nothing that a card could run.
NOTHING, DAMAGED, EMPTY = "nothing", "damaged", "-"
OLD, NEW = "old", "new"
NETBOOT = "netboot"
CONTROLS = {phase.value for phase in (Phase.CONTROL, Phase.LOADER, Phase.COMMIT)}


@dataclass(frozen=True)
class View:
    """`loader` is the partition that the loader ends at (a, b, n), `boots` the image there, `control` the
    record that counts.

    `stored` and `validated` are sets; `store` and `state` digests of all that the two hold, or why not.
    """

    table: str
    control: str
    boots: str
    stored: str
    validated: str
    store: str
    state: str
    loader: str = field(compare=False, default="n")

    def __str__(self) -> str:
        return f"loader {self.loader} ({self.boots}), stored {self.stored}, validated {self.validated}"


@dataclass(frozen=True)
class Reader:
    """`layout` is the board's, `trust` the site's; `images` and `sets` are those of the old and the new set.

    `house` is the reading code: our own, or a copy of it.
    """

    layout: Any
    trust: Any
    cpu: CpuArch
    images: Mapping[str, BootImageRef]
    sets: Mapping[Digest, str]
    house: House = field(default_factory=House)

    @classmethod
    def between(
        cls, record: Recording, layout: Any, trust: Any, cpu: CpuArch, house: House | None = None
    ) -> Reader:
        """Knows the set that the record begins with, if any, as old, and the one it ends with as new."""
        house = house or House()
        bare = cls(layout, trust, cpu, {}, {}, house)
        images: dict[str, BootImageRef] = {}
        sets: dict[Digest, str] = {}
        for medium, name in ((record.last, NEW), (record.first, OLD)):
            records = bare.records(medium)
            if records is not None and records.stored is not None:
                sets[records.stored] = name
                images[name] = records.sets[records.stored].boot_image
        return cls(layout, trust, cpu, images, sets, house)

    def records(self, medium: Medium) -> Any:
        """What the store's documents say; None without a store."""
        store = self._areas(Powered(medium, sites=False)).store
        return None if store is None else self.house.card("records").read_records(store.documents())

    def look(self, medium: Medium) -> View:
        """Raises Broken when a set that may run is not whole, or starts are given to what is no image."""
        device = Powered(medium, sites=False)
        areas = self._areas(device)
        if areas.partitions is None:
            view = View(NOTHING, NOTHING, NETBOOT, EMPTY, EMPTY, NOTHING, NOTHING)
        else:
            view = self._look(areas)
        if device.events:
            raise Broken("looking writes")
        return view

    def _areas(self, device: Powered) -> Any:
        words = self.house.card("loader").LoaderWords(BootSource.NETBOOT, "boot")
        return self.house.card("areas").open_areas(device, self.layout, words)

    def _look(self, areas: Any) -> View:
        found = self.house.card("inspection").inspect(areas, self.trust, self.cpu)
        records = found.records
        for software in records.kept_sets.values():
            for ref in software.packages:
                stored = found.packages.get(ref.digest)
                if stored is None or stored.bad:
                    raise Broken(f"a mix: set {self._set(software.digest)} may run and is not whole")
        if areas.store is not None and (bad := areas.store.bad_blobs()):
            raise Broken(f"the store names {len(bad)} blobs that it does not hold")
        loader, boots = self._loader(areas)
        return View(
            ", ".join(partition.name for partition in areas.partitions),
            self._control(areas),
            boots,
            self._set(records.stored),
            self._set(records.validated),
            self._contents(areas, "store"),
            self._contents(areas, "state"),
            loader,
        )

    def _loader(self, areas: Any) -> tuple[str, str]:
        """Where the loader ends. What it assumes on its own, and then writes, it may find no image for."""
        control = self.house.flash("control")
        state = control.read_control(areas.window("control"))
        images = self._whole(areas)
        record = state.record
        if record is not None and record.made.value != "loader":
            rash = [letter.value for letter in self._letters if record.left(letter) and letter not in images]
            if rash:
                raise Broken(f"{', '.join(rash)} {RASH}")
        target = control.decide_boot(state, list(images)).target
        return target.value, NETBOOT if target.letter is None else images[target.letter]

    def control(self, medium: Medium) -> str:
        areas = self._areas(Powered(medium, sites=False))
        return NOTHING if areas.partitions is None else self._control(areas)

    def _control(self, areas: Any) -> str:
        state = self.house.flash("control").read_control(areas.window("control"))
        return NOTHING if state.record is None else str(replace(state.record, seq=1))

    @property
    def _letters(self) -> list[Any]:
        return list(self.house.flash("letter").Letter)

    def _whole(self, areas: Any) -> dict[Any, str]:
        """Which of the two images each boot partition holds whole, going by its bytes."""
        return {
            letter: name
            for letter in self._letters
            for name, ref in self.images.items()
            if Digest.of(areas.window(letter.partition).read(0, ref.length)) == ref.digest
        }

    def _set(self, digest: Digest | None) -> str:
        return EMPTY if digest is None else self.sets.get(digest, digest.short)

    def _contents(self, areas: Any, name: str) -> str:
        """The digest of documents and index, without where blobs lie."""
        store = self.house.flash("store").Store
        errors = self.house.flash("errors")
        try:
            opened = store.open(areas.window(name))
        except errors.StoreMissing:
            return NOTHING
        except DeviceError:
            return DAMAGED
        text = repr((sorted(opened.documents().items()), sorted(d.hex for d in opened.blobs())))
        return Digest.of(text.encode()).short


def check(reader: Reader, recording: Recording, cut: Cut, left: Medium) -> View:
    """What the cut has left, which must be what was there before or what was being written, part by part.

    Raises Broken. Where there was nothing whole before, a part that cannot be read counts as nothing.
    A loader does not flush: of control each of several records that wait may be seen.
    """
    seen = reader.look(left)
    none, waiting = recording.waiting(cut)
    before, after = reader.look(none), reader.look(with_writes(none, waiting))
    for part in fields(View):
        if not part.compare:
            continue
        found, *legal = (getattr(view, part.name) for view in (seen, before, after))
        if part.name == "control" and found not in legal:
            legal += _controls(reader, none, waiting)
        if found not in legal and not (found == DAMAGED and legal[0] in (NOTHING, DAMAGED)):
            raise Broken(f"{part.name}: {found}, none of {', '.join(legal)}: {seen}")
    return seen


def _controls(reader: Reader, medium: Medium, waiting: Sequence[Event]) -> list[str]:
    seen = []
    for event in waiting:
        if event.site in CONTROLS:
            medium = with_writes(medium, [event])
            seen.append(reader.control(medium))
    return seen
