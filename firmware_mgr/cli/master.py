"""`fwmgr master`: run the master, its status, whom it trusts, and the record of what was burned.

Knows options and how answers are printed. The daemon is another process.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from firmware_mgr.cli.master_process import run_master
from firmware_mgr.master.client import MasterClient
from firmware_mgr.master.options import DEFAULT_FILE, MasterOptions, load_options
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
    config: Annotated[
        Path | None,
        typer.Option(help=f"A file with options, such as {DEFAULT_FILE}, which is read when it is there."),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", envvar=DIRECTORY_VARIABLE, help=f"The master's directory [{DEFAULT_DIRECTORY}]."
        ),
    ] = None,
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
    deadlines: Annotated[
        str,
        typer.Option(
            help='JSON: seconds by state, to change the defaults: {"booting": 60}. '
            "A board file may ask for more."
        ),
    ] = "{}",
    trial_tries: Annotated[
        int | None, typer.Option(help="How often a new boot image is started [2].", min=1, max=9)
    ] = None,
    no_master_policy: Annotated[
        str | None,
        typer.Option(help="What cards do when no master answers: wait, or run their last set [wait]."),
    ] = None,
    no_master_seconds: Annotated[float | None, typer.Option(help="… after so many seconds [0].")] = None,
    hands: Annotated[
        bool | None,
        typer.Option(
            "--hands/--no-hands", help="Whether the chassis's power and slot registers are used [yes]."
        ),
    ] = None,
    adopt: Annotated[
        int | None, typer.Option(help="Give unknown cards the next free slot of this shelf.", min=1)
    ] = None,
    accept_test: Annotated[
        bool | None,
        typer.Option("--accept-test/--no-accept-test", help="Take packages that are signed for tests [no]."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every packet's decision.")] = False,
) -> None:
    """Run the master in the foreground. It may be killed at any time and started again."""
    try:
        said = MasterOptions(
            directory=directory,
            chassis=chassis,
            address=address,
            interface=interface,
            router=router,
            subnets=tuple(subnet or ()),
            relays=tuple(relay or ()),
            boards=tuple(board or ()),
            deadlines=json.loads(deadlines),
            trial_tries=trial_tries,
            no_master_policy=no_master_policy,  # type: ignore[arg-type]
            no_master_seconds=no_master_seconds,
            hands=hands,
            adopt=adopt,
            accept_test=accept_test,
        )
    except ValueError as e:
        raise UsageError("unusable options", where="command line", found=str(e)) from e
    file = config or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    options = said.over(load_options(file)) if file is not None else said
    raise typer.Exit(run_master(options.over(MasterOptions(directory=DEFAULT_DIRECTORY)), verbose=verbose))


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
