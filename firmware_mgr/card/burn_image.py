"""The boot image of a burn: which partition is to hold it, what that lacks, and the writing of it.

Knows the order of writes that no power cut can hurt: control takes the partition out of use, each run of
pieces is noted in the store before it is written, then all is read back. What is started next is for `burn`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from firmware_mgr.card.areas import Areas
from firmware_mgr.card.blobs import Blobs, whole
from firmware_mgr.card.commit import NOTHING_COMMITTED
from firmware_mgr.card.records import boot_name, pieces_in_doubt, read_records, writing_document
from firmware_mgr.flash.boot_partition import PIECE_SIZE, BootImageLayout
from firmware_mgr.flash.control import fall_back, read_control
from firmware_mgr.flash.control_layout import Target
from firmware_mgr.flash.letter import Letter
from firmware_mgr.flash.store import Store
from firmware_mgr.model.errors import DeviceError, FwmgrError
from firmware_mgr.model.ids import Digest

#: Pieces are fetched in runs of at most this many bytes.
_RUN_BYTES = 8 * PIECE_SIZE


@dataclass
class ImageBurner:
    """`report` is called with pieces' bytes done and in all; `written` counts bytes that went into flash."""

    areas: Areas
    blobs: Blobs
    report: Callable[[str, int, int], None]
    written: int = field(default=0, init=False)
    _rewritten: set[int] = field(default_factory=set, init=False)

    @property
    def store(self) -> Store:
        assert self.areas.store is not None
        return self.areas.store

    def choose(self, layout: BootImageLayout) -> tuple[Letter, list[int]]:
        """The partition to hold the image, and which of its pieces are missing there."""
        areas, boot = self.areas, self.areas.boot
        lacks = {letter: self._lacking(letter, layout) for letter in Letter}
        if areas.in_use is not None:
            target = areas.in_use if not lacks[areas.in_use] else areas.in_use.other
            return target, lacks[target]
        recorded = read_records(self.store.documents()).boot
        control = read_control(areas.window("control")).record

        def preference(letter: Letter) -> tuple[bool, bool, bool, int]:
            """Least first: holds it already; is no way back to another image; uncommitted; lacks little."""
            other = letter in recorded and recorded[letter].ref.digest != layout.digest
            way_back = other and not boot.missing_pieces(letter, recorded[letter].layout)
            committed = control is not None and control.boot is Target.of(letter)
            return bool(lacks[letter]), way_back, way_back and committed, len(lacks[letter])

        target = min(Letter, key=preference)
        return target, lacks[target]

    def write(self, target: Letter, layout: BootImageLayout, missing: list[int]) -> None:
        """Write the pieces, and read the whole image back. Raises DeviceError when that is not right."""
        if missing:
            self._take_out_of_use(target)
            self._write_pieces(target, layout, missing)
        self.areas.boot.sync(target)
        found = self.areas.boot.verify(target, layout)
        if found != layout.digest:
            raise DeviceError(
                "boot image reads back differently",
                where=target.partition,
                expected=layout.digest.short,
                found=found.short,
            )

    def _lacking(self, letter: Letter, layout: BootImageLayout) -> list[int]:
        """The pieces that flash does not hold, or whose write was cut: these may read right just once."""
        doubtful = pieces_in_doubt(self.store.documents(), letter)
        missing = {*self.areas.boot.missing_pieces(letter, layout), *doubtful}
        return sorted(missing & set(range(len(layout.pieces))))

    def _take_out_of_use(self, target: Letter) -> None:
        """No loader shall start the partition, and no record shall vouch for it, while it is written."""
        window = self.areas.window("control")
        state = read_control(window)
        self.areas.set_control(fall_back(state.record or NOTHING_COMMITTED, target))
        self.store.commit({boot_name(target): None})

    def _write_pieces(self, target: Letter, layout: BootImageLayout, missing: list[int]) -> None:
        boot, total = self.areas.boot, sum(layout.span(index)[1] for index in missing)
        done = 0
        local = self._local_pieces(target, layout)
        for run in _runs(missing, local):
            if run[0] in local:
                source = b"".join(self._read_piece(target.other, layout, index) for index in run)
            else:
                start, _ = layout.span(run[0])
                end = sum(layout.span(run[-1]))
                source = self._fetched(target, layout.digest, start, end - start)
            base, _ = layout.span(run[0])
            self._note_writing(target, run)
            for index in run:
                offset, length = layout.span(index)
                boot.write_piece(target, layout, index, source[offset - base : offset - base + length])
                self.written += length
                done += length
            boot.sync(target)
            self.report("boot image", done, total)

    def _fetched(self, target: Letter, image: Digest, start: int, length: int) -> bytes:
        """A run from the master. Without it those before it are not in doubt any more: they were synced."""
        try:
            return whole(self.blobs, image, start, length)
        except FwmgrError:
            if self._rewritten:
                self._note_writing(target, [])
            raise

    def _note_writing(self, target: Letter, run: list[int]) -> None:
        """Of earlier ones that were cut, those that are still to be written stay noted."""
        earlier = pieces_in_doubt(self.store.documents(), target)
        name, value = writing_document(target, {*run, *(earlier - self._rewritten)})
        self.store.commit({name: value})
        self._rewritten.update(run)

    def _local_pieces(self, target: Letter, layout: BootImageLayout) -> set[int]:
        """Pieces that the other partition holds: these need not travel."""
        bad = set(self._lacking(target.other, layout))
        return {index for index in range(len(layout.pieces)) if index not in bad}

    def _read_piece(self, letter: Letter, layout: BootImageLayout, index: int) -> bytes:
        offset, length = layout.span(index)
        return self.areas.window(letter.partition).read(offset, length)


def _runs(indices: list[int], local: set[int]) -> Iterator[list[int]]:
    """Neighbouring pieces of one kind, local or not, up to _RUN_BYTES: one request each."""
    run: list[int] = []
    for index in indices:
        broken = run and (index != run[-1] + 1 or (index in local) is not (run[0] in local))
        if broken or len(run) * PIECE_SIZE >= _RUN_BYTES:
            yield run
            run = []
        run.append(index)
    if run:
        yield run
