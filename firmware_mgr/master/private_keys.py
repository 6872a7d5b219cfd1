"""Private keys in files: made once, readable by their owner alone, never overwritten.

Knows Ed25519 and file modes. Knows not what a key is for.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from firmware_mgr.master.files import disk_errors, write_new
from firmware_mgr.model.errors import UsageError

MODE: Final = 0o600
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def create_private_key(path: Path) -> Ed25519PrivateKey:
    """A new key in a new file. Raises UsageError when the file exists, DeviceError when the disk fails."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with disk_errors("cannot write a private key", path):
        try:
            write_new(path, pem, MODE)
        except FileExistsError as e:
            raise UsageError("a private key is never overwritten", where=str(path)) from e
    return key


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Raises UsageError when there is none, others can read it, or it is of another kind."""
    with disk_errors("cannot read a private key", path):
        try:
            file = path.open("rb")
        except FileNotFoundError as e:
            raise UsageError("there is no private key", where=str(path)) from e
        with file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            pem = file.read()
    if mode & _OTHERS:
        raise UsageError(
            "others can read or write a private key",
            where=str(path),
            expected=f"mode {MODE:o}",
            found=f"mode {mode:o}",
            hint="they may have a copy: make new keys, or chmod 600 when you know that they have not",
        )
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as e:  # TypeError: it wants a password
        raise UsageError("not a private key", where=str(path), found=e) from e
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            "private key of another kind", where=str(path), expected="Ed25519", found=type(key).__name__
        )
    return key
