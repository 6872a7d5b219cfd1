"""A composite image comes into the catalogue: all that follows from it is written as one change, or nothing.

Knows the order of things (docs/COMPOSITES.md). What follows is worked out by `information`, which is pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from firmware_mgr.master.arrivals import Software, check_here
from firmware_mgr.master.board_wish import PREFERRED
from firmware_mgr.master.catalogue import Catalogue, Put
from firmware_mgr.master.composite import COMPOSITES, CompositeRecord, meant_by, selectors
from firmware_mgr.master.composites import TakenComposite
from firmware_mgr.master.information import Follows, follow
from firmware_mgr.master.roster import Entry, Roster
from firmware_mgr.master.said import Said
from firmware_mgr.master.settings import Settings
from firmware_mgr.master.wishes import Wishes, check_known
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.package.card_information import CardInformation

_NOTHING = CardInformation()


@dataclass(frozen=True, slots=True)
class Entered:
    """What a composite brought about: names of classes and boards, and slots, of which it changed something;
    versions that are preferred from now on.
    """

    taken: TakenComposite
    classes: tuple[str, ...] = ()
    boards: tuple[str, ...] = ()
    slots: tuple[SlotId, ...] = ()
    preferred: dict[str, str] = field(default_factory=dict)


class CompositeDesk:
    """Use `load` first. `enter` runs in turn with everything else of the master."""

    def __init__(
        self,
        roster: Roster,
        wishes: Wishes,
        catalogue: Catalogue,
        settings: Settings,
        *,
        clock: Callable[[], float],
        has: Callable[[Digest], bool],
    ) -> None:
        """`has` tells of blobs."""
        self._roster = roster
        self._wishes = wishes
        self._catalogue = catalogue
        self._settings = settings
        self._clock = clock
        self._has = has
        self.composites: list[CompositeRecord] = []

    async def load(self) -> None:
        self.composites = [
            CompositeRecord.from_document(document.value, document.key)
            for document in await self._catalogue.list(COMPOSITES)
        ]

    def select(self, terms: Sequence[str]) -> list[SlotId]:
        """The slots that a selector names, with `composite:NAME`. Raises UsageError."""
        if not any(":" in term for term in terms):
            return self._wishes.select(terms)
        candidates = self._wishes.candidates()
        cpus = {entry.slot: entry.record.cpu for entry in self._roster}
        named = {part.strip() for term in terms for part in term.split(",")}
        sets = {
            term: meant_by(one, candidates, cpus, self._roster.packages)
            for term, one in selectors(self.composites).items()
            if term in named
        }
        return self._wishes.select(terms, sets)

    async def enter(self, taken: TakenComposite) -> Entered:
        """Raises UsageError when something does not hold for a card; nothing is written then."""
        roster, now, before = self._roster, self._clock(), self._wishes.said
        new: list[Software] = [*taken.new_images, *taken.new_packages]
        known: list[Software] = [one.record for one in taken.images if not one.news.is_new]
        known += [one.record for one in taken.packages if not one.news.is_new]
        check_here(new, known, [*roster.images, *roster.packages], self._has)
        images = [*roster.images, *taken.new_images]
        packages = [*roster.packages, *taken.new_packages]
        records = {entry.slot: entry.record for entry in roster}
        information = taken.information or _NOTHING
        follows = follow(information, before, records, images, packages, known_boards=roster.cpus, now=now)
        check_known(follows.said.preferred, images, packages)
        strange = [self._blank(slot, now) for slot in follows.cards if slot not in roster]
        entries = [entry for entry in roster if entry.slot in follows.touched] + strange
        settled = self._wishes.settled(entries, follows.said, follows.cards, (images, packages))
        puts = [
            *(Put(record.key, record.to_document()) for record in new),
            *_said_puts(before, follows.said),
            Put(taken.record.key, taken.record.to_document()),  # what came last is what its name selects
        ]
        await roster.write_all(settled, now, puts)
        self._wishes.said = follows.said
        for entry in strange:
            roster.register(entry)
        await roster.load_software()
        await self.load()
        return _entered(taken, before, follows, [entry.slot for entry, _ in settled])

    def _blank(self, slot: SlotId, now: float) -> Entry:
        """A slot that was never seen. Raises UsageError when it has no address on the network."""
        self._settings.card_address(slot)
        return self._roster.blank(slot, now)


def _said_puts(before: Said, after: Said) -> list[Put]:
    puts = [
        Put(record.key, record.to_document())
        for name, record in after.classes.items()
        if record != before.classes.get(name)
    ]
    puts += [
        Put(board.key, board.to_document())
        for name, board in after.boards.items()
        if board != before.boards.get(name)
    ]
    if after.preferred != before.preferred:
        puts.append(Put(PREFERRED, after.preferred.to_document()))
    return puts


def _entered(taken: TakenComposite, before: Said, follows: Follows, slots: Sequence[SlotId]) -> Entered:
    after = follows.said
    preferred = {**after.preferred.images, **after.preferred.packages}
    earlier = {**before.preferred.images, **before.preferred.packages}
    return Entered(
        taken,
        tuple(name for name, record in after.classes.items() if record != before.classes.get(name)),
        tuple(name for name, record in after.boards.items() if record != before.boards.get(name)),
        tuple(sorted(slots)),
        {name: version for name, version in preferred.items() if earlier.get(name) != version},
    )
