"""U-Boot's environment, as it is written for its flash."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.lab.uboot_environment import ENVIRONMENT_BYTES, environment_image, power_on_environment
from firmware_mgr.model.errors import UsageError

NAMES = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1)
VALUES = st.text(st.characters(min_codepoint=1, max_codepoint=255))


def read_image(image: bytes) -> dict[str, str]:
    """As U-Boot reads it: nothing unless the checksum is right."""
    (crc,) = struct.unpack_from("<I", image)
    assert crc == zlib.crc32(image[4:])
    texts = image[4 : image.index(b"\0\0", 4)].decode("latin-1").split("\0")
    return dict(text.split("=", 1) for text in texts if text)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=20))
def test_image_reads_back_as_it_was_written(variables: dict[str, str]) -> None:
    image = environment_image(variables, 1 << 16)
    assert len(image) == 1 << 16
    assert read_image(image) == variables


def test_lever_leaves_the_network_as_the_only_place_to_start_from() -> None:
    pulled = read_image(power_on_environment(netboot=True))
    assert "setenv boot_targets dhcp; run distro_bootcmd; reset" in pulled["bootcmd"]
    resting = read_image(power_on_environment(netboot=False))
    assert "setenv boot_targets virtio0 dhcp; run distro_bootcmd; reset" in resting["bootcmd"]


@pytest.mark.parametrize("netboot", [False, True])
def test_environment_fills_its_area_and_stops_for_no_key(netboot: bool) -> None:
    image = power_on_environment(netboot=netboot)
    assert len(image) == ENVIRONMENT_BYTES
    assert read_image(image)["bootdelay"] == "-2"


def test_environment_that_does_not_fit_is_refused() -> None:
    environment_image({"a": "x" * (16 - 4 - len("a=") - 2)}, 16)
    with pytest.raises(UsageError, match="at most 12 bytes, found 13"):
        environment_image({"a": "x" * (16 - 4 - len("a=") - 1)}, 16)
