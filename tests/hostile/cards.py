"""The cards that the hostile packets are about: five in their slots, with files of awkward sizes."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType

from firmware_mgr.model.ids import CpuArch, Digest, MacAddress, SlotId
from firmware_mgr.netboot.served import Blob, BootFile, MemoryDirectory, ServedCard

FILES = {
    "boot.scr.uimg": b"setenv bootargs console=ttyAMA0\n",
    "Image": bytes((i * 31 + i // 509) % 256 for i in range(300_000)),
    "empty": b"",
    "whole": b"w" * 1024,
    "name with spaces/and ümlaut": b"x",
}
MACS = tuple(MacAddress(f"52:54:00:12:34:{n:02x}") for n in (1, 2, 3, 4, 5))
ADDRESSES = tuple(IPv4Address(f"10.77.0.{n}") for n in (11, 12, 13, 14))
#: The third card sits at an address that the server's network does not have, the fifth at the router's; the
#: fourth has no files.
OUTSIDE = IPv4Address("192.0.2.7")
PLACES = (ADDRESSES[0], ADDRESSES[1], OUTSIDE, ADDRESSES[3], IPv4Address("10.77.0.254"))
LONG_NAME = "a/" * 100 + "long.efi"


def blobs(folder: Path) -> dict[str, Blob]:
    found = {}
    for n, (name, data) in enumerate(FILES.items()):
        path = folder / f"blob{n}"
        if not path.exists():
            path.write_bytes(data)
        found[name] = Blob(Digest.of(data), len(data), path)
    found["gone"] = Blob(Digest.of(b"gone"), 10, folder / "gone")  # the disk lost it
    return found


def directory(folder: Path) -> MemoryDirectory:
    files = MappingProxyType(blobs(folder))
    return MemoryDirectory(
        ServedCard(
            slot=SlotId(n + 1),
            mac=MACS[n],
            board="qemu-aarch64",
            arch=CpuArch.AARCH64,
            address=PLACES[n],
            hostname=f"slot{n + 1}",
            boot_file="boot.scr.uimg",
            files=MappingProxyType({}) if n == 3 else files,
            client_architectures=frozenset({0, 7, 11, 16, 22}),
            refused_tftp_options=frozenset({"windowsize"} if n else ()),
            boot_files=(
                BootFile("uefi-arm64", "absent.efi"),
                BootFile("uefi-arm64", "Image"),
                BootFile("uefi-x64", LONG_NAME),
                BootFile("bios", "undionly.kpxe", is_ipxe=True),
                BootFile("ipxe", "name with spaces/and x"),
            ),
        )
        for n in range(5)
    )
