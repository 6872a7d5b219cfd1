"""Firmware of real machines against the servers, in a network namespace. Run by test_firmware_clients.py.

Started inside a fresh network namespace: a bridge, a tap for each machine, the servers at the bridge. All
machines run side by side and end with this process. Prints one JSON document: what each said on its console,
and the servers' events.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType
from typing import Any

from firmware_mgr.lab.machine import VIRT_PFLASH_BYTES
from firmware_mgr.lab.qemu import write_sparse
from firmware_mgr.lab.uboot_environment import environment_image
from firmware_mgr.model.ids import CpuArch, MacAddress, SlotId
from firmware_mgr.netboot.clock import SystemClock
from firmware_mgr.netboot.events import NetbootEvent
from firmware_mgr.netboot.served import Blob, BootFile, MemoryDirectory, MemoryLeases, ServedCard
from firmware_mgr.netboot.servers import NetbootServers

from .clients_in_namespace import run
from .rack import SERVER, blob_of

#: A machine's last word on its console.
END = "fwmgr-end"
DEADLINE = 150.0
KERNEL = bytes((i * 31 + i // 509) % 256 for i in range(3_000_000))
#: iPXE fetches the file by both of its protocols and lists what it has.
IPXE_SCRIPT = f"""#!ipxe
echo address ${{net0/ip}} mask ${{net0/netmask}} name ${{hostname}} on ${{platform}}
imgfetch tftp://{SERVER.address}/Image || goto failed
imgstat
imgfree
imgfetch http://{SERVER.address}/Image || goto failed
imgstat
echo {END}
:failed
shell
"""
IPXE_EFI = "snponly.efi"
#: OVMF's switches (OvmfPkg/README), which leave HTTP as its only way to boot from the network.
NO_PXE = tuple(
    argument
    for version in (4, 6)
    for argument in ("-fw_cfg", f"name=opt/org.tianocore/IPv{version}PXESupport,string=n")
)
#: U-Boot's own commands, once with the block size and window that it begins with and once with ours.
U_BOOT_COMMANDS = "; ".join(
    (
        "setenv autoload no",
        "dhcp",
        "echo address ${ipaddr} mask ${netmask} name ${hostname} file ${bootfile}",
        "tftpboot 0x50000000 Image",
        "crc32 0x50000000 ${filesize}",
        "setenv tftpblocksize 1400",
        "setenv tftpwindowsize 16",
        "mw.b 0x50000000 0 0x1000",
        "tftpboot 0x50000000 Image",
        "crc32 0x50000000 ${filesize}",
        f"echo {END}",
    )
)


@dataclass(frozen=True)
class Firmware:
    """A machine with that firmware. `architectures` are what its card's board takes."""

    name: str
    number: int
    cpu: CpuArch
    architectures: frozenset[int]
    options: tuple[str, ...]
    boot_files: tuple[BootFile, ...] = ()
    files: Mapping[str, Blob] = field(default_factory=dict)

    @property
    def mac(self) -> MacAddress:
        return MacAddress(f"52:54:00:00:00:{self.number:02x}")

    def card(self) -> ServedCard:
        return ServedCard(
            slot=SlotId(self.number),
            mac=self.mac,
            board=self.name,
            arch=self.cpu,
            address=IPv4Address(f"10.77.0.{10 + self.number}"),
            hostname=f"slot{self.number}",
            boot_file="Image",
            files=MappingProxyType(dict(self.files)),
            client_architectures=self.architectures,
            boot_files=self.boot_files,
        )

    async def say(self) -> str:
        """Power on, and what the console said up to the last word, or to the deadline."""
        process = await asyncio.create_subprocess_exec(
            *self.options,
            *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-accel", "tcg"),
            *("-netdev", f"tap,id=net,ifname=tap{self.number},script=no,downscript=no"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        said = b""
        try:
            async with asyncio.timeout(DEADLINE):
                while piece := await process.stdout.read(1 << 16):
                    said += piece
                    if f"\n{END}".encode() in said:
                        break
        except TimeoutError:
            said += f"\n(no word within {DEADLINE:g} s)".encode()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        return said.decode("latin-1")


def network_card(number: int, rom: str) -> tuple[str, ...]:
    mac = MacAddress(f"52:54:00:00:00:{number:02x}")
    return ("-device", f"virtio-net-pci,disable-legacy=on,netdev=net,mac={mac},romfile={rom},bootindex=1")


def machines(folder: Path) -> list[Firmware]:
    """The machines, with the files that they need."""
    kernel = blob_of(folder / "kernel", KERNEL)
    script = blob_of(folder / "script", IPXE_SCRIPT.encode())
    ipxe = blob_of(folder / "ipxe.efi", Path("/usr/lib/ipxe", IPXE_EFI).read_bytes())
    environment = folder / "env.img"
    write_sparse(
        environment, environment_image({"bootdelay": "-2", "bootcmd": U_BOOT_COMMANDS}), VIRT_PFLASH_BYTES
    )
    chain = {"Image": kernel, "boot.ipxe": script, IPXE_EFI: ipxe}
    q35 = ("qemu-system-x86_64", "-cpu", "max", "-m", "256", "-machine", "q35,graphics=off")
    found = [
        Firmware(
            "ipxe-bios",
            1,
            CpuArch.X86_64,
            frozenset({0}),
            (*q35, *network_card(1, "/usr/lib/ipxe/qemu/pxe-virtio.rom")),
            (BootFile("ipxe", "boot.ipxe"),),
            chain,
        ),
        Firmware(
            "u-boot",
            4,
            CpuArch.AARCH64,
            frozenset({11, 22}),
            (
                *("qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a57", "-m", "512"),
                *("-bios", "/usr/lib/u-boot/qemu_arm64/u-boot.bin"),
                *("-drive", f"if=pflash,unit=1,format=raw,readonly=on,file={environment}"),
                *network_card(4, ""),
            ),
            (),
            chain,
        ),
    ]
    for number, name, architectures, client, options in (
        (2, "uefi-pxe", {7}, "uefi-x64", ()),
        # iPXE says the architecture of a PXE client, however it was loaded. OVMF tries HTTP last.
        (3, "uefi-http", {7, 16}, "http-x64", NO_PXE),
    ):
        variables = folder / f"{name}.vars"
        shutil.copyfile("/usr/share/OVMF/OVMF_VARS_4M.fd", variables)
        code = "/usr/share/OVMF/OVMF_CODE_4M.fd"
        machine = (
            *q35,
            *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}"),
            *("-drive", f"if=pflash,unit=1,format=raw,file={variables}"),
            *("-device", "virtio-rng-pci"),
            *network_card(number, ""),
            *options,
        )
        files = (BootFile("ipxe", "boot.ipxe"), BootFile(client, IPXE_EFI, is_ipxe=True))
        found.append(Firmware(name, number, CpuArch.X86_64, frozenset(architectures), machine, files, chain))
    return found


async def main(folder: Path) -> dict[str, Any]:
    events: list[NetbootEvent] = []
    found = machines(folder)
    await run("ip", "link", "set", "lo", "up")
    await run("ip", "link", "add", "rack0", "type", "bridge", "forward_delay", "0")
    await run("ip", "addr", "add", f"{SERVER.address}/{SERVER.network.prefixlen}", "dev", "rack0")
    await run("ip", "link", "set", "rack0", "up")
    for machine in found:
        tap = f"tap{machine.number}"
        await run("ip", "tuntap", "add", tap, "mode", "tap")
        await run("ip", "link", "set", tap, "master", "rack0", "up")
    servers = NetbootServers(
        MemoryDirectory([machine.card() for machine in found]),
        MemoryLeases(),
        SERVER,
        interface="rack0",
        clock=SystemClock(),
        on_event=events.append,
    )
    async with servers:
        said = await asyncio.gather(*(machine.say() for machine in found))
    return {
        "consoles": dict(zip((machine.name for machine in found), said, strict=True)),
        "macs": {machine.name: str(machine.mac) for machine in found},
        "crc": f"{zlib.crc32(KERNEL):08x}",
        "length": len(KERNEL),
        "events": [event.document() for event in events],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
