"""dhclient, dhcpcd and udhcpc, straight and behind dhcrelay and dnsmasq. Run by test_dhcp_clients.py."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

from .rack import blob_of
from .wires import BEHIND, RELAY, SERVER, STRAIGHT, Wires, print_result, run

HOOK = """#!/bin/sh
# What a client calls: keep what it was told; take the address.
event=${reason:-$1}
env > "$STATE/$CLIENT-$event"
case "$event" in
  PREINIT) ip link set "$interface" up ;;
  BOUND|REBOOT) ip addr replace "$new_ip_address/$new_subnet_mask" dev "$interface"
    [ -z "$new_routers" ] || ip route replace 10.77.0.0/24 via "$new_routers" ;;
  bound) ip addr replace "$ip/$mask" dev "$interface" ;;
esac
exit 0
"""
DHCLIENT = "request subnet-mask, host-name, tftp-server-name, bootfile-name, routers;\ntimeout 30;\n"


async def _written(file: Path) -> None:
    """Wait for a file that a process in the background writes."""
    for _ in range(1000):
        if file.exists() and file.read_text().strip():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{file} was never written")


class Clients:
    def __init__(self, wires: Wires) -> None:
        self.wires = wires
        self.folder = wires.folder
        self.hook = str(self.folder / "hook")
        Path(self.hook).write_text(HOOK)
        Path(self.hook).chmod(0o755)
        (self.folder / "dhclient.conf").write_text(DHCLIENT)

    def told(self, client: str, event: str) -> dict[str, str]:
        lines = (self.folder / f"{client}-{event}").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    async def dhclient(self, name: str, device: str, mac: Any) -> dict[str, Any]:
        """Bound, then released."""
        wires, since = self.wires, len(self.wires.events)
        kept = f"{self.folder}/{name}"
        common = ("-4", "-sf", self.hook, "-cf", f"{self.folder}/dhclient.conf", "-lf", f"{kept}.leases")
        common += ("-pf", f"{kept}.pid", "-e", f"STATE={self.folder}", "-e", f"CLIENT={name}")
        await run(*wires.card.inside("dhclient", "-1", *common, device))
        bound = self.told(name, "BOUND")
        await _written(Path(f"{kept}.pid"))  # by what stays in the background; releasing ends it by that
        await run(*wires.card.inside("dhclient", "-r", *common, device))
        await wires.wait_decided(mac, ("release", "recorded"), since)
        await wires.card.ip("addr", "flush", "dev", device)
        return {"told": bound, "decided": wires.decided(mac, since)}

    async def dhcpcd(self, name: str, device: str, mac: Any) -> dict[str, Any]:
        wires, since = self.wires, len(self.wires.events)
        inner = (
            "mkdir -p /var/lib/dhcpcd; mount -t tmpfs none /var/lib/dhcpcd; mount -t tmpfs none /run;"
            f" mkdir /run/dhcpcd; exec dhcpcd -4 -1 -B -A -L -t 30 -f /dev/null -c {self.hook}"
            f" -e STATE={self.folder} -e CLIENT={name} -o host_name,tftp_server_name,bootfile_name {device}"
        )
        await run(*wires.card.inside("unshare", "-m", "sh", "-c", inner))
        bound = self.told(name, "BOUND")
        await wires.card.ip("addr", "flush", "dev", device)
        return {"told": bound, "decided": wires.decided(mac, since)}

    async def udhcpc(self, name: str, device: str, mac: Any) -> dict[str, Any]:
        wires, since = self.wires, len(self.wires.events)
        asked = ("-O", "tftp", "-O", "bootfile", "-O", "hostname")
        command = ("busybox", "udhcpc", "-f", "-q", "-n", "-t", "8", "-T", "2", "-i", device, "-s", self.hook)
        await run(*wires.card.inside(*command, *asked, STATE=str(self.folder), CLIENT=name))
        bound = self.told(name, "bound")
        await wires.card.ip("addr", "flush", "dev", device)
        return {"told": bound, "decided": wires.decided(mac, since)}


async def relayed(
    wires: Wires, clients: Clients, relay: str, command: tuple[str, ...], ready: str
) -> dict[str, Any]:
    """What clients behind a relay were told, and what went between relay and server."""
    log = wires.folder / f"{relay}.log"
    with log.open("wb") as out:
        daemon = await asyncio.create_subprocess_exec(
            *wires.relay.inside(*command), stdout=out, stderr=subprocess.STDOUT
        )
    async with asyncio.timeout(30):
        while ready not in log.read_text(errors="replace"):
            assert daemon.returncode is None, log.read_text(errors="replace")
            await asyncio.sleep(0.05)
    wires.frames.clear()
    said: dict[str, Any] = {"udhcpc": await clients.udhcpc(f"udhcpc-{relay}", "card1", BEHIND)}
    said["frames"] = [frame.hex() for frame in wires.frames]
    said["dhclient"] = await clients.dhclient(f"dhclient-{relay}", "card1", BEHIND)
    if relay == "dhcrelay":
        await wires.card.ip("addr", "add", "10.78.0.13/24", "dev", "card1")
        await wires.card.ip("route", "add", "10.77.0.0/24", "via", str(RELAY))
        fetched = wires.folder / "fetched"
        await run(*wires.card.inside("curl", "-sSf", "-o", str(fetched), f"tftp://{SERVER.address}/Image"))
        said["fetched"] = fetched.read_bytes() == KERNEL
        await wires.card.ip("addr", "flush", "dev", "card1")
    daemon.terminate()
    async with asyncio.timeout(20):
        await daemon.wait()
    said["log"] = log.read_text(errors="replace")
    return said


KERNEL = bytes((i * 31 + i // 509) % 256 for i in range(100_000))


async def main(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = {}
    async with Wires(folder, {"Image": blob_of(folder / "kernel", KERNEL)}) as wires:
        clients = Clients(wires)
        said["dhclient"] = await clients.dhclient("dhclient", "card0", STRAIGHT)
        said["dhcpcd"] = await clients.dhcpcd("dhcpcd", "card0", STRAIGHT)
        said["udhcpc"] = await clients.udhcpc("udhcpc", "card0", STRAIGHT)
        isc = ("dhcrelay", "-4", "-d", "-a", "-id", "relay1", "-iu", "relay0", str(SERVER.address))
        said["dhcrelay"] = await relayed(wires, clients, "dhcrelay", isc, "Sending on   Socket/fallback")
        dns = ("dnsmasq", "-d", "-C", "/dev/null", "-p0", "-u", "root", "--log-dhcp")
        dns += ("-x", str(folder / "dnsmasq.pid"), f"--dhcp-relay={RELAY},{SERVER.address}")
        said["dnsmasq"] = await relayed(wires, clients, "dnsmasq", dns, "DHCP relay from")
        said["leases"] = {str(lease.mac): lease.state.value for lease in wires.leases.held()}
    return said


if __name__ == "__main__":
    print_result(main)
