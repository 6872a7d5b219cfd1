"""The agent's shell: performs what `machine` decides, with flash, network, processes and power handed in.

Knows how each action is done and reports what came of it. Holds no decision of its own. Jobs on flash run in
one thread, one at a time; the link and the processes go on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from firmware_mgr.card import machine as cm
from firmware_mgr.card.areas import Areas, open_areas
from firmware_mgr.card.burn import Burner
from firmware_mgr.card.commit import commit_boot, netboot_next, restore_tries_of_running
from firmware_mgr.card.data_keeper import DataKeeper, DataVolume
from firmware_mgr.card.firmware import Firmware
from firmware_mgr.card.identity import Identity
from firmware_mgr.card.inspection import Inspection, control_report, inspect
from firmware_mgr.card.kept import KeptDesk
from firmware_mgr.card.loader import LoaderWords
from firmware_mgr.card.network import LAST_LEASE, NetworkLease, kept_lease
from firmware_mgr.card.processes import ProcessState
from firmware_mgr.card.root_keeper import RootKeeper
from firmware_mgr.card.runner import InstalledPackage, ProcessStatus
from firmware_mgr.card.settings import AgentSettings
from firmware_mgr.card.settings_keeper import SettingsKeeper
from firmware_mgr.card.uplink import Uplink
from firmware_mgr.flash.device import FlashDevice
from firmware_mgr.flash.store import Extent
from firmware_mgr.link import messages as m
from firmware_mgr.link.service import Kept, ListKept, Piece, ReadKept, Settings, SettingsKept
from firmware_mgr.link.session import Session
from firmware_mgr.link.transport import LinkStream
from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.package.layout import FORMAT_VERSION

log = logging.getLogger("agent")

#: Progress goes out at most this often, so that a slow link is not filled with it.
PROGRESS_SECONDS = 0.3
#: Changes of processes are collected for so long.
STATUS_SECONDS = 0.5
NO_MASTER = "settings/no-master"


class Host(Protocol):
    """The machine that the agent runs on. A seam."""

    def slot(self) -> SlotId | None:
        """What the slot register says; None when there is none (R-1.7)."""
        ...

    def monotonic(self) -> float: ...

    def set_clock(self, time: float) -> None: ...

    async def network(self, last: str | None) -> NetworkLease:
        """The lease; the `last` one when nobody answers. Raises DeviceError when there is none."""
        ...

    def reset(self) -> None: ...

    async def dress(self, hostname: str, addresses: tuple[str, ...]) -> None:
        """See DressedHost."""
        ...


class Runner(Protocol):
    """Runs a software set's processes. A seam; `runner.SetRunner` is the real one."""

    async def start(
        self,
        name: str,
        packages: Sequence[InstalledPackage],
        extent_of: Callable[[Digest], Extent],
        settings: Settings | None = None,
    ) -> tuple[ProcessStatus, ...]: ...

    async def stop(self) -> None: ...

    def statuses(self) -> tuple[ProcessStatus, ...]: ...


@dataclass(frozen=True, slots=True)
class AgentParts:
    """All that the agent is composed of. Without `kept` there are no logs and core dumps to be read; without
    `data` what processes keep lies where `make_runner` puts it.
    """

    settings: AgentSettings
    version: str
    host: Host
    device: FlashDevice
    words: LoaderWords
    make_runner: Callable[[Callable[[ProcessStatus], None], Callable[[DeviceError], None]], Runner]
    uplink: Uplink
    kept: KeptDesk | None = None
    #: What has to be told when control was written; None: nothing, the loader reads it.
    firmware: Firmware | None = None
    data: DataVolume | None = None


class Agent:
    def __init__(self, parts: AgentParts) -> None:
        self._parts = parts
        self._host = parts.host
        self._register = parts.host.slot()
        self._slot = self._register
        self._boot_id = uuid.uuid4().hex
        self._events: asyncio.Queue[cm.Event] = asyncio.Queue()
        self._broken: BaseException | None = None
        self._known_states: dict[str, ProcessState] = {}
        self._report_due = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._flash_lock = asyncio.Lock()
        self._data = DataKeeper(parts.data, lambda: self._areas)
        self._settings = SettingsKeeper(
            parts.host, lambda: self._areas.state, self._flash_lock, lambda: self._slot
        )
        self._root = RootKeeper(parts.settings, lambda: self._areas.state)
        self._runner = parts.make_runner(self._process_changed, self._world_lost)
        self._link: LinkStream | None = None
        self._session = Session("link")
        self._lease: NetworkLease | None = None
        self._areas: Areas
        self._inspection: Inspection
        self._identity: Identity
        self._machine: cm.CardMachine

    async def run(self) -> None:
        """Work until the card is reset."""
        await self._look()
        self._post(cm.Started())
        while self._machine.work is not cm.WorkState.RESETTING:
            event = await self._next_event()
            if self._broken is not None:
                # An agent that is not whole must not linger: init restarts the card, and the loader counts.
                raise self._broken
            for action in self._machine.receive(event, self._host.monotonic()):
                await self._perform(action)
        await self._runner.stop()
        try:
            await self._data.close()
        except DeviceError as e:
            log.warning("reset all the same: %s", e)
        self._host.reset()

    async def _next_event(self) -> cm.Event:
        deadline = self._machine.next_deadline
        patience = None if deadline is None else max(0.0, deadline - self._host.monotonic())
        try:
            return await asyncio.wait_for(self._events.get(), patience)
        except TimeoutError:
            return cm.TimePassed()

    def _post(self, event: cm.Event) -> None:
        self._events.put_nowait(event)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("a task of the agent broke", exc_info=task.exception())
            self._broken = task.exception()
            self._post(cm.TimePassed())

    # Flash.

    async def _look(self) -> None:
        parts = self._parts
        self._areas = await asyncio.to_thread(
            open_areas, parts.device, parts.settings.flash, parts.words, parts.firmware
        )
        documents: Mapping[str, bytes] = {} if self._areas.state is None else self._areas.state.documents()
        self._root.look()
        await self._inspect()
        try:
            await asyncio.to_thread(restore_tries_of_running, self._areas)
        except DeviceError as e:
            log.error("the loader's count cannot be restored: %s", e)
        identity = Identity.from_documents(documents) or Identity.generate()
        self._identity = identity.fitting(parts.settings.authority, self._slot)
        # Where no register says it, the certificate does: the master gave it for this slot.
        self._slot = self._register or self._identity.slot
        self._settings.load()
        await self._settings.dress_host()
        await self._data.open()
        records = self._inspection.records
        self._machine = cm.CardMachine(
            records.validated, _policy(documents.get(NO_MASTER)), stored=frozenset(records.kept_sets)
        )
        report = self._inspection.report
        log.info(
            "slot %s, board %s, booted from %s; flash: table %s, boot a %s, boot b %s, store %s",
            self._slot or "unknown",
            parts.settings.board,
            parts.words.source.value,
            report.table.value,
            report.boot_a.state.value,
            report.boot_b.state.value,
            report.store.value,
        )

    async def _inspect(self) -> None:
        cpu, trust = self._parts.settings.cpu, self._root.trust
        self._inspection = await asyncio.to_thread(inspect, self._areas, trust, cpu)

    # Actions.

    async def _perform(self, action: cm.Action) -> None:
        if isinstance(action, cm.Dial):
            self._spawn(self._dial())
        elif isinstance(action, cm.SendHello):
            await self._send(self._hello())
        elif isinstance(action, cm.Send):
            await self._send(action.message)
        elif isinstance(action, cm.CloseLink):
            log.warning("link closed: %s", action.reason)
            self._drop_link()
        elif isinstance(action, cm.SetClock):
            self._host.set_clock(action.time)
            self._spawn(self._keep_settings())
        elif isinstance(action, cm.DropCertificate):
            self._identity = Identity(self._identity.key_pem, None, self._identity.kept)
        elif isinstance(action, cm.BeginBurn):
            self._spawn(self._burn(action.order))
        elif isinstance(action, cm.BeginSet):
            self._spawn(self._run_set(action))
        elif isinstance(action, cm.Serve):
            await self._serve(action.message)
        else:
            log.info("reset: %s", action.reason)
            if action.netboot:
                await self._netboot_once()

    async def _netboot_once(self) -> None:
        """Flash without our table is netbooted anyway."""
        if self._areas.partitions is None:
            return
        try:
            async with self._flash_lock:
                await asyncio.to_thread(netboot_next, self._areas)
        except DeviceError as e:
            log.error("the next start cannot be from the network: %s", e)

    async def _send(self, message: m.FromCard) -> None:
        link = self._link
        if link is None:
            return
        try:
            self._session.card_said(message)
            await link.send(
                message, m.PROTOCOL_VERSION if isinstance(message, m.Hello) else self._session.version
            )
        except (OSError, PeerError) as e:
            self._lost(link, str(e))

    def _lost(self, link: LinkStream, reason: str) -> None:
        """This link is of no more use; nothing happens when another has taken its place."""
        if self._link is link:
            log.warning("link lost: %s", reason)
            self._drop_link()
            self._post(cm.LinkLost(reason))

    def _drop_link(self) -> None:
        if self._link is not None:
            self._link.abort()
            self._link = None

    # Link.

    async def _dial(self) -> None:
        try:
            lease = self._lease = await self._host.network(self._last_lease())
            if self._identity.certificate_pem is None:
                await self._enrol(lease)
            stream = await self._parts.uplink.connect(lease, self._identity)
        except (OSError, TimeoutError, FwmgrError) as e:
            log.warning("no link to the master: %s", e or type(e).__name__)
            self._post(cm.LinkLost(str(e)))
            return
        self._link, self._session = stream, Session(f"link to {lease.master}")
        self._post(cm.LinkOpened())
        await self._listen(stream, self._session)

    async def _enrol(self, lease: NetworkLease) -> None:
        settings = self._parts.settings
        request = {
            "protocol": m.PROTOCOL_VERSION,
            "slot": None if self._register is None else str(self._register),
            "mac": lease.mac,
            "board": settings.board,
            "cpu": settings.cpu.value,
            "csr": self._identity.signing_request(self._register),
        }
        pem = await self._parts.uplink.enrol(lease, request)
        self._identity = self._identity.with_certificate(pem.encode())
        before, self._slot = self._slot, self._register or self._identity.slot
        if self._slot != before:
            # What flash holds may be for the slot that the card was in before.
            self._settings.load()
            await self._settings.dress_host()
        if self._areas.state is not None:
            async with self._flash_lock:
                await asyncio.to_thread(self._areas.state.commit, self._identity.documents())

    async def _listen(self, stream: LinkStream, session: Session) -> None:
        reason = "the master closed the link"
        try:
            while (document := await stream.receive()) is not None:
                message = m.read_from_master(document)
                session.master_said(message)
                self._post(cm.Received(message))
        except (OSError, FwmgrError) as e:
            reason = str(e)
        self._lost(stream, reason)

    def _hello(self) -> m.Hello:
        settings, inspection = self._parts.settings, self._inspection
        report = inspection.report
        if self._areas.partitions is not None:
            # Control may have been written since the inspection.
            report = replace(report, control=control_report(self._areas), data=self._data.report())
        assert self._slot is not None  # there is a certificate, and it names a slot
        return m.Hello(
            protocol=m.PROTOCOL_VERSION,
            agent_version=self._parts.version,
            slot=self._slot,
            board=settings.board,
            cpu=settings.cpu.value,
            boot_source=self._parts.words.source,
            boot_version=settings.version,
            flash=report,
            believes=inspection.believes(self._areas),
            sets=tuple(inspection.records.kept_sets.values()),
            running_set=self._machine.running,
            boot_seconds=self._host.monotonic(),
            boot_id=self._boot_id,
            key_renewed=not self._identity.kept,
            settings=self._settings.digest,
            mac="" if self._lease is None else self._lease.mac,
            package_format=FORMAT_VERSION,
            reads_features=True,
            root=self._root.report(),
        )

    def _last_lease(self) -> str | None:
        state = self._areas.state
        return (
            None
            if state is None or self._slot is None
            else kept_lease(state.document(LAST_LEASE), self._slot)
        )

    async def _keep_settings(self) -> None:
        """What to do without a master is for the time when there is none: it must be in flash."""
        policy, state, lease = self._machine.policy, self._areas.state, self._lease
        if state is None:
            return
        wanted = {NO_MASTER: f"{policy.policy} {policy.seconds}".encode()}
        if lease is not None and self._slot is not None:
            wanted[LAST_LEASE] = lease.document(self._slot)
        changes = {name: text for name, text in wanted.items() if state.document(name) != text}
        if not changes:
            return
        try:
            async with self._flash_lock:
                await asyncio.to_thread(state.commit, changes)
        except DeviceError as e:
            log.error("what to do without a master cannot be kept: %s", e)

    # What the master asks at any time.

    async def _serve(self, message: Settings | ListKept | ReadKept) -> None:
        if isinstance(message, Settings):
            # In effect before the next order is looked at; in flash as soon as flash is free.
            self._settings.current = message
            self._spawn(self._confirm(self._settings.keep(message)))
        elif self._parts.kept is not None:
            await self._send(await asyncio.to_thread(self._parts.kept.answer, message))
        elif isinstance(message, ListKept):
            await self._send(Kept(message.request, note="this card keeps no logs"))
        else:
            await self._send(Piece(message.request, error={"what": "this card keeps no logs"}))

    async def _confirm(self, keeping: Awaitable[SettingsKept | None]) -> None:
        kept = await keeping
        if kept is not None and self._machine.link is cm.LinkState.UP:
            await self._send(kept)

    # Jobs.

    async def _burn(self, order: m.Burn) -> None:
        loop = asyncio.get_running_loop()
        last = 0.0

        def report(step: str, done: int, total: int, written: int) -> None:
            nonlocal last
            now = self._host.monotonic()
            if done >= total or now - last >= PROGRESS_SECONDS:
                last = now
                message = m.Progress(step, done, total, written)
                loop.call_soon_threadsafe(self._tell, message)

        assert self._lease is not None
        settings = self._parts.settings
        blobs = self._parts.uplink.blobs(self._lease, self._identity)
        written = 0, 0
        try:
            async with self._flash_lock:
                await self._follow(order)
                burner = Burner(
                    self._areas,
                    blobs,
                    self._root.trust,
                    settings.cpu,
                    settings.board,
                    self._identity.documents,
                    report,
                    self._host.monotonic,
                )
                try:
                    if order.erase:
                        await self._data.close()
                    burned = await asyncio.to_thread(burner.burn, order)
                finally:
                    written = burner.written
                await self._inspect()
            if self._machine.running is None:
                await self._data.open()
        except FwmgrError as e:
            log.error("burn failed: %s", e)
            if order.erase and self._machine.running is None:
                await self._data.open()  # it was closed for the erase
            self._post(cm.JobFailed(cm.Order.BURN, e.document(), *written))
            return
        finally:
            blobs.close()
        log.info(
            "stored set %s: %d bytes of boot image and %d bytes of packages written",
            burned.set_digest.short,
            burned.boot_bytes_written,
            burned.package_bytes_written,
        )
        stored = m.Stored(
            burned.set_digest,
            burned.boot_bytes_written,
            burned.package_bytes_written,
            "" if burned.boot_partition is None else burned.boot_partition.value,
            burned.reboot_needed or self._machine.running not in (None, burned.set_digest),
            burned.seconds,
            replace(self._inspection.report, data=self._data.report()),
            self._root.report(),
        )
        await self._confirm(self._settings.catch_up())
        self._post(cm.BurnFinished(stored, frozenset(self._inspection.records.kept_sets)))

    def _tell(self, message: m.Progress) -> None:
        self._spawn(self._send_progress(message))

    async def _follow(self, order: m.Burn) -> None:
        """The newer root of trust that came with the order, before anything of the order is looked at."""
        if not order.root:
            return
        newer = await asyncio.to_thread(self._root.follow, b"".join(order.root))
        if newer:
            # It judges what is stored, too, whatever becomes of this burn.
            await self._inspect()

    async def _send_progress(self, message: m.Progress) -> None:
        """Nobody may be told before the master has welcomed us."""
        if self._machine.link is cm.LinkState.UP:
            await self._send(message)

    async def _run_set(self, action: cm.BeginSet) -> None:
        try:
            if action.validated:
                cpu, trust = self._parts.settings.cpu, self._root.trust
                async with self._flash_lock:
                    await asyncio.to_thread(commit_boot, self._areas, action.set_digest, trust, cpu)
                    await asyncio.to_thread(self._root.keep)
            if self._machine.running is None:
                await self._start_processes(action.set_digest)
        except FwmgrError as e:
            log.error("set %s cannot be run: %s", action.set_digest.short, e)
            self._post(cm.JobFailed(cm.Order.RUN, e.document()))
            return
        running = m.Running(action.set_digest, self._processes(), control_report(self._areas))
        self._post(cm.SetStarted(running))

    def _processes(self) -> tuple[m.ProcessReport, ...]:
        return tuple(
            m.ProcessReport(status.name, status.pid or 0, status.state.value, status.detail)
            for status in self._runner.statuses()
        )

    def _process_changed(self, status: ProcessStatus) -> None:
        if status.pid and self._parts.kept is not None:
            self._parts.kept.cores.started(status.pid, status.name)
        if self._known_states.get(status.name) is not status.state:
            self._known_states[status.name] = status.state
            log.info("process %s: %s %s", status.name, status.state.value, status.detail)
        if not self._report_due:
            # However often processes speak, the master hears of it once in a while, and of the newest.
            self._report_due = True
            asyncio.get_running_loop().call_later(STATUS_SECONDS, self._report_processes)

    def _report_processes(self) -> None:
        self._report_due = False
        self._post(cm.ProcessesChanged(self._processes()))

    def _world_lost(self, error: DeviceError) -> None:
        """The set's processes are gone and cannot be started again: start the card anew."""
        log.critical("%s", error)
        self._broken = error
        self._post(cm.TimePassed())

    async def _start_processes(self, set_digest: Digest) -> None:
        store = self._areas.store
        software = self._inspection.records.sets.get(set_digest)
        if store is None or software is None:
            raise DeviceError("the set is not in flash", where="store", expected=f"set {set_digest.short}")
        packages = []
        for ref in software.packages:
            found = self._inspection.packages.get(ref.digest)
            stored = None if found is None else found.of_set(software, store, self._parts.settings.cpu)
            if stored is None or stored.bad:
                raise DeviceError("package is not whole in flash", where=f"package {ref.name} {ref.version}")
            packages.append(InstalledPackage(ref, stored.toc, stored.modules, stored.processes))
        await self._runner.start(set_digest.short, packages, store.extent, self._settings.current)


def _policy(raw: bytes | None) -> cm.Policy:
    """What was kept of the master's wish; waiting is what a card does that was told nothing."""
    try:
        name, seconds = (raw or b"").decode().split(" ")
        return cm.Policy(name, float(seconds))
    except ValueError:
        return cm.Policy()
