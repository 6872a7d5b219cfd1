"""U-Boot's environment in the card's second pflash: where it boots from at this power-on.

Knows the layout (docs.u-boot.org, "Environment", one copy, no flag byte): CRC-32 of the rest, little-endian
here, then `name=value` texts, each closed by a zero byte, the list by another; and the few commands below.
Refuses to know what is booted.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

from firmware_mgr.model.errors import UsageError

#: CONFIG_ENV_SIZE of U-Boot's qemu_arm64 build (configs/qemu_arm64_defconfig, 2023.01), in bytes.
ENVIRONMENT_BYTES = 0x40000
#: Start at once and take no notice of keys: a stray byte on the console must not stop a card.
NO_DELAY_NO_KEYS = -2
#: U-Boot's names of where a card can start from, in order, by the position of the netboot lever.
BOOT_TARGETS: dict[bool, str] = {False: "virtio0 dhcp", True: "dhcp"}

_CRC = struct.Struct("<I")
#: A saved environment replaces all of the built-in one, so this brings that back first and keeps what is
#: known at run time only. The built-in order of start would also try USB, NVMe and QEMU's own loader, and
#: end at a prompt for good when nothing starts; a card tries again.
_BOOT_COMMAND = (
    "fw_fdt=${{fdtcontroladdr}}; env default -a; setenv fdtcontroladdr ${{fw_fdt}}; "
    "setenv boot_targets {targets}; run distro_bootcmd; reset"
)


def power_on_environment(*, netboot: bool) -> bytes:
    """The environment for one position of the netboot lever."""
    command = _BOOT_COMMAND.format(targets=BOOT_TARGETS[netboot])
    return environment_image({"bootdelay": str(NO_DELAY_NO_KEYS), "bootcmd": command})


def environment_image(variables: Mapping[str, str], size: int = ENVIRONMENT_BYTES) -> bytes:
    """The bytes of an environment that holds `variables`. Raises UsageError when they do not fit."""
    body = b"".join(f"{name}={value}\0".encode("latin-1") for name, value in variables.items()) + b"\0"
    room = size - _CRC.size
    if len(body) > room:
        raise UsageError("loader environment is too large", expected=f"at most {room} bytes", found=len(body))
    body = body.ljust(room, b"\0")
    return _CRC.pack(zlib.crc32(body)) + body
