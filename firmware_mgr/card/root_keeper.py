"""The root of trust in the state area: looked at at boot, replaced by a newer one that the master sends.

Knows when a chain is written: never before it was verified (SPEC-trust §7). Whom to believe is for
`believed_root`. Whoever calls holds the flash.
"""

from __future__ import annotations

from collections.abc import Callable

from firmware_mgr.card.believed_root import ROOT_DOCUMENT, Believed, believe, follow, kept_by
from firmware_mgr.card.settings import AgentSettings
from firmware_mgr.flash.store import Store
from firmware_mgr.link.messages import RootReport
from firmware_mgr.package.trust import Trust


class RootKeeper:
    """`state` is the state area's store; None while flash has none."""

    def __init__(self, settings: AgentSettings, state: Callable[[], Store | None]) -> None:
        self._settings = settings
        self._state = state
        self._authority = b""
        self._believed: Believed

    def look(self) -> None:
        """What the boot image says, and what flash keeps."""
        self._authority = self._settings.authority.read_bytes()
        self._believed = believe(self._settings, self._authority, self._kept())

    @property
    def trust(self) -> Trust:
        """Judges packages."""
        return self._believed.trust

    def report(self) -> RootReport:
        return self._believed.report()

    def follow(self, sent: bytes) -> bool:
        """Believe a newer chain from the master, and keep it at once; whether anything is new.

        Raises RootRefused when it does not verify, DeviceError when flash does not take it: then nothing has
        changed. One that does not go on from what is kept waits until the card is validated, as those of boot
        images do.
        """
        followed = follow(self._believed, self._settings, self._authority, self._kept(), sent)
        if followed is self._believed:
            return False
        if followed.extends_kept:
            followed = self._write(followed)
        self._believed = followed
        return True

    def keep(self) -> None:
        """From now on no older root is believed here. Before this a trial leaves nothing behind."""
        self._believed = self._write(self._believed)

    def _write(self, believed: Believed) -> Believed:
        """Raises DeviceError."""
        state = self._state()
        if state is None or believed.document is None:
            return believed
        state.commit({ROOT_DOCUMENT: believed.document})
        return kept_by(believed)

    def _kept(self) -> bytes | None:
        state = self._state()
        return None if state is None else state.document(ROOT_DOCUMENT)
