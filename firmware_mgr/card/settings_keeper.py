"""The settings of our slot: taken from the master, kept in the state area, given to host and processes.

Knows how they lie in flash and when which are in effect (docs/SETTINGS.md). Refuses to know links, and what
the files are for. Secrets are never logged.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Protocol

from firmware_mgr.flash.store import Store
from firmware_mgr.link.service import Settings, SettingsKept
from firmware_mgr.link.wire import from_plain, to_plain
from firmware_mgr.model.errors import DeviceError, FwmgrError
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.model.software import canonical_json

#: The document in the state area that names the blob of the settings in effect.
CURRENT = "settings/current"
#: The document beside it: the slot whose settings they are. A card that is moved does not bring them along.
OF_SLOT = "settings/slot"

log = logging.getLogger("agent")


class DressedHost(Protocol):
    """What settings change of the card itself."""

    async def dress(self, hostname: str, addresses: tuple[str, ...]) -> None:
        """Have this name (unless empty) and these addresses beside the leased one, and none of those that an
        earlier call gave. Raises DeviceError.
        """
        ...


def read_kept(store: Store | None) -> Settings | None:
    """The settings that flash holds, whole; None when there are none that can be used."""
    pointer = None if store is None else store.document(CURRENT)
    if store is None or pointer is None:
        return None
    try:
        document = json.loads(store.read(Digest(pointer.decode())))
        return from_plain(Settings, document, "kept settings")
    except (FwmgrError, ValueError) as e:
        log.error("kept settings cannot be used, the master will send them again: %s", e)
        return None


def kept_for(store: Store | None) -> str | None:
    """The slot whose settings flash holds; None when nothing says so."""
    raw = None if store is None else store.document(OF_SLOT)
    return None if raw is None else raw.decode(errors="replace")


def write_kept(store: Store, settings: Settings, slot: SlotId | None) -> None:
    """Make flash hold these settings and no others. A power cut leaves the old ones or these, whole.

    Raises DeviceError, NoSpace among them.
    """
    raw = canonical_json(to_plain(settings))
    digest = Digest.of(raw)
    if store.document(CURRENT) != digest.hex.encode() or not store.has(digest) or not store.check(digest):
        store.put(digest, len(raw), [raw])
    store.commit(
        {CURRENT: digest.hex.encode(), OF_SLOT: None if slot is None else str(slot).encode()}, keep=[digest]
    )


class SettingsKeeper:
    """`current` are the settings for the next start of processes. `store` is the state area, if there is one;
    `lock` is held while flash is written, `slot` is ours as far as we know it.
    """

    def __init__(
        self,
        host: DressedHost,
        store: Callable[[], Store | None],
        lock: asyncio.Lock,
        slot: Callable[[], SlotId | None],
    ) -> None:
        self._slot = slot
        self._host = host
        self._store = store
        self._lock = lock
        self.current: Settings | None = None
        self._in_flash: Digest | None = None

    def load(self) -> None:
        """Take what flash holds, unless it is another slot's: the master hears of a state that it does not
        know then, and sends ours, be it nothing.
        """
        store = self._store()
        kept, slot = read_kept(store), kept_for(store)
        if kept is not None and slot not in (None, str(self._slot())):
            log.warning("flash holds the settings of slot %s: they are not used here", slot)
            self.current, self._in_flash = None, Digest.of(f"settings of slot {slot}".encode())
            return
        self.current = kept
        self._in_flash = None if kept is None else kept.digest

    @property
    def digest(self) -> Digest | None:
        """What the card says that it has: only what a restart would find again."""
        return self._in_flash

    async def dress_host(self) -> None:
        """Name and addresses as they are now; what cannot be set is logged."""
        settings = self.current or Settings(Digest.of(b""))
        try:
            await self._host.dress(settings.hostname, settings.addresses)
        except DeviceError as e:
            log.error("settings: %s", e)

    async def keep(self, settings: Settings) -> SettingsKept:
        """After `current` was set to these: name the host, and keep them; what to tell the master."""
        await self.dress_host()
        try:
            await self._write(settings)
        except FwmgrError as e:
            log.warning("settings are in effect and not in flash: %s", e)
            return SettingsKept(settings.digest, e.document())
        log.info("settings %s are kept", settings.digest.short)
        return SettingsKept(settings.digest)

    async def catch_up(self) -> SettingsKept | None:
        """After a burn, which may have made the state area: keep what it lacks; the news, if any."""
        settings = self.current
        store = self._store()
        if settings is None or store is None or store.document(CURRENT) is not None:
            return None
        return await self.keep(settings)

    async def _write(self, settings: Settings) -> None:
        store = self._store()
        if store is None:
            raise DeviceError(
                "there is no state area yet", where="flash", hint="it is made by the first burn"
            )
        async with self._lock:
            if self.current is settings:
                await asyncio.to_thread(write_kept, store, settings, self._slot())
                self._in_flash = settings.digest
