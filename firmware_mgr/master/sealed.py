"""Contents that must not lie on the master's disk in plain text: files sealed with a key of the site.

Knows AES-256-GCM (NIST SP 800-38D), file modes and the order of writes. Knows not what is sealed.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from firmware_mgr.master.files import disk_errors, make_directories, write_new
from firmware_mgr.model.errors import DeviceError, UsageError
from firmware_mgr.model.ids import Digest

KEY_NAME: Final = "settings.key"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_MODE: Final = 0o600
_NAME: Final = re.compile(r"[0-9a-f]{32}")


class SealedFiles:
    """`folder` holds the sealed files, `authority` the key, which is made when there is none.

    Raises UsageError when others can read the key, DeviceError when the disk fails.
    """

    def __init__(self, folder: Path, authority: Path) -> None:
        self._folder = folder
        key = _open_key(authority / KEY_NAME)
        self._box = AESGCM(key)
        self._mark = hmac.digest(key, b"fwmgr settings mark", hashlib.sha256)

    def mark(self, content: bytes) -> Digest:
        """Names a content to those who may not know it: equal for equal contents, and nobody without the key
        can try contents against it.
        """
        return Digest(hmac.digest(self._mark, content, hashlib.sha256).hex())

    def seal(self, content: bytes, purpose: str) -> str:
        """Keep a content in a new file, on disk when this returns; its name. To open it takes `purpose`."""
        name = secrets.token_hex(16)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        make_directories(self._folder, 0o700)
        with disk_errors("cannot keep a setting", self._folder):
            sealed = self._box.encrypt(nonce, content, f"{name} {purpose}".encode())
            write_new(self._folder / name, nonce + sealed, _MODE)
        return name

    def open(self, name: str, purpose: str) -> bytes:
        """Raises DeviceError when the file is gone, altered, or sealed for something else."""
        path = self._folder / name
        with disk_errors("cannot read a setting", path):
            raw = path.read_bytes()
        try:
            return self._box.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], f"{name} {purpose}".encode())
        except (InvalidTag, ValueError) as e:
            raise DeviceError(
                "a sealed setting cannot be opened",
                where=str(path),
                expected=f"the content of {purpose}, sealed with this site's key",
                found="something else",
                hint="set it again: fwmgr settings set",
            ) from e

    def collect(self, keep: Collection[str]) -> int:
        """Remove the files that nobody refers to any more; how many."""
        if not self._folder.is_dir():
            return 0
        gone = [
            path for path in self._folder.iterdir() if path.name not in keep and _NAME.fullmatch(path.name)
        ]
        with disk_errors("cannot remove a setting", self._folder):
            for path in gone:
                path.unlink(missing_ok=True)
        return len(gone)


def _open_key(path: Path) -> bytes:
    make_directories(path.parent, 0o700)
    with disk_errors("cannot open the key of the settings", path):
        try:
            write_new(path, secrets.token_hex(_KEY_BYTES).encode(), _MODE)
        except FileExistsError:
            pass
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read()
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            "others can read the key of the settings",
            where=str(path),
            expected=f"mode {_MODE:o}",
            found=f"mode {mode:o}",
            hint="secrets may be known to others: replace them, then chmod 600",
        )
    try:
        key = bytes.fromhex(text.decode())
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise UsageError("not a key", where=str(path), expected=f"{_KEY_BYTES} bytes in hex", found=len(text))
    return key
