"""Where a master keeps what is its own, and the part that boot images carry. Paths and small files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.master.files import make_directories
from firmware_mgr.master.trust import Authority, open_authority
from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.keyring import PEM_SUFFIX, Keyring, read_public_key

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
    def authority(self) -> Path:
        """The authority's and the record's private keys: for this master only."""
        return self.directory / "authority"

    @property
    def keys(self) -> Path:
        """Public keys of those who may sign packages, as PEM."""
        return self.directory / "package-keys"

    @property
    def trust(self) -> Path:
        """What goes into boot images: the authority's certificate and the keyring. Public."""
        return self.directory / "trust"

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


def trust_key(paths: MasterPaths, public_key: Path) -> Path:
    """Trust whoever signs with this key. Raises UsageError when the file is no public key."""
    read_public_key(public_key)
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
    keyring = Keyring.from_directory(paths.keys)
    (paths.trust / "authority.pem").write_text(authority.certificate_pem)
    (paths.trust / "keys.json").write_text(json.dumps(keyring.document(), indent=1, sort_keys=True) + "\n")
    return authority
