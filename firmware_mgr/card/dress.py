"""Host name and static addresses of a card, as its slot's settings say. Runs busybox's ip; decides nothing.

What is wanted lies in files beside the lease too, so that the lease script leaves it in place.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from firmware_mgr.card.network import LEASE_FILE, lease_hostname
from firmware_mgr.model.errors import DeviceError

ADDRESSES = LEASE_FILE.with_name("addresses")
HOSTNAME = LEASE_FILE.with_name("hostname")


async def dress_host(interface: str, hostname: str, addresses: tuple[str, ...]) -> None:
    """See DressedHost. Raises DeviceError that names the first thing that could not be done."""
    try:
        before = set(ADDRESSES.read_text().split()) if ADDRESSES.exists() else set()
        _leave(ADDRESSES, "".join(f"{address}\n" for address in addresses))
        _leave(HOSTNAME, hostname)
        name = hostname or lease_hostname()
        if name:
            socket.sethostname(name)
    except OSError as e:
        where = str(e.filename or hostname)
        raise DeviceError("host name and addresses cannot be set", where=where, found=e.strerror) from e
    await _ip("link", "set", interface, "up")
    failed = [
        address
        for action, some in (("del", before - set(addresses)), ("add", set(addresses) - before))
        for address in sorted(some)
        if not await _ip("addr", action, address, "dev", interface) and action == "add"
    ]
    if failed:
        raise DeviceError("address cannot be set", where=interface, found=", ".join(failed))


def _leave(path: Path, text: str) -> None:
    if not text:
        path.unlink(missing_ok=True)
        return
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(text)
    draft.replace(path)


async def _ip(*arguments: str) -> bool:
    process = await asyncio.create_subprocess_exec(
        "busybox", "ip", *arguments, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait() == 0
