"""Where a master keeps what is its own, and the part that boot images carry. Paths and small files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from firmware_mgr.master.files import disk_errors, make_directories, write_over
from firmware_mgr.master.trust import Authority, open_authority
from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.keyring import PEM_SUFFIX, Keyring, read_public_key
from firmware_mgr.package.root_chain import MAX_CHAIN, RootChain
from firmware_mgr.package.trust import Role

#: The exit code of a master whose chassis has another network now: start it again, in that one.
NETWORK_MOVED = 75  # EX_TEMPFAIL, sysexits.h


@dataclass(frozen=True, slots=True)
class MasterPaths:
    directory: Path

    @property
    def catalogue(self) -> Path:
        return self.directory / "catalogue.sqlite"

    @property
    def blobs(self) -> Path:
        return self.directory / "blobs"

    @property
    def unpack(self) -> Path:
        """Where composite images are taken apart; emptied by each master."""
        return self.directory / "unpack"

    @property
    def authority(self) -> Path:
        """The authority's and the record's private keys: for this master only."""
        return self.directory / "authority"

    @property
    def keys(self) -> Path:
        """Public keys of those who may sign packages, as PEM."""
        return self.directory / "package-keys"

    @property
    def trust(self) -> Path:
        """What goes into boot images: the authority's certificate, the keyring, the root of trust. Public."""
        return self.directory / "trust"

    @property
    def root(self) -> Path:
        """The site's root of trust; absent while the site has only a flat keyring."""
        return self.trust / "root.json"

    @property
    def settings(self) -> Path:
        """Sealed contents of settings; their key lies beside the authority's."""
        return self.directory / "settings"

    @property
    def api(self) -> Path:
        return self.directory / "api.sock"

    @property
    def log(self) -> Path:
        return self.directory / "master.log"

    def make(self) -> None:
        """Make the folders that are missing."""
        for folder in (self.directory, self.blobs, self.keys, self.trust):
            make_directories(folder, 0o700)

    def read_root(self) -> RootChain | None:
        """None: there is none. Raises RootRefused when it is damaged, DeviceError when it cannot be read."""
        with disk_errors("cannot read the root of trust", self.root):
            try:
                with self.root.open("rb") as stream:
                    data = stream.read(MAX_CHAIN + 1)
            except FileNotFoundError:
                return None
        return _verified(data, str(self.root))


@lru_cache(maxsize=4)
def _verified(data: bytes, where: str) -> RootChain:
    """The chain, when it is no draft. Asked for with every card, and its signatures stay as they are."""
    return RootChain.decode(data, where).require(where)


def trust_key(paths: MasterPaths, public_key: Path) -> Path:
    """Trust whoever signs with this key. Raises UsageError when the file is no public key.

    Also where a root of trust says whose packages are accepted.
    """
    read_public_key(public_key)
    root = paths.read_root()
    if root is not None:
        raise UsageError(
            "this site has a root of trust, which alone says whose packages are accepted",
            where=str(paths.root),
            found=f"version {root.newest.version}",
            hint=f"fwmgr key root add-key {paths.root} {public_key} --role release --out root-next.json, "
            "then sign and adopt it",
        )
    if public_key.suffix != PEM_SUFFIX:
        raise UsageError(
            "not a public key file", where=str(public_key), expected=f"a name that ends in {PEM_SUFFIX}"
        )
    paths.make()
    target = paths.keys / public_key.name
    target.write_bytes(public_key.read_bytes())
    write_trust(paths)
    return target


def write_trust(paths: MasterPaths) -> Authority:
    """Write the site's trust for boot images, making the authority when there is none. Raises UsageError."""
    paths.make()
    authority = open_authority(paths.authority)
    keys = json.dumps(_flat_keyring(paths).document(), indent=1, sort_keys=True) + "\n"
    for name, text in (("authority.pem", authority.certificate_pem), ("keys.json", keys)):
        path = paths.trust / name
        with disk_errors("cannot write the trust for boot images", path):
            write_over(path, text.encode(), 0o644)
    return authority


def _flat_keyring(paths: MasterPaths) -> Keyring:
    """The keys for agents that know no root: those of role release where there is one."""
    chain = paths.read_root()
    if chain is None:
        return Keyring.from_directory(paths.keys)
    root = chain.newest
    return Keyring({key: root.keys[key].public for key in root.roles[Role.RELEASE].keys})
