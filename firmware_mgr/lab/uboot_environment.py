"""U-Boot's environment: read the default one out of a U-Boot binary, and write one to be put into flash.

Knows the layout (docs.u-boot.org, "Environment"): CRC-32 of the rest, little-endian here, then `name=value`
texts, each closed by a zero byte, the list by another. Refuses to know what the variables do, except the
one list of boot targets.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from firmware_mgr.model.errors import PeerError, UsageError

#: CONFIG_ENV_SIZE of U-Boot's qemu_arm64 build (include/configs and defconfig, 2023.01), in bytes.
ENVIRONMENT_BYTES = 0x40000
_CRC = struct.Struct("<I")
#: The first variable of a default environment (env_default.h puts bootcmd before all that this build sets).
_FIRST = b"\0bootcmd="


def default_environment(firmware: bytes, where: str) -> dict[str, str]:
    """The variables compiled into a U-Boot binary. Raises PeerError when none are found."""
    start = firmware.find(_FIRST)
    end = firmware.find(b"\0\0", start + 1)
    if start < 0 or end < 0:
        raise PeerError("no default environment in the loader", where=where, expected="a U-Boot binary")
    texts = firmware[start + 1 : end].decode("latin-1").split("\0")
    pairs = (text.partition("=") for text in texts)
    return {name: value for name, equals, value in pairs if equals}


def environment_image(variables: Mapping[str, str], size: int = ENVIRONMENT_BYTES) -> bytes:
    """The bytes of an environment that holds `variables`. Raises UsageError when they do not fit."""
    body = b"".join(f"{name}={value}\0".encode("latin-1") for name, value in variables.items()) + b"\0"
    room = size - _CRC.size
    if len(body) > room:
        raise UsageError("loader environment is too large", expected=f"at most {room} bytes", found=len(body))
    body = body.ljust(room, b"\0")
    return _CRC.pack(zlib.crc32(body)) + body


def netboot_environment(firmware: bytes, where: str) -> bytes:
    """The loader's own default environment with one change: the network is the only boot target."""
    return environment_image({**default_environment(firmware, where), "boot_targets": "dhcp"})
