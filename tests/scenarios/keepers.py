"""The people who keep a simulated site's root of trust, and what they sign.

Knows how a root is begun, changed, signed and adopted. Knows no scenario.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.lab.sim.software import BUILD_DATE, web_package
from firmware_mgr.master.site_root import Adopted, adopt_root
from firmware_mgr.package.root_chain import RootChain
from firmware_mgr.package.trust import Role
from firmware_mgr.packaging import root_drafts as drafts
from firmware_mgr.packaging.keys import SigningKey
from tests.package.roots import ALICE, BOB, RELEASE, SECOND, TESTER

#: Keys that sign nothing but their site's packages, for root versions that a test makes.
ISSUED = 1_779_000_000

Change = Callable[[RootChain], RootChain]


class Keepers:
    """Alice and Bob keep the root, both together; `release` and `second` release; `tester` tests."""

    def __init__(self, system: SimSystem) -> None:
        self.system = system

    @property
    def chain(self) -> RootChain:
        chain = self.system.paths.read_root()
        assert chain is not None
        return chain

    def begin(self) -> Adopted:
        founders = [
            drafts.Founder(drafts.listed(key.public, name), frozenset({role}))
            for key, name, role in (
                (ALICE, "alice", Role.ROOT),
                (BOB, "bob", Role.ROOT),
                (RELEASE, "release", Role.RELEASE),
                (SECOND, "second", Role.RELEASE),
                (TESTER, "tester", Role.TEST),
            )
        ]
        draft = drafts.first_draft(founders, {Role.ROOT: 2}, ISSUED)
        return self.adopt(drafts.sign(draft, [ALICE, BOB]))

    def change(self, *changes: Change) -> Adopted:
        """The next version with all these changes, signed by both."""
        draft = self.chain
        for change in changes:
            draft = change(draft)
        return self.adopt(drafts.sign(draft, [ALICE, BOB]))

    def adopt(self, chain: RootChain) -> Adopted:
        return adopt_root(self.system.paths, chain)

    def package(self, version: str, *keys: SigningKey, build_date: int = BUILD_DATE, name: str = "") -> Path:
        """A package file of that version, signed by these."""
        path = self.system.directory / f"web-{version}{name}.fwp"
        first, *others = keys or (RELEASE,)
        path.write_bytes(web_package(first, version, build_date=build_date, others=others))
        return path

    def add_package(self, version: str, *keys: SigningKey, build_date: int = BUILD_DATE) -> dict[str, object]:
        path = self.package(version, *keys, build_date=build_date)
        answer: dict[str, object] = self.system.post("/v1/packages", {"path": str(path)})
        return answer


def list_key(key: SigningKey, name: str, *roles: Role) -> Change:
    return lambda chain: drafts.add_key(chain, drafts.listed(key.public, name), roles, ISSUED)


def revoke(key: SigningKey, reason: str = "laptop stolen") -> Change:
    return lambda chain: drafts.revoke(chain, key.id, reason, ISSUED)


def window(key: SigningKey, since: int = 0, until: int | None = None) -> Change:
    return lambda chain: drafts.set_window(chain, key.id, since, until, ISSUED)


def minimum(version: str | None) -> Change:
    return lambda chain: drafts.set_minimum(chain, "web", version, ISSUED)


def threshold(role: Role, number: int) -> Change:
    return lambda chain: drafts.set_threshold(chain, role, number, ISSUED)


def retire(key: SigningKey, roles: Sequence[Role]) -> Change:
    return lambda chain: drafts.retire(chain, key.id, roles, ISSUED)
