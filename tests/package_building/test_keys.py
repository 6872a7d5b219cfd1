"""Private keys stay private: their files' modes, and that none is ever overwritten."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.keyring import Keyring, key_id, read_public_key
from firmware_mgr.packaging.keys import keyring_of, load_key, new_key


def test_a_new_key_signs_what_its_public_half_verifies(tmp_path: Path) -> None:
    private, public = new_key(tmp_path / "keys", "release")
    key = load_key(private)
    assert key.public == read_public_key(public)
    assert key.id == key_id(key.public)
    Keyring.from_directory(tmp_path / "keys").verify(key.id, b"message", key.sign(b"message"))
    assert keyring_of([key]) == Keyring.from_directory(tmp_path / "keys")


def test_a_private_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    private, _ = new_key(tmp_path, "release")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    private, _ = new_key(tmp_path, "release")
    private.chmod(mode)
    with pytest.raises(UsageError, match="can be read by others") as caught:
        load_key(private)
    assert (caught.value.expected, caught.value.found) == ("mode 0600", f"{mode:04o}")
    assert caught.value.hint == f"chmod 600 {private}"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    private, public = new_key(tmp_path, "release")
    before = private.read_bytes(), public.read_bytes()
    with pytest.raises(UsageError, match="there already"):
        new_key(tmp_path, "release")
    public.unlink()
    with pytest.raises(UsageError, match="there already"):
        new_key(tmp_path, "release")
    assert private.read_bytes() == before[0]


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b"])
def test_a_key_is_named_plainly(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a name of a key file"):
        new_key(tmp_path, name)


def test_what_is_no_key_or_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.key"
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(UsageError, match="no private key"):
        load_key(path)
    with pytest.raises(UsageError, match="no private key"):
        load_key(tmp_path / "absent.key")
    other = rsa.generate_private_key(65537, 1024)
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(UsageError, match="another kind"):
        load_key(path)
    path.write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(UsageError, match="another kind"):
        read_public_key(path)
