"""Only the kernel says who speaks; what is said is read with mercy."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.card.notify import MAX_STATUS, Notice, NotifySocket, read_notice


@pytest.mark.parametrize(
    ("data", "notice"),
    [
        (b"READY=1", Notice(ready=True)),
        (b"READY=1\n", Notice(ready=True)),
        (b"READY=0", Notice()),
        (b"STATUS=a=b\nREADY=1", Notice(ready=True, status="a=b")),
        (b"STOPPING=1", Notice(stopping=True)),
        (b"RELOADING=1\nMONOTONIC_USEC=12", Notice(reloading=True)),
        (b"STATUS=bell\x07\xff", Notice(status="bell �")),
        (b"MAINPID=1\nERRNO=2\nnonsense", Notice()),
        (b"", Notice()),
    ],
)
def test_datagrams_and_what_they_say(data: bytes, notice: Notice) -> None:
    assert read_notice(data) == notice


@given(st.binary(max_size=5000))
def test_any_bytes_are_read(data: bytes) -> None:
    status = read_notice(data).status
    assert status is None or (len(status) <= MAX_STATUS and status.isprintable())


async def test_sender_is_who_the_kernel_says(tmp_path: Path) -> None:
    heard: asyncio.Queue[tuple[int, Notice]] = asyncio.Queue()
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    listening = NotifySocket(deep / "notify", lambda pid, notice: heard.put_nowait((pid, notice)))
    os.symlink(deep, tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.connect(str(tmp_path / "s" / "notify"))
        end.send(b"READY=1")
        end.send(b"STATUS=x")
    async with asyncio.timeout(10):
        assert await heard.get() == (os.getpid(), Notice(ready=True))
        assert await heard.get() == (os.getpid(), Notice(status="x"))
    listening.close()
    assert not (deep / "notify").exists()


async def test_descriptors_sent_along_are_not_kept(tmp_path: Path) -> None:
    heard: asyncio.Queue[int] = asyncio.Queue()
    listening = NotifySocket(tmp_path / "n", lambda pid, notice: heard.put_nowait(pid))
    before = len(os.listdir("/proc/self/fd"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.connect(str(tmp_path / "n"))
        for _ in range(20):
            socket.send_fds(end, [b"READY=1"], [0])
            async with asyncio.timeout(10):
                await heard.get()
    assert len(os.listdir("/proc/self/fd")) == before
    listening.close()
