"""Names are checked once, when they are made; errors show both sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError, UsageError
from firmware_mgr.model.ids import Digest, MacAddress, SlotId, check_name, check_version


@given(st.integers(1, 9999), st.integers(1, 9999))
def test_a_slot_reads_back_what_it_shows(number: int, shelf: int) -> None:
    assert SlotId.parse(str(SlotId(number, shelf))) == SlotId(number, shelf)


@pytest.mark.parametrize("text", ["", "0", "-1", "1/0", "0/1", "1/2/3", " 1", "x", "10000", "１"])
def test_what_is_no_slot_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        SlotId.parse(text)
    assert caught.value.expected and caught.value.found == text


@given(st.binary(max_size=100))
def test_a_digest_goes_to_bytes_and_back(data: bytes) -> None:
    digest = Digest.of(data)
    assert Digest.from_bytes(digest.to_bytes()) == digest and digest.hex.startswith(digest.short)


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64])
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="SHA-256"):
        Digest(text)


@given(st.binary(min_size=6, max_size=6))
def test_a_mac_address_goes_to_bytes_and_back(raw: bytes) -> None:
    assert MacAddress.from_bytes(raw).to_bytes() == raw


@pytest.mark.parametrize("text", ["", "A", "-a", "a b", "a/b", "a" * 65, "ä", "a\n"])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        check_name(text, "package")


@pytest.mark.parametrize("text", ["", "-1", "1 2", "1/2", "1" * 65])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        check_version(text)


@pytest.mark.parametrize("kind", [UsageError, PeerError, DeviceError])
def test_an_error_says_what_where_expected_found_and_next(kind: type[FwmgrError]) -> None:
    error = kind("digest differs", where="slot 3: boot-b", expected="41", found="9f", hint="burn again")
    assert str(error) == "slot 3: boot-b: digest differs: expected 41, found 9f (burn again)"
    assert error.document() == {
        "kind": kind.__name__,
        "what": "digest differs",
        "where": "slot 3: boot-b",
        "expected": "41",
        "found": "9f",
        "hint": "burn again",
    }


def test_a_board_may_be_named_after_its_cpu_and_a_package_may_not() -> None:
    assert check_name("qemu-x86_64", "board") == "qemu-x86_64"
    with pytest.raises(UsageError, match="not a package name"):
        check_name("qemu-x86_64", "package")
