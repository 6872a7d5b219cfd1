"""The master's process: catalogue, netboot servers, link, bulk and API, until it is told to end.

Started by `fwmgr master run` as `python -m firmware_mgr.app.master`, inside the chassis network if any.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Protocol

from firmware_mgr.imaging.board import SHIPPED_BOARDS, Board, load_board
from firmware_mgr.imaging.manifest import PARTITION_FILE, read_boot_image
from firmware_mgr.link.messages import BootPieces
from firmware_mgr.master.api import Api
from firmware_mgr.master.api_snapshot import snapshot_route
from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.master.card_life import Deadlines
from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue
from firmware_mgr.master.composites import CompositeReader
from firmware_mgr.master.hands import Hands, SlotSight
from firmware_mgr.master.https import HttpsServer, bulk_app, enrolment_app
from firmware_mgr.master.intake import Intake, ReadImage, Site
from firmware_mgr.master.leases import CatalogueLeases
from firmware_mgr.master.link_server import LinkServer, listen_tcp
from firmware_mgr.master.migration import migrate_catalogue
from firmware_mgr.master.record import BurnLog
from firmware_mgr.master.sealed import SealedFiles
from firmware_mgr.master.service import Master
from firmware_mgr.master.service_manager import ServiceManager
from firmware_mgr.master.settings import BoardFacts, Settings, Wiring
from firmware_mgr.master.site import NETWORK_MOVED, MasterPaths
from firmware_mgr.master.site_root import site_trust
from firmware_mgr.master.software_api import software_routes
from firmware_mgr.master.trust import key_fingerprint, open_authority, open_record_key
from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError, UsageError
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.model.lifecycle import CardState
from firmware_mgr.model.pristine import Provisioning
from firmware_mgr.netboot.clock import Clock, SystemClock
from firmware_mgr.netboot.served import BootFile
from firmware_mgr.netboot.servers import NetbootServers
from firmware_mgr.netboot.sockets import KernelNetwork, Network
from firmware_mgr.package.trust import Trust
from firmware_mgr.rack.client import HandsClient
from firmware_mgr.rack.hands import PowerAction, PowerState

log = logging.getLogger("master")

#: Of a boot image's folder, what lies here is served by netboot, under its name without the folder.
_NETBOOT_FOLDER = "net/"
#: Commits that the catalogue keeps for watches: nobody watches from far back.
HISTORY_LENGTH = 256


class ClientHands:
    """The master's hands: the API of a chassis or rack daemon.

    `moved` is set when the daemon that answers has another network than the one that answered first: it has
    been started anew, and the cards are where this process cannot reach them.
    """

    def __init__(self, client: HandsClient) -> None:
        self._client = client
        self._network: tuple[str, ...] | None = None
        self._sure = False
        self.moved = asyncio.Event()

    async def slots(self) -> list[SlotSight]:
        try:
            if not self._sure:
                await self._look_where()
            registers = await self._client.slots()
        except FwmgrError:
            self._sure = False
            raise
        return [
            SlotSight(r.slot, r.mac, r.board, r.present, r.power is PowerState.ON, r.power_on_count)
            for r in registers
        ]

    async def _look_where(self) -> None:
        enter = (await self._client.status()).enter
        if self._network is None:
            self._network = enter
        if enter != self._network:
            self.moved.set()
            raise DeviceError("the chassis has been started anew, in another network", where="hands")
        self._sure = True

    async def cycle(self, slot: SlotId, *, netboot: bool) -> None:
        await self._client.power(slot, PowerAction.CYCLE, netboot=netboot)


def read_image(folder: Path, boards: Mapping[str, BoardFacts]) -> ReadImage:
    """A boot image's folder, checked against its manifest and the board that it is for."""
    image = read_boot_image(folder)
    manifest = image.manifest
    board = boards.get(manifest.board)
    where = f"boot image {manifest.version}"
    if board is None:
        known = ", ".join(sorted(boards))
        raise PeerError(
            "boot image is for a board unknown here", where=where, expected=known, found=manifest.board
        )
    if board.cpu is not manifest.cpu:
        raise PeerError(
            "boot image is for another CPU", where=where, expected=board.cpu.value, found=manifest.cpu.value
        )
    partition = manifest.files[PARTITION_FILE]
    files = {
        name.removeprefix(_NETBOOT_FOLDER): (image.path(name), summary.digest, summary.length)
        for name, summary in manifest.files.items()
        if name.startswith(_NETBOOT_FOLDER)
    }
    board.check_lengths({name: length for name, (_, _, length) in files.items()}, where)
    pieces = BootPieces(partition.piece_size, partition.pieces)
    read = ReadImage(manifest.reference, image.path(PARTITION_FILE), pieces, files)
    if manifest.trust is None:
        return read
    trust = manifest.trust
    keys = tuple(Digest(key) for key in trust.keys)
    return replace(read, authority=trust.authority, keys=keys, root=trust.root, takes_test=trust.takes_test)


def known_boards(extra: Sequence[Path] = ()) -> dict[str, BoardFacts]:
    """The facts of every board file that is shipped or named."""
    boards = [load_board(path) for path in (*sorted(SHIPPED_BOARDS.glob("*.toml")), *extra)]
    return {board.name: board_facts(board) for board in boards}


def board_facts(board: Board) -> BoardFacts:
    """What the master needs of a board file."""
    netboot = board.netboot
    return BoardFacts(
        name=board.name,
        cpu=board.cpu,
        client_architectures=frozenset(netboot.client_architectures),
        boot_file=netboot.boot_file,
        vendor_classes=netboot.vendor_classes,
        refused_tftp_options=frozenset(netboot.refused_tftp_options),
        max_tftp_blocks=netboot.max_tftp_blocks,
        tftp_block_size=netboot.tftp_block_size,
        provisioning=Provisioning(board.pristine.order, board.pristine.save_image),
        needs={
            CardState[name.upper()]: seconds
            for name, seconds in board.deadlines.model_dump(exclude_none=True).items()
        },
        boot_files=tuple(BootFile(row.client, row.file, row.is_ipxe) for row in netboot.boot_files),
    )


class Part(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def run(options: argparse.Namespace) -> None:
    paths = MasterPaths(options.dir)
    paths.make()
    try:
        interface = IPv4Interface(options.address)
        deadlines = Deadlines(**json.loads(options.deadlines))
    except (ValueError, TypeError) as e:
        names = ", ".join(field.name for field in fields(Deadlines))
        expected = f'such as 10.77.0.1/24 and {{"booting": 60}}; deadlines are {names}'
        raise UsageError("unusable --address or --deadlines", expected=expected, found=str(e)) from e
    settings = Settings(
        interface.ip,
        interface.network,
        deadlines=deadlines,
        trial_tries=options.trial_tries,
        no_master_policy=options.no_master_policy,
        no_master_seconds=options.no_master_seconds,
        adopt=options.adopt,
        accept_test=options.accept_test,
        wiring=Wiring.parse(options.router, options.subnet, options.relay),
    )
    migrated = migrate_catalogue(paths.catalogue)
    if migrated is not None:
        log.info("%d documents brought to today's form; before: %s", migrated.documents, migrated.backup)
    catalogue = SqliteCatalogue(paths.catalogue, time.monotonic, history_length=HISTORY_LENGTH)
    hands = ClientHands(HandsClient(options.hands)) if options.hands else None
    ground = Ground(catalogue, hands, known_boards(options.board), interface=options.interface)
    master, parts = compose(paths, interface, settings, ground)
    parts.append(ServiceManager(os.environ))
    try:
        await _run_parts(parts, master, hands)
    finally:
        catalogue.close()


@dataclass(frozen=True, slots=True)
class Ground:
    """What a master stands on: this machine's clock and sockets, or a twin's.

    `unix` gives seconds since 1970, `monotonic` seconds that never run backwards.
    """

    catalogue: SqliteCatalogue
    hands: Hands | None
    boards: dict[str, BoardFacts]
    interface: str | None = None
    unix: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    clock: Clock = field(default_factory=SystemClock)
    network: Network = field(default_factory=KernelNetwork)
    listen: Callable[[str, int], socket.socket] = listen_tcp


def compose(
    paths: MasterPaths, interface: IPv4Interface, settings: Settings, ground: Ground
) -> tuple[Master, list[Part]]:
    """The master and its parts, in the order in which they are to be started."""
    catalogue = ground.catalogue
    blobs = BlobStore(paths.blobs)
    authority = open_authority(paths.authority)

    def trust() -> Trust:
        return site_trust(paths, takes_test=settings.accept_test)

    master = Master(
        catalogue=catalogue,
        blobs=blobs,
        authority=authority,
        burn_log=BurnLog(catalogue, open_record_key(paths.authority)),
        hands=ground.hands,
        boards=ground.boards,
        settings=settings,
        sealed=SealedFiles(paths.settings, paths.authority),
        trust=trust,
        roots=paths.read_root,
        clock=ground.unix,
        monotonic=ground.monotonic,
    )
    leases = CatalogueLeases(catalogue)
    netboot = NetbootServers(
        master.roster,
        leases,
        settings.server_identity(),
        interface=ground.interface,
        clock=ground.clock,
        on_event=master.netbooted,
        network=ground.network,
    )
    host, ports = str(interface.ip), settings.ports
    enrolment = enrolment_app(master.enrol)
    bulk = bulk_app(master.find_blob, master.bulk_served)
    intake = Intake(
        catalogue,
        blobs,
        trust,
        lambda folder: read_image(folder, ground.boards),
        ground.unix,
        site=Site(Digest(key_fingerprint(authority.certificate.public_key())), paths.trust),
    )
    composites = CompositeReader(intake, trust, ground.unix, paths.unpack)
    link = LinkServer(master.conversation, authority.link_context(), host, ports.link, ground.listen)
    parts: list[Part] = [
        master,
        link,
        HttpsServer(enrolment, authority.enrolment_context(), host, ports.enrol, ground.listen),
        HttpsServer(bulk, authority.link_context(), host, ports.bulk, ground.listen),
        leases,
        netboot,
        Api(
            master,
            paths.api,
            (snapshot_route(catalogue, paths), *software_routes(master, intake, composites)),
        ),
    ]
    return master, parts


class NetworkMovedError(DeviceError):
    """This process is in a network that the chassis has no more."""


async def _run_parts(parts: list[Part], master: Master, hands: ClientHands | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    started: list[Part] = []
    try:
        for part in parts:
            await part.start()
            started.append(part)
        log.info("master is up on %s, pid %d", master.settings.address, os.getpid())
        assert master.engine.broken is not None
        master.engine.broken.add_done_callback(lambda _: stopping.set())
        if hands is not None:
            moved = asyncio.create_task(hands.moved.wait())
            moved.add_done_callback(lambda _: stopping.set())
        await stopping.wait()
        if hands is not None and hands.moved.is_set():
            raise NetworkMovedError(
                "the chassis has been started anew, in another network",
                where="hands",
                hint="start the master again: it goes on where it was",
            )
        if master.engine.broken.done():
            raise DeviceError(
                "the master broke", where="log above", hint="start it again: it goes on where it was"
            )
    finally:
        for part in reversed(started):
            await part.stop()


def _take_descriptors() -> None:
    """As many open files as the system allows: idle connections shall not starve cards of them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> None:
    parser = argparse.ArgumentParser(prog="fwmgr-master")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--address", required=True, help="own address and network: 10.77.0.1/24")
    parser.add_argument("--interface", help="where DHCP and TFTP are served; all when not given")
    parser.add_argument("--router", help="the router on the own network, told to cards")
    parser.add_argument("--subnet", action="append", default=[], help="SHELF=NETWORK[,ROUTER] behind a relay")
    parser.add_argument("--relay", action="append", default=[], help="a relay that stands in no subnet")
    parser.add_argument("--hands", type=Path, help="socket of the chassis or rack daemon")
    parser.add_argument("--board", type=Path, action="append", default=[], help="a board file of your own")
    parser.add_argument("--deadlines", default="{}", help="JSON: seconds by state, to change the defaults")
    parser.add_argument("--trial-tries", type=int, default=2)
    parser.add_argument("--no-master-policy", choices=("wait", "run"), default="wait")
    parser.add_argument("--no-master-seconds", type=float, default=0.0)
    parser.add_argument("--adopt", type=int, help="shelf whose next free slot unknown cards get")
    parser.add_argument("--accept-test", action="store_true", help="take test packages")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    level = logging.DEBUG if options.verbose else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    try:
        _take_descriptors()
        asyncio.run(run(options))
    except (FwmgrError, OSError) as e:
        log.error("%s", e)
        code = NETWORK_MOVED if isinstance(e, NetworkMovedError) else 2 if isinstance(e, UsageError) else 1
        raise SystemExit(code) from e


if __name__ == "__main__":
    main()
