"""The card's process: the agent with the real flash, network, processes and power of the card it runs on."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from firmware_mgr import __version__
from firmware_mgr.card.agent import Agent, AgentParts
from firmware_mgr.card.boot_variables import BootVariables
from firmware_mgr.card.cores import CoreShelf, catch_cores
from firmware_mgr.card.data_volume import Ext4Volume
from firmware_mgr.card.dress import dress_host
from firmware_mgr.card.efi_variables import EfivarFs
from firmware_mgr.card.fw_cfg import MappedRegisters, NoSuchFile, read_file
from firmware_mgr.card.kept import AgentLog, KeptDesk
from firmware_mgr.card.loader import LOADER_WORDS, LoaderWords
from firmware_mgr.card.network import NetworkLease, bring_up, wait_lease
from firmware_mgr.card.partitions import partition_node
from firmware_mgr.card.runner import ProcessStatus, SetRunner, prepare_root
from firmware_mgr.card.settings import AgentSettings
from firmware_mgr.card.uplink import TlsUplink
from firmware_mgr.flash.device import FileDevice
from firmware_mgr.flash.gpt import DATA as DATA_PARTITION
from firmware_mgr.flash.gpt import STORE
from firmware_mgr.model.errors import DeviceError, FwmgrError
from firmware_mgr.model.ids import SlotId

RUN = Path("/run/fwmgr")
#: What processes keep, and core dumps: a file system in flash is mounted on DATA when there is one.
DATA = RUN / "data"
STATE = DATA / "state"
#: linux/reboot.h
_REBOOT_RESTART = 0x01234567

log = logging.getLogger("agent")


class LinuxHost:
    """The card as its kernel shows it."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._up = False

    def slot(self) -> SlotId | None:
        path, device = self._settings.slot_register, self._settings.slot_fw_cfg
        if device is not None:
            try:
                text = read_file(MappedRegisters(device.address), device.name)
            except NoSuchFile:
                return None
            return SlotId.parse(text.decode("ascii", "replace").strip("\0\n "))
        if path is None:
            return None
        try:
            return SlotId.parse(path.read_text().strip("\0\n "))
        except FileNotFoundError:
            return None
        except OSError as e:
            raise DeviceError("slot register cannot be read", where=str(path), found=e.strerror) from e

    def monotonic(self) -> float:
        """Seconds since the kernel started."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def set_clock(self, time_: float) -> None:
        time.clock_settime(time.CLOCK_REALTIME, max(time_, float(self._settings.build_date)))

    async def network(self, last: str | None) -> NetworkLease:
        if not self._up:
            await bring_up(self._interface())
            self._up = True
        mac = Path("/sys/class/net", self._interface(), "address").read_text().strip()
        return replace(await wait_lease(last), mac=mac)

    def _interface(self) -> str:
        interfaces = sorted(path.name for path in Path("/sys/class/net").iterdir() if path.name != "lo")
        if not interfaces:
            raise DeviceError("there is no network interface", where="/sys/class/net")
        return interfaces[0]

    async def dress(self, hostname: str, addresses: tuple[str, ...]) -> None:
        """See DressedHost."""
        await dress_host(self._interface(), hostname, addresses)

    def reset(self) -> None:
        logging.shutdown()
        os.sync()
        ctypes.CDLL(None, use_errno=True).reboot(_REBOOT_RESTART)


async def run(own_log: AgentLog) -> None:
    prepare_root()
    settings = AgentSettings.load()
    host = LinuxHost(settings)
    log.info("clock at start: %s UTC", time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()))
    host.set_clock(max(time.time(), float(settings.build_date)))
    flash = settings.flash_device

    def make_runner(
        on_change: Callable[[ProcessStatus], None], on_lost: Callable[[DeviceError], None]
    ) -> SetRunner:
        return SetRunner(
            store_partition=lambda: partition_node(flash, STORE),
            state_directory=STATE,
            run_directory=RUN,
            on_change=on_change,
            on_lost=on_lost,
        )

    words = LoaderWords.read(_said_by_loader())
    firmware = BootVariables(EfivarFs(), settings.cpu) if settings.loader == "uefi" else None
    uplink = TlsUplink(settings.authority)
    try:
        catch_cores(RUN)
    except DeviceError as e:
        log.error("%s", e)
    volume = Ext4Volume(flash, DATA_PARTITION, DATA)
    kept = KeptDesk(RUN / "log", own_log, CoreShelf(RUN))
    device = FileDevice(flash)
    parts = AgentParts(
        settings,
        __version__,
        host,
        device,
        words,
        make_runner,
        uplink,
        kept,
        firmware=firmware,
        data=volume,
    )
    await Agent(parts).run()


def _said_by_loader() -> str:
    """The kernel's command line, and what the early selector of a UEFI board left."""
    left = LOADER_WORDS.read_text() if LOADER_WORDS.exists() else ""
    return f"{Path('/proc/cmdline').read_text()} {left}"


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="fwmgr-agent: %(message)s")
    own_log = AgentLog()
    logging.getLogger().addHandler(own_log)
    RUN.mkdir(parents=True, exist_ok=True)
    STATE.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(run(own_log))
    except FwmgrError as e:
        log.error("%s", e)
        raise SystemExit(1) from e


if __name__ == "__main__":
    main()
