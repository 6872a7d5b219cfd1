"""Keys that sign packages: made, kept in PEM files, and their public halves handed on.

Knows Ed25519 private keys and the modes of their files. Refuses to know what is signed, and to use a key that
others on the machine can read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.keyring import PEM_SUFFIX, Keyring, key_id

PRIVATE_SUFFIX = ".key"
PRIVATE_MODE = 0o600
#: Asks a person, or a file, for the passphrase of the key file that is named.
AskPassphrase = Callable[[Path], str]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and its id."""

    private: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def id(self) -> str:
        """SHA-256 of the raw public key, in hex."""
        return key_id(self.public)

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes; the same each time (RFC 8032)."""
        return self.private.sign(message)


def new_key(folder: Path, name: str, passphrase: str | None = None) -> tuple[Path, Path]:
    """Make a key; return its files `name.key` (private, mode 0600) and `name.pem` (public).

    With a passphrase the private one is sealed with it.
    Raises UsageError when one of them is there already: a key is never overwritten.
    """
    if not name or "/" in name or name.startswith("."):
        raise UsageError("not a name of a key file", expected="such as release-2025", found=repr(name))
    folder.mkdir(parents=True, exist_ok=True)
    private = Ed25519PrivateKey.generate()
    seal: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        seal = BestAvailableEncryption(passphrase.encode())
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, seal)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private_path, public_path = folder / (name + PRIVATE_SUFFIX), folder / (name + PEM_SUFFIX)
    if public_path.exists():
        raise UsageError("key is there already", where=str(public_path), hint="choose another name")
    _write_new(private_path, secret, PRIVATE_MODE)
    _write_new(public_path, public, 0o644)
    return private_path, public_path


def load_key(path: Path, ask: AskPassphrase | None = None) -> SigningKey:
    """Read a private key. Raises UsageError when it is none, or others can read or write it.

    `ask` is asked when it is sealed with a passphrase; without it such a key is refused.
    """
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            data = stream.read()
        if b"PUBLIC KEY" in data:
            hint = f"sign with {path.with_suffix(PRIVATE_SUFFIX)}: the public part is for those who trust it"
            raise UsageError("this is a public key", where=str(path), expected="a private key", hint=hint)
        if mode & 0o077:
            raise UsageError(
                "private key can be read by others",
                where=str(path),
                expected=f"mode {PRIVATE_MODE:04o}",
                found=f"{mode:04o}",
                hint=f"chmod 600 {path}",
            )
        key = load_pem_private_key(data, password=_password(path, data, ask))
    except OSError as e:
        hint = "make one with: fwmgr key new NAME"
        raise UsageError(
            "no private key", where=str(path), expected="a NAME.key file", found=e.strerror, hint=hint
        ) from e
    except (ValueError, TypeError, UnsupportedAlgorithm) as e:
        if _SEALED in data:
            raise UsageError("the passphrase is wrong, or the key file is damaged", where=str(path)) from e
        found = "something else"
        raise UsageError("no private key", where=str(path), expected="PEM, PRIVATE KEY", found=found) from e
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError("key of another kind", where=str(path), expected="Ed25519", found=type(key).__name__)
    return SigningKey(key)


def keyring_of(keys: Iterable[SigningKey]) -> Keyring:
    """The keyring that trusts these keys; its `document()` is what a boot image carries."""
    return Keyring({key.id: key.public for key in keys})


_SEALED = b"ENCRYPTED PRIVATE KEY"


def _password(path: Path, data: bytes, ask: AskPassphrase | None) -> bytes | None:
    if _SEALED not in data:
        return None
    if ask is None:
        hint = "name a file with it: --passphrase-file FILE"
        raise UsageError("private key is sealed with a passphrase", where=str(path), hint=hint)
    return ask(path).encode()


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise UsageError("key is there already", where=str(path), hint="choose another name") from None
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, mode)
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)
