"""Settings of slots and classes: changed by users, put together for a card, and sent when it lacks them.

Knows records, sealed contents and links. A card gets them only over a link that has let it in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from firmware_mgr.link import messages as m
from firmware_mgr.link.service import CONTENT_PIECE, Settings, SettingsFile, SettingsKept, is_text
from firmware_mgr.link.session import SessionState
from firmware_mgr.link.wire import to_plain
from firmware_mgr.master.catalogue import Catalogue, Delete, Put
from firmware_mgr.master.documents import CardRecord
from firmware_mgr.master.roster import Entry, Roster
from firmware_mgr.master.sealed import SealedFiles
from firmware_mgr.master.site_settings import (
    MAX_VALUE,
    SETTINGS,
    FileRecord,
    SettingsRecord,
    VariableRecord,
    check_addresses,
    check_owner,
    class_owner,
    merge,
    slot_owner,
    with_file,
    with_variable,
)
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import canonical_json

log = logging.getLogger(__name__)

#: The version of the link that settings came with.
SINCE = m.SINCE[Settings]


@dataclass(frozen=True, slots=True)
class NewFile:
    path: str
    mode: int
    uid: int
    gid: int
    secret: bool
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewVariable:
    name: str
    secret: bool
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Change:
    """What a user sets and takes away, at once. An empty `hostname` or list of addresses takes it away."""

    hostname: str | None = None
    addresses: tuple[str, ...] | None = None
    files: tuple[NewFile, ...] = ()
    variables: tuple[NewVariable, ...] = ()
    without_files: tuple[str, ...] = ()
    without_variables: tuple[str, ...] = ()
    without_all: bool = False


class SettingsDesk:
    """Use `load` first. What changes runs in turn with everything else of the master."""

    def __init__(
        self,
        roster: Roster,
        catalogue: Catalogue,
        sealed: SealedFiles | None,
        clock: Callable[[], float],
        class_name: Callable[[CardRecord], str | None] = lambda card: card.card_class,
    ) -> None:
        self._roster = roster
        self._catalogue = catalogue
        self._sealed = sealed
        self._clock = clock
        self._class_name = class_name
        self._records: dict[str, SettingsRecord] = {}
        #: By owners: the digest of what they have together, and whether that is nothing at all.
        self._digests: dict[tuple[str, ...], tuple[Digest, bool]] = {}

    async def load(self) -> None:
        """Read what is kept; sealed contents that a power cut left without a record are removed."""
        listing = await self._catalogue.list(SETTINGS)
        records = [SettingsRecord.from_document(document.value, document.key) for document in listing]
        self._records = {record.owner: record for record in records}
        self._collect()

    # What users ask for.

    def record(self, owner: str) -> SettingsRecord:
        """Raises UsageError when nothing is set there."""
        record = self._records.get(check_owner(owner))
        if record is None:
            known = ", ".join(sorted(self._records)) or "none anywhere"
            raise UsageError("no settings", where=owner, expected=f"settings of {known}", found="nothing set")
        return record

    def records(self) -> list[SettingsRecord]:
        return [record for _, record in sorted(self._records.items())]

    def content(self, record: SettingsRecord, file: FileRecord) -> bytes:
        """Of a file that is no secret. Raises UsageError for one that is."""
        if file.secret:
            raise UsageError("a secret is not shown", where=f"{record.owner}, {file.path}")
        return self._box.open(file.sealed, _file_purpose(record.owner, file.path))

    async def change(self, owner: str, change: Change) -> SettingsRecord:
        """Do it, durably, then tell the cards that it concerns. Raises UsageError; nothing is done then."""
        record = self._records.get(check_owner(owner), SettingsRecord(owner, self._clock()))
        record = self._without(record, change)
        if change.hostname is not None:
            record = replace(record, hostname=change.hostname or None)
        if change.addresses is not None:
            record = replace(record, addresses=check_addresses(list(change.addresses)) or None)
        for file in change.files:
            record = with_file(record, self._seal_file(owner, file))
        for variable in change.variables:
            record = with_variable(record, self._seal_variable(owner, variable))
        record = replace(record, updated_at=self._clock())
        self._check_size(record)
        await self._catalogue.transact(
            [], [Delete(record.key) if record.empty else Put(record.key, record.to_document())]
        )
        if record.empty:
            self._records.pop(owner, None)
        else:
            self._records[owner] = record
        self._digests.clear()
        self._collect()
        self.tell(self._roster)
        return record

    def _without(self, record: SettingsRecord, change: Change) -> SettingsRecord:
        if change.without_all:
            return SettingsRecord(record.owner, record.updated_at)
        for what, names, known in (
            ("file", change.without_files, {file.path for file in record.files}),
            ("variable", change.without_variables, {variable.name for variable in record.variables}),
        ):
            for name in names:
                if name not in known:
                    expected = ", ".join(sorted(known)) or "none"
                    raise UsageError(f"no such {what}", where=record.owner, expected=expected, found=name)
        return replace(
            record,
            files=tuple(file for file in record.files if file.path not in change.without_files),
            variables=tuple(v for v in record.variables if v.name not in change.without_variables),
        )

    @property
    def _box(self) -> SealedFiles:
        if self._sealed is None:
            raise UsageError("this master keeps no settings", hint="it was started without a key for them")
        return self._sealed

    def _seal_file(self, owner: str, file: NewFile) -> FileRecord:
        SettingsFile(file.path, file.mode, file.uid, file.gid, ())
        sealed = self._box.seal(file.content, _file_purpose(owner, file.path))
        mark = self._box.mark(file.content)
        return FileRecord(
            file.path, file.mode, file.uid, file.gid, file.secret, len(file.content), mark, sealed
        )

    def _seal_variable(self, owner: str, variable: NewVariable) -> VariableRecord:
        raw = variable.value.encode(errors="replace")
        if len(raw) > MAX_VALUE or "\0" in variable.value or not is_text(variable.name + variable.value):
            raise UsageError(
                "value is too long, holds a zero or is not UTF-8", where=f"{owner}, {variable.name!r}",
                expected=f"{MAX_VALUE} bytes of UTF-8 at most", found=f"{len(raw)} bytes",
            )  # fmt: skip
        if not variable.secret:
            return VariableRecord(variable.name, variable.value, length=len(raw), mark=self._box.mark(raw))
        sealed = self._box.seal(raw, _variable_purpose(owner, variable.name))
        return VariableRecord(variable.name, "", True, len(raw), self._box.mark(raw), sealed)

    def _check_size(self, record: SettingsRecord) -> None:
        """With nothing over it. What a class and a slot have together is checked for each card again."""
        try:
            self._merged([record])
        except UsageError as e:
            raise UsageError(e.what, where=record.owner, expected=e.expected, found=e.found) from e

    def _collect(self) -> None:
        if self._sealed is not None:
            keep = {name for record in self._records.values() for name in record.sealed}
            self._sealed.collect(keep)

    # For a card.

    def for_entry(self, entry: Entry) -> Settings | None:
        """All settings of a slot; None when this master keeps none. Raises FwmgrError when they do not fit or
        cannot be opened.
        """
        if self._sealed is None:
            return None
        return self._merged([self._records[owner] for owner in self._owners(entry)])

    def _owners(self, entry: Entry) -> tuple[str, ...]:
        """Those of whom there are settings, the class before the slot."""
        owners = [slot_owner(entry.slot)]
        name = self._class_name(entry.record)
        if name is not None:
            owners.insert(0, class_owner(name))
        return tuple(owner for owner in owners if owner in self._records)

    def _wanted(self, entry: Entry) -> tuple[Digest, bool]:
        """The digest of all settings of a slot, and whether there are none. Raises as `for_entry`."""
        owners = self._owners(entry)
        if owners not in self._digests:
            settings = self._merged([self._records[owner] for owner in owners])
            self._digests[owners] = settings.digest, _is_nothing(settings)
        return self._digests[owners]

    def _merged(self, records: list[SettingsRecord]) -> Settings:
        merged = merge(records)
        files = []
        for owner, file in merged.files:
            content = self._box.open(file.sealed, _file_purpose(owner, file.path))
            pieces = [content[at : at + CONTENT_PIECE] for at in range(0, len(content), CONTENT_PIECE)]
            files.append(SettingsFile(file.path, file.mode, file.uid, file.gid, tuple(pieces), file.secret))
        environment = {}
        for owner, variable in merged.variables:
            value = variable.value
            if variable.secret:
                value = self._box.open(variable.sealed, _variable_purpose(owner, variable.name)).decode()
            environment[variable.name] = value
        nameless = Settings(Digest.of(b""), merged.hostname, merged.addresses, tuple(files), environment)
        return replace(nameless, digest=self._box.mark(canonical_json(to_plain(nameless))))

    def tell(self, entries: Iterable[Entry]) -> None:
        """Send the settings to those cards that are linked, belong into their slots and have others."""
        for entry in entries:
            link = entry.link
            if link is None or link.session.state is not SessionState.OPEN or link.session.version < SINCE:
                continue
            if self._sealed is None or entry.misfit is not None:
                continue  # no secret of the slot for a card that does not belong into it
            try:
                if self._has(entry):
                    continue
                settings = self.for_entry(entry)
            except FwmgrError as e:
                log.error("slot %s: settings cannot be sent: %s", entry.slot, e)
                entry.settings_note = str(e)
                continue
            assert settings is not None
            entry.settings_sent = settings.digest
            link.send(settings)

    def _has(self, entry: Entry) -> bool:
        digest, nothing = self._wanted(entry)
        latest = entry.settings_sent or entry.settings_kept
        return nothing if latest is None else latest == digest

    def greeted(self, entry: Entry, hello: m.Hello) -> None:
        """The card is let in and welcomed: whatever it lacks goes out before any order."""
        entry.settings_kept, entry.settings_sent, entry.settings_note = hello.settings, None, ""
        self.tell([entry])

    def kept(self, entry: Entry, message: SettingsKept) -> None:
        """The card's word on what it was sent."""
        error = message.error
        if message.digest == entry.settings_sent:
            entry.settings_note = ": ".join(error[name] for name in ("where", "what") if name in error)
        if not error:
            entry.settings_kept = message.digest

    def state(self, entry: Entry) -> dict[str, Any]:
        """For people: whether the card has what it should have."""
        if self._sealed is None:
            return {"state": "none", "note": ""}
        try:
            digest, nothing = self._wanted(entry)
        except FwmgrError as e:
            return {"state": "failed", "note": str(e)}
        if nothing and entry.settings_kept is None:
            return {"state": "none", "note": ""}
        link = entry.link
        if link is not None and link.session.version < SINCE:
            return {"state": "agent too old", "note": "its agent takes no settings: burn today's boot image"}
        if entry.settings_kept == digest:
            return {"state": "kept", "note": entry.settings_note}
        if entry.misfit is not None:
            return {"state": "withheld", "note": f"not for this card: {entry.misfit}"}
        return {"state": "due", "note": entry.settings_note}


def _is_nothing(settings: Settings) -> bool:
    return not (settings.hostname or settings.addresses or settings.files or settings.environment)


def _file_purpose(owner: str, path: str) -> str:
    return f"file {owner} {path}"


def _variable_purpose(owner: str, name: str) -> str:
    return f"variable {owner} {name}"
