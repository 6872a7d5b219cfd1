"""A whole chassis with its master in one process and in virtual time: docs/SIM.md.

Composes master, backplane and cards, kills and starts the master, and asks its API as the CLI does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firmware_mgr.app.master import HISTORY_LENGTH, Ground, Part, compose, known_boards
from firmware_mgr.flash.device import MemoryDevice
from firmware_mgr.imaging.manifest import BootImage
from firmware_mgr.lab.plan import mac_of
from firmware_mgr.lab.sim.around import WireAround
from firmware_mgr.lab.sim.card import Hardware
from firmware_mgr.lab.sim.chassis import ANSWER_SECONDS, Bay, SimChassis
from firmware_mgr.lab.sim.faults import FaultPlan
from firmware_mgr.lab.sim.image import DEFAULT_SIZE, Behaviour, build_sim_image
from firmware_mgr.lab.sim.loop import UNIX_START, SimLoop
from firmware_mgr.lab.sim.process import PROCESS, SimProcess
from firmware_mgr.lab.sim.sockets import SimNetwork
from firmware_mgr.lab.sim.software import BOARD_FILES, good_scripts, sim_boards, web_package
from firmware_mgr.lab.sim.wire import Host, Wire
from firmware_mgr.master.catalogue_sqlite import Publish, SqliteCatalogue
from firmware_mgr.master.hands import SlotSight
from firmware_mgr.master.migration import migrate_catalogue
from firmware_mgr.master.settings import Settings
from firmware_mgr.master.site import MasterPaths, write_trust
from firmware_mgr.model.ids import MacAddress, SlotId
from firmware_mgr.packaging.keys import SigningKey
from firmware_mgr.rack.client import as_error
from firmware_mgr.rack.hands import PowerAction

MASTER = IPv4Interface("10.77.0.1/24")
#: Files that need no disk are kept in memory where the system has such a place.
_IN_MEMORY = Path("/dev/shm")

#: What is written to consoles and to the master's log, from which level on.
_LOGGERS = {"agent": logging.INFO, "firmware_mgr": logging.INFO}

T = TypeVar("T")


class _ProcessLog(logging.Handler):
    """What a process logs goes where it would go: a card's to its console, the master's to its log."""

    def __init__(self, system: SimSystem) -> None:
        super().__init__()
        self._system = system

    def emit(self, record: logging.LogRecord) -> None:
        process = PROCESS.get()
        if process is None or process.dead:
            return
        if process.say is not None:
            process.say(f"fwmgr-agent: {record.getMessage()}")
        else:
            self._system.log.append(f"{self._system.loop.time():9.3f} {record.name}: {record.getMessage()}")


class SimClock:
    """See netboot.clock.Clock."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def unix(self) -> float:
        return self._loop.unix()

    def monotonic(self) -> float:
        return self._loop.time()


class SimHands:
    """See master.hands.Hands. What was begun is finished, also when the master dies meanwhile."""

    def __init__(self, chassis: SimChassis, daemon: SimProcess) -> None:
        self._chassis = chassis
        self._daemon = daemon

    async def slots(self) -> list[SlotSight]:
        await asyncio.sleep(ANSWER_SECONDS)
        return [
            SlotSight(r.slot, r.mac, r.board, r.present, r.power.value == "on", r.power_on_count)
            for r in self._chassis.slots()
        ]

    async def cycle(self, slot: SlotId, *, netboot: bool) -> None:
        await asyncio.sleep(ANSWER_SECONDS)
        work = self._chassis.power(slot, PowerAction.CYCLE, netboot=netboot)
        await asyncio.shield(self._daemon.spawn(work))


class CountedCatalogue(SqliteCatalogue):
    """Tells of each commit, on the worker, once it is on disk."""

    on_commit: Callable[[], None] = staticmethod(lambda: None)

    def _transact(self, prepared: Any, publish: Publish) -> int:
        revision = super()._transact(prepared, publish)
        self.on_commit()
        return revision


class SimMaster:
    """One run of the master: from its start to its stop or its kill."""

    def __init__(self, system: SimSystem, options: Mapping[str, Any]) -> None:
        self.system = system
        self.process = SimProcess("master", system.master_host)
        self.commits = 0
        self._options = dict(options)
        self._parts: list[Part] = []

    async def start(self) -> None:
        system, paths = self.system, self.system.paths
        loop, wire = system.loop, system.wire
        settings = Settings(MASTER.ip, MASTER.network, **self._options)
        migrate_catalogue(paths.catalogue)
        self.catalogue = CountedCatalogue(paths.catalogue, loop.time, history_length=HISTORY_LENGTH)
        self.catalogue.on_commit = self._committed
        listen: Any = wire.listen
        ground = Ground(
            self.catalogue,
            SimHands(system.chassis, system.daemon) if system.backplane else None,
            known_boards(BOARD_FILES),
            unix=loop.unix,
            monotonic=loop.time,
            clock=SimClock(loop),
            network=SimNetwork(wire),  # type: ignore[arg-type]
            listen=listen,
        )
        self.master, self._parts = compose(paths, MASTER, settings, ground)
        for part in self._parts:
            await part.start()
        broken = self.master.engine.broken
        assert broken is not None
        broken.add_done_callback(lambda _: system.broke(AssertionError("the master broke")))

    async def stop(self) -> None:
        for part in reversed(self._parts):
            await part.stop()
        self.catalogue.close()
        self.system.wire.process_died(self.process, silent=False)

    def kill(self) -> None:
        """kill -9, now."""
        if self.process.dead:
            return
        self.process.kill()
        self.system.wire.process_died(self.process, silent=False)
        self.system.loop.end_jobs(self.process)
        self.system.loop.dead.append(self.process)
        self.catalogue.close()

    def _committed(self) -> None:
        self.commits += 1
        if self.system.kill_after_commit == self.commits:
            self.system.kill_after_commit = None
            self.process.dead = True
            self.system.loop.call_soon_threadsafe(self.system.master_died, self, context=Context())


class SimSystem:
    """`close` ends it. All waiting is in virtual time; the calls themselves return when it has passed.

    `boards` are dealt out over the slots; all that there are when it is None. `site` is a master's directory
    to begin with a copy of. Without `flash_bytes` each card's flash is as large as its board's. Without a
    `backplane` no card can read its slot, and the master has no hands.
    """

    def __init__(
        self,
        cards: int,
        *,
        seed: int = 0,
        boards: tuple[str, ...] | None = ("sim-aarch64",),
        plan: FaultPlan | None = None,
        unix_start: float = UNIX_START,
        site: Path | None = None,
        flash_bytes: int | None = None,
        backplane: bool = True,
    ) -> None:
        self.backplane = backplane
        parent = _IN_MEMORY if _IN_MEMORY.is_dir() else None
        self.directory = Path(tempfile.mkdtemp(prefix="fwsim-", dir=parent))
        self.paths = MasterPaths(self.directory / "m")
        if site is not None:
            shutil.copytree(site, self.paths.directory)
        self.loop = SimLoop(seed, unix_start)
        self.wire = Wire(self.loop, plan)
        self.master_host = self.wire.host("master", str(MASTER.ip))
        self.daemon = SimProcess("chassis", None)
        self.boards = sim_boards()
        self._flash_bytes = flash_bytes
        self.failures: list[BaseException] = []
        self.log: list[str] = []
        self._listening = _ProcessLog(self)
        for name, level in _LOGGERS.items():
            logging.getLogger(name).addHandler(self._listening)
            logging.getLogger(name).setLevel(level)
        self.kill_after_commit: int | None = None
        self.on_master_death: Callable[[], None] = lambda: None
        self.master: SimMaster | None = None
        self.rng = random.Random(seed)
        chance = random.Random(self.rng.getrandbits(64))
        self.chassis = SimChassis(self.loop, chance, self.loop.unix, self.broke)
        self.chassis.on_power = self._power_changed
        self.key: SigningKey
        self._furnish(cards, tuple(self.boards) if boards is None else boards)

    def _furnish(self, cards: int, boards: tuple[str, ...]) -> None:
        for number in range(1, cards + 1):
            slot = SlotId(number)
            host = self.wire.host(f"slot {slot}")
            host.powered = False
            self.chassis.add_slot(slot, WireAround(self.wire, host), host, self.directory / f"slot-{number}")
            self.chassis.insert(slot, self.hardware(boards[(number - 1) % len(boards)], mac_of(slot)))

    def hardware(self, board: str, mac: MacAddress, flash_bytes: int | None = None) -> Hardware:
        """A new card, pristine."""
        kind = self.boards[board]
        flash = MemoryDevice(flash_bytes or self._flash_bytes or kind.flash.size)
        return Hardware(kind, flash, mac, good_scripts(), register=self.backplane)

    def _power_changed(self, bay: Bay, on: bool) -> None:
        assert isinstance(bay.host, Host)
        bay.host.powered = on

    @property
    def slots(self) -> tuple[SlotId, ...]:
        return tuple(self.chassis.bays)

    # Running.

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Let time pass until this is done. Raises what any part of the twin found to be wrong."""
        result = self.loop.run_until_complete(work)
        if self.failures:
            raise self.failures[0]
        return result

    def pass_time(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    def broke(self, error: BaseException) -> None:
        self.failures.append(error)

    def close(self) -> None:
        if self.master is not None:
            self.master.kill()
        for bay in self.chassis.bays.values():
            if bay.card is not None:
                bay.card.power_off()
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self._listening)
        self.loop.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # The site.

    def make_site(self) -> None:
        """A package key that the master trusts, and the trust that boot images carry."""
        self.paths.make()
        self.key = SigningKey(Ed25519PrivateKey.generate())
        pem = self.key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.paths.keys / "sim.pem").write_bytes(pem)
        write_trust(self.paths)

    def build_image(
        self,
        board: str,
        version: str,
        *,
        behaviour: Behaviour = Behaviour.GOOD,
        agent_version: str = "sim",
        size: int = DEFAULT_SIZE,
        takes_test: bool = False,
    ) -> BootImage:
        return build_sim_image(
            self.boards[board],
            trust=self.paths.trust,
            out=self.directory / "images" / f"{board}-{version}",
            version=version,
            behaviour=behaviour,
            agent_version=agent_version,
            size=size,
            takes_test=takes_test,
        )

    def build_package(self, version: str = "1.0", **options: Any) -> Path:
        path = self.directory / f"web-{version}.fwp"
        path.write_bytes(web_package(self.key, version, **options))
        return path

    # The master.

    def start_master(self, **options: Any) -> None:
        """Start it and wait until it has seen every slot. `options` are those of master.settings.Settings."""
        assert self.master is None
        master = self.master = SimMaster(self, options)
        self.run(_joined(master.process.context.run(self.loop.create_task, master.start())))
        expected = len(self.slots) if self.backplane else 0
        self.wait_until("the master answers", lambda: self.get("/v1/status")["cards"] >= expected, 40.0)

    def kill_master(self) -> None:
        if self.master is not None:
            self.master.kill()
            self.master = None

    def stop_master(self) -> None:
        if self.master is not None:
            self.run(_joined(self.master.process.context.run(self.loop.create_task, self.master.stop())))
            self.master = None

    def master_died(self, master: SimMaster) -> None:
        """It was killed at a point that was set before."""
        master.process.dead = False
        master.kill()
        if self.master is master:
            self.master = None
        self.on_master_death()

    # Its API.

    def get(self, path: str, **query: str) -> Any:
        return self.run(self.ask("GET", path, query=query))

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self.run(self.ask("POST", path, body=body or {}))

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> Any:
        """As master.client.MasterClient. Raises FwmgrError, or OSError when no master answers."""
        target = quote(path) + (f"?{urlencode(query)}" if query else "")
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {target} HTTP/1.1\r\nHost: master\r\nConnection: close\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        raw = await self.exchange(
            partial(self.wire.connect_path, path=str(self.paths.api)), head.encode() + content
        )
        first, _, rest = raw.partition(b"\r\n")
        document = json.loads(rest.partition(b"\r\n\r\n")[2])
        if first.split()[1] != b"200":
            raise as_error(document, "the master's API")
        return document

    async def exchange(self, connect: Any, request: bytes) -> bytes:
        """Send a request and read until the other end closes."""
        reader = asyncio.StreamReader(limit=1 << 24)
        transport, _ = await connect(lambda: asyncio.StreamReaderProtocol(reader))
        transport.write(request)
        answer = await reader.read(-1)
        transport.close()
        return answer

    def state(self, slot: SlotId) -> str:
        """The card's state as the master has it, not asked over the API; empty while there is no master."""
        if self.master is None or self.master.process.dead:
            return ""
        return self.master.master.roster.get(slot).life.state.value

    def page(self, slot: SlotId, port: int = 8080) -> str:
        """What the card's web server says to somebody on the backplane; empty when nothing answers."""
        host = self.chassis.bay(slot).host
        assert isinstance(host, Host)
        if host.address is None:
            return ""
        here = SimProcess("user", self.master_host)
        address = host.address

        async def fetch() -> str:
            try:
                raw = await self.exchange(
                    lambda factory: self.wire.create_connection(factory, address, port),
                    b"GET / HTTP/1.0\r\n\r\n",
                )
            except OSError:
                return ""
            return raw.partition(b"\r\n\r\n")[2].decode()

        return self.run(_joined(here.context.run(self.loop.create_task, fetch())))

    # Waiting.

    def wait_until(
        self,
        what: str,
        condition: Callable[[], T | None],
        within: float,
        *,
        describe: Callable[[], str] = str,
        step: float = 0.25,
    ) -> T:
        """The first true value of `condition`. Raises AssertionError after `within` virtual seconds."""
        deadline = self.loop.time() + within
        while True:
            value = condition()
            if value:
                return value
            if self.loop.time() > deadline:
                raise AssertionError(f"not within {within:g} virtual s: {what}. {describe()}")
            self.pass_time(step)


async def _joined(task: asyncio.Task[T]) -> T:
    return await task
