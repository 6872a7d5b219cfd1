"""Software sets: identity by content and order, and refusal of what is no set."""

from __future__ import annotations

import pytest

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import BootImageRef, PackageRef, SoftwareSet

IMAGE = BootImageRef("qemu-aarch64", "1", Digest.of(b"i"), 10)
ONE = PackageRef("one", "1", Digest.of(b"1"), 1)
TWO = PackageRef("two", "1", Digest.of(b"2"), 2)


def test_a_set_survives_its_document_and_keeps_its_identity() -> None:
    software = SoftwareSet(IMAGE, (ONE, TWO))
    again = SoftwareSet.from_document(software.document())
    assert again == software and again.digest == software.digest


def test_the_order_of_packages_is_part_of_the_identity() -> None:
    assert SoftwareSet(IMAGE, (ONE, TWO)).digest != SoftwareSet(IMAGE, (TWO, ONE)).digest


def test_a_package_stands_once_in_a_set() -> None:
    with pytest.raises(UsageError, match="twice"):
        SoftwareSet(IMAGE, (ONE, PackageRef("one", "2", Digest.of(b"x"), 1)))


@pytest.mark.parametrize("field", ["boot_image", "packages"])
def test_a_document_with_a_field_missing_is_refused(field: str) -> None:
    document = SoftwareSet(IMAGE, (ONE,)).document()
    del document[field]
    with pytest.raises(PeerError, match="software set"):
        SoftwareSet.from_document(document)


def test_an_empty_boot_image_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        BootImageRef("qemu-aarch64", "1", Digest.of(b""), 0)
