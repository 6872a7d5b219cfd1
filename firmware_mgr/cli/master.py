"""`fwmgr master`: run the master, its status, whom it trusts, and the record of what was burned.

Knows options and how answers are printed. The daemon is another process.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from firmware_mgr.cli.chassis import client_for
from firmware_mgr.master.client import MasterClient
from firmware_mgr.master.site import MasterPaths, trust_key, write_trust
from firmware_mgr.model.errors import UsageError

app = typer.Typer(help="The master: run it, look at it, say whom it trusts.", no_args_is_help=True)

DIRECTORY_VARIABLE = "FWMGR_MASTER"
DEFAULT_DIRECTORY = Path("var/master")

Directory = Annotated[Path, typer.Option("--dir", envvar=DIRECTORY_VARIABLE, help="The master's directory.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def master_client(directory: Path) -> MasterClient:
    return MasterClient(MasterPaths(directory.absolute()).api)


@app.command()
def run(
    *,
    directory: Directory = DEFAULT_DIRECTORY,
    chassis: Annotated[
        Path | None,
        typer.Option(
            envvar="FWMGR_CHASSIS", help="Chassis directory: its hands are used and its network joined."
        ),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Own address and network on the backplane, such as 10.77.0.1/24.")
    ] = None,
    interface: Annotated[str | None, typer.Option(help="Where DHCP and TFTP are served.")] = None,
    router: Annotated[str | None, typer.Option(help="The router on that network, told to cards.")] = None,
    subnet: Annotated[
        list[str] | None,
        typer.Option(help="SHELF=NETWORK[,ROUTER]: a shelf behind a DHCP relay; may be given again."),
    ] = None,
    relay: Annotated[
        list[str] | None, typer.Option(help="A relay whose address is in no subnet; may be given again.")
    ] = None,
    board: Annotated[
        list[Path] | None, typer.Option(help="A board file of your own; may be given again.")
    ] = None,
    deadlines: Annotated[str, typer.Option(help="JSON: seconds by state, to change the defaults.")] = "{}",
    trial_tries: Annotated[int, typer.Option(help="How often a new boot image is started.")] = 2,
    no_master_policy: Annotated[
        str, typer.Option(help="What cards do when no master answers: wait, or run their last set.")
    ] = "wait",
    no_master_seconds: Annotated[float, typer.Option(help="… after so many seconds.")] = 0.0,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every packet's decision.")] = False,
) -> None:
    """Run the master in the foreground. It may be killed at any time and started again."""
    command = [sys.executable, "-m", "firmware_mgr.app.master", "--dir", str(directory.absolute())]
    prefix: list[str] = []
    if chassis is not None:
        client = client_for(chassis)
        status = asyncio.run(client.status())
        prefix = list(status.enter)
        address = address or status.address
        interface = interface or "br0"
        command += ["--hands", str(client.socket)]
    if address is None:
        raise typer.BadParameter("give --address, or --chassis to take the chassis's")
    command += ["--address", address, "--deadlines", deadlines, "--trial-tries", str(trial_tries)]
    command += ["--no-master-policy", no_master_policy, "--no-master-seconds", str(no_master_seconds)]
    if interface is not None:
        command += ["--interface", interface]
    command += ["--router", router] if router is not None else []
    command += [word for text in subnet or [] for word in ("--subnet", text)]
    command += [word for text in relay or [] for word in ("--relay", text)]
    for file in board or []:
        command += ["--board", str(file.absolute())]
    if verbose:
        command.append("--verbose")
    whole = [*prefix, *command]
    os.execvp(whole[0], whole)


@app.command()
def status(directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """Whether the master is up, and whom it refused lately."""
    answer = master_client(directory).get("/v1/status")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    typer.echo(f"master {answer['pid']} on {answer['address']}: {answer['cards']} cards, ", nl=False)
    typer.echo(f"{answer['images']} boot images, {answer['packages']} packages")
    for refusal in answer["refusals"][-10:]:
        where = f"{refusal['where']}: " if "where" in refusal else ""
        sides = ", ".join(f"{side} {refusal[side]}" for side in ("expected", "found") if side in refusal)
        typer.echo(f"refused: {where}{refusal['what']}" + (f": {sides}" if sides else ""))


@app.command()
def trust(
    key: Annotated[
        Path | None, typer.Argument(help="A public key file (.pem) whose packages are accepted.")
    ] = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Trust a package key. Writes the site's trust that boot images carry: build images after this."""
    paths = MasterPaths(directory.absolute())
    if key is not None:
        trust_key(paths, key)
    else:
        write_trust(paths)
    typer.echo(f"trust for boot images: {paths.trust}")


def write_file(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as e:
        raise UsageError("cannot be written", where=str(path), found=e.strerror) from e


@app.command()
def record(
    out: Annotated[Path | None, typer.Option(help="Write to this file, and its signature beside it.")] = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """The signed record of what was burned into which card, and when."""
    answer = master_client(directory).get("/v1/record")
    if out is None:
        typer.echo(answer["document"])
        return
    write_file(out, answer["document"].encode())
    signature = out.with_name(out.name + ".sig")
    write_file(signature, base64.b64decode(answer["signature"]))
    Console().print(
        f"{out}: {len(json.loads(answer['document'])['records'])} burns; signature in {signature}"
    )
