"""The bytes of load options: as firmware writes them, and as the specification has them."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.card.efi_layout import (
    KEPT,
    LoadOption,
    decode_numbers,
    encode_numbers,
    node_kinds,
    option_name,
    partition_path,
)
from firmware_mgr.card.efi_variables import EfivarFs
from firmware_mgr.model.errors import DeviceError
from tests.card.efi_twin import OVMF_NETWORK

GUID = UUID("3e440e1f-c32b-5cee-a116-86627db2967f")
#: Partition 2, from block 0x1000, 0x40000 blocks, to X, by UEFI 2.10 §10.3.5.1, §10.3.5.4, §10.3.1.
PATH = bytes.fromhex(
    "04012a00 02000000 0010000000000000 0000040000000000 1f0e443e2bc3ee5ca11686627db2967f 02 02"
    "04040800 5800 0000 7fff0400"
)
#: §3.1.3: active, length of the path, "ab", the path.
OPTION = bytes.fromhex("01000000 3600 610062000000") + PATH


def test_a_partitions_option_has_the_specifications_bytes() -> None:
    assert partition_path(2, 0x1000, 0x40000, GUID, "X") == PATH
    assert LoadOption("ab", PATH).encode() == OPTION


def test_what_firmware_wrote_is_read_and_written_the_same() -> None:
    option = LoadOption.decode(OVMF_NETWORK, "Boot0002")
    assert option.description == "UEFI PXEv4 (MAC:525400123456)"
    assert node_kinds(option.path) == ((2, 1), (1, 1), (3, 11), (3, 12))
    assert option.is_network
    assert option.encode() == OVMF_NETWORK


def test_booting_by_http_is_not_taken_for_netbooting_by_tftp() -> None:
    option = LoadOption.decode(OVMF_NETWORK, "x")
    with_uri = LoadOption("HTTP", option.path[:-4] + bytes.fromhex("03180400") + option.path[-4:])
    assert not with_uri.is_network
    assert not LoadOption("disk", PATH).is_network


@pytest.mark.parametrize("length", range(len(OPTION)))
def test_a_load_option_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(DeviceError, match="Boot0001"):
        LoadOption.decode(OPTION[:length], "Boot0001")


@given(st.binary(max_size=80))
def test_any_bytes_are_a_load_option_or_the_one_error(raw: bytes) -> None:
    try:
        option = LoadOption.decode(raw, "x")
    except DeviceError:
        return
    assert isinstance(option.is_network, bool)


def test_numbers_are_little_endian_and_names_upper_case() -> None:
    assert encode_numbers([0x0FA0, 2]) == b"\xa0\x0f\x02\x00"
    assert decode_numbers(b"\xa0\x0f\x02\x00\x07") == (0x0FA0, 2)
    assert option_name(0x0FA0) == "Boot0FA0"


def test_a_file_of_efivarfs_begins_with_its_attributes(tmp_path: Path) -> None:
    variables = EfivarFs(tmp_path)
    assert variables.read("BootNext") is None
    variables.write("BootNext", b"\xa0\x0f")
    (file,) = tmp_path.iterdir()
    assert file.name == "BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    assert file.read_bytes() == bytes((KEPT, 0, 0, 0)) + b"\xa0\x0f"
    assert variables.read("BootNext") == b"\xa0\x0f"
    assert variables.names() == ("BootNext",)
    variables.delete("BootNext")
    variables.delete("BootNext")
    assert variables.names() == ()


def test_what_efivarfs_refuses_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"BootNext: .*cannot be written"):
        EfivarFs(tmp_path / "gone").write("BootNext", b"\0\0")
    with pytest.raises(DeviceError, match="cannot be listed"):
        EfivarFs(tmp_path / "gone").names()
    (tmp_path / "BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c").write_bytes(b"\x07")
    with pytest.raises(DeviceError, match="no attributes"):
        EfivarFs(tmp_path).read("BootNext")
