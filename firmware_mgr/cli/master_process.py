"""Starting the master's process: its command line, the network it belongs into, and again when that moves.

Knows how a daemon is started in a chassis network. Asks the chassis where that is.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import typer

from firmware_mgr.cli.chassis import client_for
from firmware_mgr.lab.sim.software import BOARD_FILES
from firmware_mgr.master.options import MasterOptions
from firmware_mgr.master.site import NETWORK_MOVED
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.rack.hands import SIMULATED

#: Between two tries to reach a chassis that is not up again yet, in seconds.
CHASSIS_SECONDS = 1.0
#: Who kills the command that was started means the master. After `enter`, which may change credentials.
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")


def run_master(options: MasterOptions, *, verbose: bool) -> int:
    """Run it in the foreground; its exit code. Without a chassis this process becomes the master.

    With one, the master is started anew in its network whenever the chassis has been restarted.
    """
    if options.chassis is None:
        if options.address is None:
            raise UsageError(
                "where is the master?",
                expected="--address such as 10.77.0.1/24, or --chassis to take the chassis's",
                hint="give it on the command line or in the file of options",
            )
        command = _command(options, verbose=verbose)
        os.execvp(command[0], command)
    while True:
        ended = _run_in_chassis(options.chassis, options, verbose=verbose)
        if ended != NETWORK_MOVED:
            return ended
        _wait_chassis(options.chassis)


def _run_in_chassis(chassis: Path, options: MasterOptions, *, verbose: bool) -> int:
    client = client_for(chassis)
    status = asyncio.run(client.status())
    # In-process cards are in the same namespace: what they send to one address comes over its loopback.
    if status.kind == SIMULATED:
        options = options.model_copy(update={"boards": (*options.boards, *BOARD_FILES)})
    interface = None if status.kind == SIMULATED else "br0"
    options = options.over(MasterOptions(address=status.address, interface=interface))
    command = [*status.enter, *DIES_WITH_US, *_command(options, verbose=verbose)]
    if options.hands is not False:
        command += ["--hands", str(client.socket)]
    with subprocess.Popen(command) as process:

        def forward(number: int, _: FrameType | None) -> None:
            process.send_signal(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, forward)
        code = process.wait()
    return 128 - code if code < 0 else code


def _wait_chassis(chassis: Path) -> None:
    typer.echo("the chassis was restarted: joining its new network", err=True)
    while True:
        try:
            asyncio.run(client_for(chassis).status())
        except PeerError:
            time.sleep(CHASSIS_SECONDS)
        else:
            return


def _command(options: MasterOptions, *, verbose: bool) -> list[str]:
    directory = options.directory
    assert directory is not None and options.address is not None
    command = [sys.executable, "-m", "firmware_mgr.app.master", "--dir", str(directory.absolute())]
    command += ["--address", options.address, "--deadlines", json.dumps(options.deadlines)]
    for name, value in (
        ("--interface", options.interface),
        ("--router", options.router),
        ("--trial-tries", options.trial_tries),
        ("--no-master-policy", options.no_master_policy),
        ("--no-master-seconds", options.no_master_seconds),
        ("--adopt", options.adopt),
    ):
        command += [] if value is None else [name, str(value)]
    command += [word for text in options.subnets for word in ("--subnet", text)]
    command += [word for text in options.relays for word in ("--relay", text)]
    command += [word for file in options.boards for word in ("--board", str(file.absolute()))]
    command += ["--accept-test"] if options.accept_test else []
    return [*command, "--verbose"] if verbose else command
