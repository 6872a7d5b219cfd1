"""QEMU as a process: started stopped, connected, let go, cut, or asked to quit.

The shell around `machine.command_line`. Knows sockets, QMP and signals. Refuses to know slots' power states.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from qemu.qmp import QMPClient, QMPError

from firmware_mgr.lab.cards import Card
from firmware_mgr.lab.console_log import ConsoleLog
from firmware_mgr.lab.machine import VIRT_PFLASH_BYTES, Lever, QemuBoard, Wiring, command_line
from firmware_mgr.lab.plan import SlotPaths, label
from firmware_mgr.lab.process import ProcessIdentity
from firmware_mgr.lab.uboot_environment import power_on_environment
from firmware_mgr.model.errors import DeviceError, UsageError
from firmware_mgr.model.ids import SlotId

LOG = logging.getLogger(__name__)


#: From starting QEMU to its last connection, in seconds; a busy host needs some.
CONNECT_TIMEOUT = 30.0
#: How long QEMU may take to quit when asked, in seconds, before it is killed.
QUIT_TIMEOUT = 5.0
#: QMP events that the console log tells of (QEMU QMP reference, "Run state").
_TOLD_EVENTS = {"RESET": "the card reset itself", "SHUTDOWN": "the machine shuts down"}


class QemuMachines:
    """Starts the cards of one board in one chassis, with a directory for each slot."""

    def __init__(
        self,
        board: QemuBoard,
        paths: Callable[[SlotId], SlotPaths],
        *,
        capture: bool,
        backplane: bool = True,
        clock_of: Callable[[SlotId], int] = lambda _: 0,
        record_writes: bool = False,
    ) -> None:
        self._board = board
        self._paths = paths
        self._capture = capture
        self._backplane = backplane
        self._clock_of = clock_of
        self._record_writes = record_writes

    async def spawn(
        self, slot: SlotId, card: Card, count: int, netboot: bool, console: ConsoleLog
    ) -> QemuMachine:
        """Start QEMU for the slot's power-on number `count`, stopped. Raises DeviceError."""
        paths = self._paths(slot)
        wiring = Wiring(
            slot,
            card.mac,
            tap=f"slot{label(slot)}",
            flash=paths.flash,
            console=paths.console_socket,
            qmp=paths.qmp_socket,
            second_flash=self._second_flash(paths, netboot),
            network_first=netboot and self._board.lever is Lever.BOOT_INDEX,
            capture=self._capture_file(paths, count),
            backplane=self._backplane,
            clock=self._clock_of(slot),
            writes=self._writes_file(paths, count),
        )
        listener = _ConsoleListener(console)
        qmp = QMPClient(f"slot-{label(slot)}")
        await listener.listen(paths.console_socket)
        await qmp.start_server(str(paths.qmp_socket))
        with paths.qemu_log.open("wb") as log:
            try:
                process = await asyncio.create_subprocess_exec(
                    *command_line(self._board, wiring),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except FileNotFoundError as e:
                listener.close()
                await _close_qmp(qmp)
                raise DeviceError(
                    "QEMU is not installed", where=self._board.binary, hint="apt install qemu-system-arm"
                ) from e
        try:
            identity = ProcessIdentity.of(process.pid)
        except DeviceError as e:
            listener.close()
            await _close_qmp(qmp)
            raise _did_not_start(paths) from e
        return QemuMachine(process, identity, listener=listener, qmp=qmp, paths=paths, console=console)

    def make_flash(self, slot: SlotId) -> None:
        """The flash of the card in `slot`: kept when it is there. Raises UsageError on another size."""
        make_flash(self._paths(slot).flash, self._board.flash_bytes)

    def _second_flash(self, paths: SlotPaths, netboot: bool) -> Path:
        match self._board.lever:
            case Lever.U_BOOT_ENVIRONMENT:
                write_sparse(paths.environment, power_on_environment(netboot=netboot), VIRT_PFLASH_BYTES)
                return paths.environment
            case Lever.BOOT_INDEX:
                new = self._board.new_variables
                assert new is not None, "checked when the board file was read"
                make_variables(paths.variables, new, anew=netboot)
                return paths.variables

    def _capture_file(self, paths: SlotPaths, count: int) -> Path | None:
        if not self._capture:
            return None
        capture = paths.capture(count)
        paths.last_capture.unlink(missing_ok=True)
        paths.last_capture.symlink_to(capture.name)
        return capture

    def _writes_file(self, paths: SlotPaths, count: int) -> Path | None:
        if not self._record_writes:
            return None
        writes = paths.writes(count)
        writes.write_bytes(b"")
        return writes


class QemuMachine:
    """One power-on of one card."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        identity: ProcessIdentity,
        *,
        listener: _ConsoleListener,
        qmp: QMPClient,
        paths: SlotPaths,
        console: ConsoleLog,
    ) -> None:
        self.identity = identity
        self._process = process
        self._listener = listener
        self._qmp = qmp
        self._paths = paths
        self._console = console
        self._ending = ""
        self._teller: asyncio.Task[None] | None = None

    async def release(self) -> None:
        """Connect console and QMP and let the machine run. Raises DeviceError when QEMU ends first."""
        connected = asyncio.gather(self._listener.connected.wait(), self._qmp.accept())
        ended = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait(
                (connected, ended), timeout=CONNECT_TIMEOUT, return_when=asyncio.FIRST_COMPLETED
            )
            if not connected.done():
                raise _did_not_start(self._paths)
            connected.result()
            self._teller = asyncio.create_task(self._tell_events())
            await self._qmp.execute("cont")
        except (QMPError, EOFError, OSError) as e:
            raise _did_not_start(self._paths) from e
        finally:
            for waiting in (connected, ended):
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError, QMPError, EOFError, OSError):
                    await waiting

    async def cut(self) -> None:
        """Take the power away: nothing is flushed, nothing is asked."""
        self._ending = "power cut"
        self.identity.signal(signal.SIGKILL)
        await self._process.wait()

    async def quit(self) -> None:
        """Ask QEMU to end, and kill it when it does not."""
        self._ending = "chassis going down"
        try:
            async with asyncio.timeout(QUIT_TIMEOUT):
                await self._qmp.execute("quit")
                await self._process.wait()
        except (TimeoutError, QMPError, EOFError, OSError):
            self.identity.signal(signal.SIGKILL)
            await self._process.wait()

    async def wait_ended(self) -> str:
        """Wait until QEMU has ended and its last console byte is read; why it ended, for people."""
        code = await self._process.wait()
        await self._listener.drained()
        if self._teller is not None:
            self._teller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._teller
        await _close_qmp(self._qmp)
        self._listener.close()
        for path in (self._paths.console_socket, self._paths.qmp_socket):
            path.unlink(missing_ok=True)
        if self._ending:
            return self._ending
        return "the card switched itself off" if code == 0 else f"QEMU ended by itself, code {code}"

    async def _tell_events(self) -> None:
        async for event in self._qmp.events:
            said = _TOLD_EVENTS.get(str(event.get("event")))
            data = event.get("data")
            if said is not None and isinstance(data, dict) and data.get("guest"):
                self._console.note(said)


class _ConsoleListener:
    """The daemon's end of a card's serial line; QEMU connects to it as it starts."""

    def __init__(self, console: ConsoleLog) -> None:
        self.connected = asyncio.Event()
        self._console = console
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._done = asyncio.Event()

    async def listen(self, path: Path) -> None:
        self._server = await asyncio.start_unix_server(self._read, path, backlog=1)

    async def drained(self) -> None:
        """Wait for the end of what QEMU wrote."""
        if self.connected.is_set():
            await self._done.wait()

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._writer is not None:
            self._writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            writer.close()  # The daemon is the one reader of the one line.
            return
        self._writer = writer
        self.connected.set()
        try:
            while data := await reader.read(1 << 16):
                try:
                    self._console.receive(data)
                except OSError as e:
                    # A full disk must not stop the card's console: what it says now is lost, and no more.
                    LOG.warning("console log: %s", e)
        except ConnectionResetError:
            LOG.info("console connection reset")
        finally:
            self._done.set()


def write_sparse(path: Path, head: bytes, size: int) -> None:
    """A file of `size` bytes that begins with `head`; the rest is a hole that reads as zero."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)


def make_variables(path: Path, new: Path, *, anew: bool) -> None:
    """UEFI's variables of a card: kept when they are there, unless `anew`.

    The lever makes them anew, since BootNext would go before the network. Raises DeviceError when there is
    nothing to copy.
    """
    if path.exists() and not anew:
        return
    draft = path.with_suffix(".new")
    try:
        shutil.copyfile(new, draft)
    except OSError as e:
        raise DeviceError("new variables for UEFI are missing", where=str(new), found=e.strerror) from e
    draft.replace(path)


def make_flash(path: Path, size: int) -> None:
    """The flash of a card: kept when it is there. Raises UsageError on another size."""
    if not path.exists():
        write_sparse(path, b"", size)
        return
    found = path.stat().st_size
    if found != size:
        raise UsageError(
            "the flash has another size than the board's",
            where=str(path),
            expected=size,
            found=found,
            hint="blank it with --pristine",
        )


def _did_not_start(paths: SlotPaths) -> DeviceError:
    said = paths.qemu_log.read_text(errors="replace").strip().splitlines()
    return DeviceError(
        "QEMU did not start",
        where=str(paths.qemu_log),
        found=said[-1] if said else f"no connection within {CONNECT_TIMEOUT:g} s, and no word",
    )


async def _close_qmp(qmp: QMPClient) -> None:
    with contextlib.suppress(QMPError, EOFError, OSError):
        await qmp.disconnect()
