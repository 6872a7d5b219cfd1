"""A simulated card: power, loader, boot ROM, and then the real agent over twins of all that it touches.

Knows what a boot goes through. What the agent does is the agent's own business.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from firmware_mgr.card.agent import Agent, AgentParts
from firmware_mgr.card.cores import CoreShelf
from firmware_mgr.card.kept import AgentLog, KeptDesk
from firmware_mgr.card.loader import LoaderWords
from firmware_mgr.card.network import AGENT_CLASS, NetworkLease, read_lease
from firmware_mgr.card.processes import ProcessStatus
from firmware_mgr.card.runner import SetRunner, Surroundings
from firmware_mgr.card.settings import AgentSettings
from firmware_mgr.card.uplink import Uplink
from firmware_mgr.flash.control import Why, decide_boot, read_control, write_control
from firmware_mgr.flash.device import Cut, PowerCut, Window
from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.flash.gpt import find, read_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.imaging.board import Board
from firmware_mgr.imaging.rootfs import ROOT_FILE
from firmware_mgr.lab.sim.flash import Medium, PoweredFlash
from firmware_mgr.lab.sim.image import Behaviour, SimImage, read_script, starts
from firmware_mgr.lab.sim.netclient import NETWORK_ERRORS, Jack, Offered, ask_dhcp, fetch_tftp
from firmware_mgr.lab.sim.process import SimProcess
from firmware_mgr.lab.sim.worlds import Script, TwinWorlds
from firmware_mgr.link.messages import BootSource
from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError
from firmware_mgr.model.ids import Digest, MacAddress, SlotId
from firmware_mgr.netboot import dhcp_codec
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.root_chain import RootChain

#: Seconds from power-on to the loader's decision, and from there to the agent.
LOADER_SECONDS = 1.0
KERNEL_SECONDS = 2.0
#: A kernel that panics restarts the card after this (panic=5), a loader that could not netboot after that.
PANIC_SECONDS = 5.0
NETBOOT_PAUSE_SECONDS = 5.0
STORE = "store"
PAGE = "This card is in service"


class Around(Protocol):
    """What a card gets from where it sits. A seam: the backplane in memory, or real sockets."""

    def jack(self) -> Jack: ...

    def uplink(self, authority: Path) -> Uplink: ...

    def serve(self, port: int, page: str) -> Callable[[], None]:
        """Answer HTTP there with this page, until what is given back is called."""
        ...

    async def answers(self, port: int) -> bool: ...

    def ended(self, process: SimProcess, *, silent: bool) -> None:
        """A boot of the card is over: nothing of it is left on the network."""
        ...


@dataclass
class Hardware:
    """What sits in the slot: swapped as a whole. `scripts` say how programs behave, by argument 0.

    `cut` lets the power fail at an operation of the flash, counted from 1 over all boots.
    """

    board: Board
    flash: Medium
    mac: MacAddress
    scripts: dict[str, list[Script]] = field(default_factory=dict)
    dead: bool = False
    cut: tuple[int, Cut] | None = None
    register: bool = True  # whether it can read its slot


#: What udhcpc says in option 60 as the agent starts it.
AGENT_DHCP = {60: AGENT_CLASS.encode()}


class SimHost:
    """See card.agent.Host."""

    def __init__(self, card: SimCard, image: SimImage) -> None:
        self._card = card
        self._image = image
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self.clock: float = float(image.build_date)

    def slot(self) -> SlotId | None:
        return self._card.slot if self._card.hardware.register else None

    def monotonic(self) -> float:
        return self._loop.time() - self._since

    def set_clock(self, time: float) -> None:
        self.clock = max(time, float(self._image.build_date))

    async def network(self, last: str | None) -> NetworkLease:
        card = self._card
        if card.lease is None:
            try:
                offered = await ask_dhcp(card.around.jack(), card.hardware.mac, card.rng, AGENT_DHCP)
            except NETWORK_ERRORS as e:
                if last is None:
                    raise DeviceError("no answer to DHCP", where="network", found=str(e)) from e
                lease = replace(read_lease(last), mac=str(card.hardware.mac))
                card.around.jack().hold(lease.address)
                return lease
            card.lease = replace(_lease(offered), mac=str(card.hardware.mac))
        return card.lease

    async def dress(self, hostname: str, addresses: tuple[str, ...]) -> None:
        self._card.dressed = hostname, addresses

    def reset(self) -> None:
        self._card.flash.sync()
        self._card.restart("reset by the agent")


def _lease(offered: Offered) -> NetworkLease:
    """In the words of udhcpc's script."""
    words = {
        "interface": "eth0",
        "ip": offered.address,
        "subnet": offered.netmask,
        "siaddr": offered.next_server,
        "serverid": offered.server,
        "lease": str(offered.lease_seconds),
        "hostname": offered.hostname,
    }
    return read_lease("".join(f"{name}='{value}'\n" for name, value in words.items()))


class SimCard:
    """One slot's card. `say` takes a line of its console; `broken` what must never happen in a card."""

    def __init__(
        self,
        slot: SlotId,
        hardware: Hardware,
        around: Around,
        *,
        loop: asyncio.AbstractEventLoop,
        directory: Path,
        rng: random.Random,
        say: Callable[[str], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        self.slot = slot
        self.hardware = hardware
        self.around = around
        self.rng = rng
        self.lease: NetworkLease | None = None
        self.dressed: tuple[str, tuple[str, ...]] = "", ()
        self.boots = 0
        self.brownouts = 0
        self._loop = loop
        self._directory = directory
        self._say = say
        self._broken = broken
        self._process: SimProcess | None = None
        self.flash: PoweredFlash
        self.worlds: TwinWorlds | None = None

    # Power.

    @property
    def powered(self) -> bool:
        return self._process is not None

    def power_on(self, host: object, *, netboot: bool) -> None:
        assert self._process is None, "power on a card that has power"
        self._host = host
        self._begin(netboot)

    def power_off(self) -> None:
        """The power goes, between any two instructions: what was not synced is lost, torn or kept."""
        if self._process is not None:
            self._end()
            self.hardware.flash.crash(self.rng)

    def restart(self, why: str) -> None:
        """The card starts anew by itself; what was written but not synced is decided by who calls."""
        self._say(f"restart: {why}")
        if self._process is not None:
            self._process.dead = True
            self._loop.call_soon(self._again, self._process, context=Context())

    def _again(self, process: SimProcess) -> None:
        if self._process is process:
            self._end()
            self._begin(netboot=False)

    def _end(self) -> None:
        assert self._process is not None
        process, self._process = self._process, None
        process.kill()
        self.flash.end()
        self.lease = None
        self.around.jack().hold(None)
        self.around.ended(process, silent=True)

    def _begin(self, netboot: bool) -> None:
        self.boots += 1
        process = self._process = SimProcess(f"slot {self.slot} boot {self.boots}", self._host)
        process.say = self._say
        medium = self.hardware.flash
        if self.hardware.cut is not None and self.hardware.cut[0] > medium.operations:
            medium.cut_power(self.hardware.cut[0] - medium.operations, self.hardware.cut[1])
        self.flash = PoweredFlash(medium, self._brownout)
        if not self.hardware.dead:
            task = process.spawn(self._boot(netboot))
            task.add_done_callback(self._ended)

    def _brownout(self) -> None:
        """The power failed at an operation of the flash and comes back at once. Called in any thread."""
        process = self._process
        assert process is not None
        process.dead = True
        self._loop.call_soon_threadsafe(self._after_brownout, process, context=Context())

    def _after_brownout(self, process: SimProcess) -> None:
        if self._process is process:
            self._end()
            self.hardware.flash.crash(self.rng)
            self.brownouts += 1
            self._begin(netboot=False)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A boot never ends by itself: it resets, hangs, or an agent that is not whole goes."""
        if task.cancelled() or task.exception() is None or isinstance(task.exception(), PowerCut):
            return
        error = task.exception()
        assert error is not None
        if isinstance(error, FwmgrError):
            self._say(f"agent ended: {error}")
            self._loop.call_later(PANIC_SECONDS, self.restart, "init restarts the card")
        else:
            self._broken(error)

    def boot_windows(self) -> list[Window]:
        """Both boot partitions, as they lie on the medium. Raises FlashFormatError without a table."""
        medium = self.hardware.flash
        table = read_table(medium)
        return [find(table, letter.partition).window(medium) for letter in Letter]

    # From power-on to the agent.

    async def _boot(self, lever: bool) -> None:
        while True:
            await asyncio.sleep(LOADER_SECONDS)
            words, image = (LoaderWords(BootSource.NETBOOT, "netboot"), None) if lever else self._select()
            if image is None:
                image = await self._netboot()
            if image is not None:
                await self._start(image, words)
                return
            lever = False
            self._say("FW: netboot failed, reset")
            await asyncio.sleep(NETBOOT_PAUSE_SECONDS)

    def _select(self) -> tuple[LoaderWords, SimImage | None]:
        """What U-Boot's selector script does, by flash.control's table; nothing on flash without a table."""
        try:
            table = read_table(self.flash)
            windows = {letter: find(table, letter.partition).window(self.flash) for letter in Letter}
            control = find(table, "control").window(self.flash)
        except FlashFormatError:
            return LoaderWords(BootSource.NETBOOT, "netboot"), None
        images = {letter: starts(window, self.hardware.board.name) for letter, window in windows.items()}
        state = read_control(control)
        decision = decide_boot(state, [letter for letter, image in images.items() if image is not None])
        if decision.record.seq != state.effective.seq:
            write_control(control, decision.record)
        failed = "".join(letter.value for letter in decision.failed)
        letter = decision.target.letter
        if letter is None:
            why = decision.why.value if decision.why is Why.TRIAL else "netboot"
            self._say(f"FW: netboot why={why} fail={failed}")
            return LoaderWords(BootSource.NETBOOT, "netboot", failed), None
        self._say(f"FW: start {letter.value} why={decision.why.value} left={decision.left} fail={failed}")
        return LoaderWords(BootSource(letter.value), decision.why.value, failed), images[letter]

    async def _netboot(self) -> SimImage | None:
        """DHCP, the script, then what the script names, checked before it is started."""
        board = self.hardware.board
        identity = {
            dhcp_codec.OPT_VENDOR_CLASS: board.netboot.vendor_classes[0].encode(),
            dhcp_codec.OPT_CLIENT_ARCH: board.netboot.client_architectures[0].to_bytes(2, "big"),
        }
        jack = self.around.jack()
        try:
            lease = await ask_dhcp(jack, self.hardware.mac, self.rng, identity)
            name, digest = read_script(
                await fetch_tftp(jack, lease.address, lease.next_server, lease.boot_file)
            )
            data = await fetch_tftp(jack, lease.address, lease.next_server, name)
            if Digest.of(data) != digest:
                raise PeerError("netbooted image has another digest", expected=digest, found=Digest.of(data))
            image = SimImage.decode(data)
            if image.board != board.name:
                raise PeerError(
                    "netbooted image is for another board", expected=board.name, found=image.board
                )
        except NETWORK_ERRORS as e:
            self._say(f"FW: netboot: {e}")
            return None
        finally:
            jack.hold(None)
        return image

    async def _start(self, image: SimImage, words: LoaderWords) -> None:
        await asyncio.sleep(KERNEL_SECONDS)
        self._say(f"kernel of {image.version}: {image.behaviour.value}, from {words.source.value}")
        if image.behaviour is Behaviour.HANG:
            return
        if image.behaviour is Behaviour.PANIC:
            self._say("Kernel panic - not syncing")
            await asyncio.sleep(PANIC_SECONDS)
            self.hardware.flash.sync()
            self.restart("panic")
            return
        await Agent(self._parts(image, words)).run()

    def _parts(self, image: SimImage, words: LoaderWords) -> AgentParts:
        home = self._directory / "boot"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        authority = home / "authority.pem"
        authority.write_text(image.trust["authority.pem"])
        settings = AgentSettings(
            board=image.board,
            cpu=image.cpu,
            version=image.version,
            build_date=image.build_date,
            flash_device=home / "flash",
            flash=image.layout,
            slot_register=home / "slot",
            authority=authority,
            keyring=Keyring.load(json.loads(image.trust["keys.json"])),
            root=_root(image),
            takes_test=image.takes_test,
        )

        def make_runner(
            on_change: Callable[[ProcessStatus], None], on_lost: Callable[[DeviceError], None]
        ) -> SetRunner:
            self.worlds = TwinWorlds(self.hardware.scripts, serve=self._serve)
            return SetRunner(
                store_partition=home / STORE,
                state_directory=home / "state",
                run_directory=home / "run",
                on_change=on_change,
                on_lost=on_lost,
                worlds=self.worlds,
                surroundings=Surroundings(self._measure, self.around.answers),
            )

        return AgentParts(
            settings,
            image.agent_version,
            SimHost(self, image),
            self.flash,
            words,
            make_runner,
            self.around.uplink(authority),
            # Its agent's log goes where those of all cards go: they share one process.
            kept=KeptDesk(home / "run" / "log", AgentLog(), CoreShelf(home / "run")),
        )

    def _measure(self, _partition: Path) -> int:
        return find(read_table(self.flash), STORE).size

    def _serve(self, port: int) -> Callable[[], None]:
        return self.around.serve(port, f"<html><body>{PAGE}, slot {self.slot}.</body></html>\n")


def _root(image: SimImage) -> RootChain | None:
    text = image.trust.get(ROOT_FILE)
    return None if text is None else RootChain.decode(text.encode()).require()
