"""A site's keys and its root of trust, as its keepers work on them: with `fwmgr key …`, on files.

Knows who holds which role. Knows neither chassis nor master.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.master.site import MasterPaths
from firmware_mgr.packaging.keys import new_key

#: Both together keep the root.
KEEPERS = ("alice", "bob")
#: Any one of them releases, until the root asks for more.
RELEASERS = ("site", "second", "lost", "old")
TESTERS = ("tester",)


@dataclass(frozen=True, slots=True)
class KeyDesk:
    """`keys` is the folder of key files; `say` runs `fwmgr` and wants it to end well."""

    keys: Path
    master: MasterPaths
    say: Callable[..., str]

    def private(self, name: str) -> Path:
        return self.keys / f"{name}.key"

    def public(self, name: str) -> Path:
        return self.keys / f"{name}.pem"

    def begin(self) -> None:
        """Everybody's keys, and version 1 of the root."""
        for name in (*KEEPERS, *RELEASERS, *TESTERS):
            new_key(self.keys, name)
        draft = self.keys / "root-1.json"
        roles = {"--root": KEEPERS, "--release": RELEASERS, "--test": TESTERS}
        named = [
            word for option, names in roles.items() for name in names for word in (option, self.public(name))
        ]
        self.say("key", "root", "init", draft, *named, "--root-threshold", str(len(KEEPERS)))
        self._adopt(draft)

    def change(self, version: int, *changes: Sequence[str | Path]) -> None:
        """The next version of the root, which has these changes: each a verb and its words after the file."""
        # Beside the master, which each scenario has a fresh copy of.
        draft, file = self.master.directory.with_name(f"root-{version}.json"), self.master.root
        draft.unlink(missing_ok=True)
        for verb, *words in changes:
            out = ("--out", draft) if file != draft else ()
            self.say("key", "root", verb, file, *words, *out)
            file = draft
        self._adopt(draft)

    def _adopt(self, draft: Path) -> None:
        signers = [word for name in KEEPERS for word in ("--key", self.private(name))]
        self.say("key", "root", "sign", draft, *signers)
        self.say("key", "root", "adopt", draft, "--dir", self.master.directory)
