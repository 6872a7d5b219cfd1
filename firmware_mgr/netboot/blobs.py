"""Reads bytes of blobs from the master's disk.

The only place of the room that opens a file, and only by `Blob.path`, which the master made. Refuses to know
what clients call it.
"""

from __future__ import annotations

import os

from firmware_mgr.model.errors import DeviceError
from firmware_mgr.netboot.served import Blob


def read_blob(blob: Blob, start: int, count: int) -> bytes:
    """`count` bytes from `start` on, fewer when the blob ends before. DeviceError when the file does."""
    wanted = max(0, min(count, blob.length - start))
    parts: list[bytes] = []
    got = 0
    try:
        handle = os.open(blob.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while got < wanted:
                part = os.pread(handle, wanted - got, blob.offset + start + got)
                if not part:
                    break
                parts.append(part)
                got += len(part)
        finally:
            os.close(handle)
    except OSError as e:
        raise DeviceError("blob cannot be read", where=str(blob.path), found=e.strerror) from e
    if got < wanted:
        end = blob.offset + blob.length
        found = blob.offset + start + got
        raise DeviceError("blob is cut short", where=str(blob.path), expected=f"{end} bytes", found=found)
    return parts[0] if len(parts) == 1 else b"".join(parts)
