"""Who signed a package, and for which CPU it is: everything that is not right is refused, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package import layout
from firmware_mgr.package.contents import ModuleKind, TableOfContents, select
from firmware_mgr.package.errors import PackageFormatError, PackageRefused
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.reader import PackageFile, verify_contents
from firmware_mgr.packaging.build import ModuleSource, PackageHead, build_package, pack, seal
from firmware_mgr.packaging.keys import keyring_of, new_key

from .samples import (
    BOTH_KEYS,
    HEAD,
    HEAD_2,
    KEY,
    KEYRING,
    OTHER_KEY,
    SIGNED_AT,
    SOURCES,
    SOURCES_2,
    head_of,
    read,
    sample,
    sample_contents,
)


def _verified(package: bytes, keyring: Keyring) -> TableOfContents:
    header, head = head_of(package)
    return verify_contents(header, head, keyring, "sample.fwp")


def test_an_empty_keyring_refuses_every_package() -> None:
    with pytest.raises(PackageRefused, match=r"sample.fwp: no key is trusted here.*found an empty one"):
        _verified(sample(), Keyring({}))


def test_an_unknown_key_is_refused_with_both_sides_named() -> None:
    with pytest.raises(PackageRefused, match="unknown key") as caught:
        _verified(sample(), keyring_of([OTHER_KEY]))
    assert (caught.value.expected, caught.value.found) == (OTHER_KEY.id[:12], KEY.id[:12])


def test_an_unsigned_package_is_refused() -> None:
    package = sample()
    header, _ = head_of(package)
    unsigned = package[: layout.HEADER_SIZE] + bytes(header.signatures_length)
    with pytest.raises(PackageFormatError, match="length of a block with 0 signatures"):
        read(unsigned + package[header.table_offset :])
    with pytest.raises(UsageError, match="illegal number of signing keys"):
        build_package(HEAD, SOURCES, [])


def test_a_signature_of_another_package_is_refused() -> None:
    first, second = sample(), build_package(HEAD, SOURCES[:-1], [KEY])
    header, _ = head_of(first)
    block = slice(header.signatures_offset, header.table_offset)
    mixed = first[: block.start] + second[block] + first[block.stop :]
    with pytest.raises(PackageRefused, match="signature is wrong"):
        read(mixed)


def test_a_signature_without_the_context_is_refused() -> None:
    package = sample()
    header, head = head_of(package)
    table_sha256 = Digest.of(head[header.table_offset :]).to_bytes()
    signature = KEY.sign(package[: layout.HEADER_SIZE] + table_sha256)
    at = header.table_offset - 64
    with pytest.raises(PackageRefused, match="signature is wrong"):
        read(package[:at] + signature + package[header.table_offset :])


def test_every_signature_of_several_must_be_by_a_known_key() -> None:
    package = build_package(HEAD, SOURCES, [KEY, OTHER_KEY])
    assert _verified(package, BOTH_KEYS).name == "sample"
    for keyring in (KEYRING, keyring_of([OTHER_KEY])):
        with pytest.raises(PackageRefused, match="unknown key"):
            _verified(package, keyring)


def test_signatures_stand_in_order_and_once() -> None:
    package = build_package(HEAD, SOURCES, [KEY, OTHER_KEY])
    header, _ = head_of(package)
    start = header.signatures_offset + 4
    one, two = package[start : start + 96], package[start + 96 : start + 192]
    for block in (two + one, one + one):
        with pytest.raises(PackageFormatError, match="not sorted and unique"):
            read(package[:start] + block + package[header.table_offset :])


def test_a_package_for_this_cpu_is_selected_without_the_others() -> None:
    chosen = {(module.path, module.cpu) for module in select(read(sample()), CpuArch.X86_64)}
    assert ("usr/sbin/server", CpuArch.X86_64) in chosen
    assert ("etc/server.conf", None) in chosen
    assert not any(cpu is CpuArch.AARCH64 for _, cpu in chosen)


def test_a_package_for_another_cpu_is_refused_with_both_sides_named() -> None:
    with pytest.raises(PackageRefused, match=r"package sample 1.2-3: package is for another CPU") as caught:
        select(read(sample()), CpuArch.ARMV7)
    assert (caught.value.expected, caught.value.found) == ("armv7", "aarch64, x86_64")


def test_a_neutral_package_fits_every_cpu() -> None:
    toc, _ = pack(PackageHead("p", "1", 0), [ModuleSource("a", ModuleKind.DATA)])
    assert all(select(toc, cpu) == toc.modules for cpu in CpuArch)


def test_a_key_that_does_not_fit_its_id_is_refused() -> None:
    with pytest.raises(UsageError, match="key does not fit its id"):
        Keyring({KEY.id: OTHER_KEY.public})


def test_a_keyring_document_comes_back_as_it_was() -> None:
    assert Keyring.load(BOTH_KEYS.document()) == BOTH_KEYS


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        [],
        {"format": 2, "keys": []},
        {"format": 1},
        {"format": 1, "keys": "none"},
        {"format": 1, "keys": [{"id": "x"}]},
        {"format": 1, "keys": [{"id": KEY.id, "public": "zz"}]},
    ],
)
def test_a_damaged_keyring_is_an_error_and_not_an_empty_one(document: object) -> None:
    with pytest.raises(UsageError):
        Keyring.load(document)


def test_a_directory_of_public_keys_is_a_keyring(tmp_path: Path) -> None:
    new_key(tmp_path, "one")
    new_key(tmp_path, "two")
    assert len(Keyring.from_directory(tmp_path).keys) == 2


def test_a_directory_with_a_file_that_is_no_public_key_is_an_error(tmp_path: Path) -> None:
    private, public = new_key(tmp_path, "one")
    public.write_bytes(private.read_bytes())
    with pytest.raises(UsageError, match="no public key"):
        Keyring.from_directory(tmp_path)
    with pytest.raises(UsageError, match="no directory of public keys"):
        Keyring.from_directory(tmp_path / "absent")


def test_a_directory_without_keys_trusts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sample.fwp"
    path.write_bytes(sample())
    with pytest.raises(PackageRefused, match="no key is trusted here"):
        PackageFile.open(path, Keyring.from_directory(tmp_path))


def test_looking_into_a_package_needs_no_key_but_an_unaltered_table(tmp_path: Path) -> None:
    path = tmp_path / "sample.fwp"
    toc, content = sample_contents()
    path.write_bytes(build_package(HEAD_2, SOURCES_2, [OTHER_KEY]))
    with PackageFile.open_to_show(path) as package:
        assert package.toc == toc
    altered = bytearray(path.read_bytes())
    altered[-len(content) - 1] ^= 1
    path.write_bytes(altered)
    with pytest.raises(PackageRefused, match="table of contents was altered"):
        PackageFile.open_to_show(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.fwp: package cannot be read"):
        PackageFile.open(tmp_path / "absent.fwp", KEYRING)


def test_a_module_of_another_package_is_not_read_from_this_one(tmp_path: Path) -> None:
    path = tmp_path / "sample.fwp"
    path.write_bytes(sample())
    other, _ = pack(PackageHead("p", "1", 0), [ModuleSource("a", ModuleKind.DATA, b"xyz")])
    with (
        PackageFile.open(path, KEYRING) as package,
        pytest.raises(PackageRefused, match="not of this package"),
    ):
        package.module_bytes(other.modules[0])


def test_a_package_names_itself_by_the_digest_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "sample.fwp"
    path.write_bytes(sample())
    with PackageFile.open(path, KEYRING) as package:
        reference = package.reference()
    assert (reference.name, reference.version) == ("sample", "1.2-3")
    assert (reference.digest, reference.length) == (Digest.of(sample()), len(sample()))


def test_a_table_over_its_bound_is_not_sealed() -> None:
    with pytest.raises(UsageError, match="too long"):
        seal(bytes(layout.MAX_TABLE + 1), b"", [KEY], signed_at=SIGNED_AT)
