"""Real clients against the servers, in network namespaces. Run by test_real_clients.py, not by pytest.

Started inside a fresh network namespace, which is the master's; a child process holds the card's. Both end
with their processes. Prints one JSON document: what each client said, and the events.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from firmware_mgr.netboot.clock import SystemClock
from firmware_mgr.netboot.events import DhcpDecided, NetbootEvent
from firmware_mgr.netboot.served import MemoryDirectory, MemoryLeases
from firmware_mgr.netboot.servers import NetbootServers, Ports

from .rack import MAC, SERVER, blob_of, card

DEADLINE = 40.0
KERNEL = bytes((i * 31 + i // 509) % 256 for i in range(500_000))
SCRIPT = """#!/bin/sh
# udhcpc's hook: keep what was told, take the address.
env | sort > "$STATE/$1"
[ "$1" = bound ] && ip addr replace "$ip/$mask" dev card0
exit 0
"""


async def run(*command: str) -> str:
    """Output of a command that must succeed."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    async with asyncio.timeout(DEADLINE):
        output, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {process.returncode}: {output.decode()}")
    return output.decode()


async def lay_wire(holder: int) -> None:
    """A pair of interfaces: `rack0` here, `card0` in the namespace of process `holder`."""
    await run("ip", "link", "set", "lo", "up")
    await run("ip", "link", "add", "rack0", "type", "veth", "peer", "name", "card0", "address", str(MAC))
    await run("ip", "link", "set", "card0", "netns", str(holder))
    await run("ip", "addr", "add", f"{SERVER.address}/{SERVER.network.prefixlen}", "dev", "rack0")
    await run("ip", "link", "set", "rack0", "up")


def told(state: Path, event: str) -> dict[str, str]:
    lines = (state / event).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


async def main(folder: Path) -> dict[str, Any]:
    events: list[NetbootEvent] = []
    changed = asyncio.Event()

    def keep(event: NetbootEvent) -> None:
        events.append(event)
        changed.set()

    async def wait_decided(reason: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while not any(isinstance(event, DhcpDecided) and event.reason == reason for event in events):
                changed.clear()
                await changed.wait()

    hook = folder / "hook"
    hook.write_text(SCRIPT)
    hook.chmod(0o755)
    holder = await asyncio.create_subprocess_exec(
        "unshare", "-n", "sh", "-c", "echo ready; exec cat", stdin=-1, stdout=-1
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"ready\n"
    await lay_wire(holder.pid)
    inside = (
        "nsenter",
        "-t",
        str(holder.pid),
        "-n",
        "env",
        "-i",
        f"PATH={os.environ['PATH']}",
        f"STATE={folder}",
    )
    await run(*inside, "ip", "link", "set", "card0", "up")

    blobs = {"Image": blob_of(folder / "kernel", KERNEL)}
    leases = MemoryLeases()
    directory = MemoryDirectory([card(blobs)])
    servers = NetbootServers(
        directory, leases, SERVER, interface="rack0", clock=SystemClock(), on_event=keep, ports=Ports()
    )
    said: dict[str, Any] = {}
    async with servers:
        udhcpc = ("busybox", "udhcpc", "-f", "-i", "card0", "-s", str(hook), "-t", "5", "-T", "1", "-n")
        asked = ("-O", "tftp", "-O", "bootfile", "-O", "hostname", "-x", "hostname:whoever")
        client = await asyncio.create_subprocess_exec(
            *inside, *udhcpc, *asked, "-R", stderr=subprocess.DEVNULL
        )
        await wait_decided("selecting")
        async with asyncio.timeout(DEADLINE):
            while "10.77.0.13" not in await run(*inside, "ip", "addr", "show", "dev", "card0"):
                await asyncio.sleep(0)
        said["bound"] = told(folder, "bound")
        said["leases"] = [str(lease.address) for lease in leases.held()]

        fetched = folder / "fetched"
        for name, command in {
            "busybox tftp, block size over the MTU": (
                "busybox",
                "tftp",
                "-g",
                "-b",
                "65464",
                "-r",
                "Image",
                "-l",
            ),
            "busybox tftp, 512": ("busybox", "tftp", "-g", "-r", "Image", "-l"),
        }.items():
            await run(*inside, *command, str(fetched), str(SERVER.address))
            said[name] = fetched.read_bytes() == KERNEL
        for url in (f"tftp://{SERVER.address}/Image", f"http://{SERVER.address}/Image"):
            await run(*inside, "curl", "-sS", "-f", "-o", str(fetched), url)
            said[f"curl {url}"] = fetched.read_bytes() == KERNEL
        said["negotiation"] = await run(
            *inside,
            "curl",
            "-v",
            "-o",
            str(fetched),
            "--tftp-blksize",
            "9000",
            f"tftp://{SERVER.address}/Image",
        )

        client.send_signal(10)  # SIGUSR1: renew
        await wait_decided("renewing")
        client.terminate()
        await wait_decided("released by the card")
        async with asyncio.timeout(DEADLINE):
            await client.wait()
        said["lease state"] = leases.held()[0].state.value

        await run(*inside, "ip", "link", "set", "card0", "down")
        await run(*inside, "ip", "link", "set", "card0", "address", "02:00:00:00:00:01")
        await run(*inside, "ip", "link", "set", "card0", "up")
        stranger = await asyncio.create_subprocess_exec(
            *inside, "busybox", "udhcpc", "-f", "-i", "card0", "-s", str(hook), "-t", "1", "-T", "1", "-n",
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(DEADLINE):
            said["stranger's exit code"] = await stranger.wait()
    assert holder.stdin is not None
    holder.stdin.close()
    await holder.wait()
    said["events"] = [event.document() for event in events]
    return said


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
