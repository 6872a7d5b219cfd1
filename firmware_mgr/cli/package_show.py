"""How packages, sets and composite images are shown: tables and lines that fit a hundred columns.

Knows the documents of `package/dump`. Whatever they say is printed as text, never obeyed by the terminal.
"""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from firmware_mgr.model.ids import NEUTRAL_CPU
from firmware_mgr.package.byte_dump import DumpLine


def show_package(console: Console, file: Path, document: dict[str, Any]) -> None:
    _show_head(console, file, document)
    _show_groups(console, document)
    _show_modules(console, document)
    _show_processes(console, document)


def show_bundle(
    console: Console, file: Path, document: dict[str, Any], information: dict[str, Any] | None
) -> None:
    """A set or composite image."""
    _show_head(console, file, document)
    members = document["members"]
    console.print(Text(f"{len(members)} members", style="bold"))
    console.print(
        Text(f"  {'kind':16}  {'size':>9}  {'stored':>9}  {'files':>5}  {'pieces':>6}  name", "dim")
    )
    for member in members:
        files = member["files"]
        length, stored = (sum(one[key] for one in files) for key in ("length", "stored_length"))
        pieces = sum(len(one["pieces"]) for one in files)
        line = Text(
            f"  {member['kind']:16}  {size(length):>9}  {size(stored):>9}  {len(files):>5}  {pieces:>6}  "
        )
        line.append(f"{member['name']} {member['version']}", style="cyan")
        console.print(line, soft_wrap=True)
    if information is not None:
        _show_information(console, information)


def show_dump(console: Console, lines: Iterable[DumpLine]) -> None:
    """Offset, bytes, field, value."""
    for line in lines:
        if not line.raw:
            heading = Text(f"{line.offset:010x}  {line.name}", style="bold")
            console.print(heading.append(f"  {plain(line.value)}", style="not bold"), soft_wrap=True)
            continue
        more = "…" if line.length > len(line.raw) else ""
        console.print(
            Text(f"{line.offset:010x}  {line.raw[:8].hex():16}{more if len(line.raw) <= 8 else '…':1}  ")
            .append(f"{plain(line.name):32}  ", style="dim")
            .append(plain(line.value)),
            soft_wrap=True,
        )


def moment(seconds: int | None) -> str:
    """A time for people."""
    if seconds is None:
        return "not said (format 1)"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def facts() -> Table:
    """What is said of one thing: names on the left."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _show_head(console: Console, file: Path, document: dict[str, Any]) -> None:
    table = facts()
    table.add_row(document["kind"], Text(f"{document['name']} {document['version']}", style="bold"))
    table.add_row("file", Text(f"{file}, format {document['format']}, {size(document['length'])}"))
    inside = document["table"]
    table.add_row(
        "table", f"{size(inside['length'])} at {inside['offset']}, SHA-256 {inside['sha256'][:16]}…"
    )
    table.add_row("content", f"{size(document['content']['length'])} at {document['content']['offset']}")
    table.add_row("built", moment(document["build_date"]))
    table.add_row("signed", moment(document["signed_at"]))
    signers = "\n".join((*document["signed_by"], "(not checked)")) if document["signed_by"] else "nobody yet"
    table.add_row("signed by", Text(signers))
    for what, names in document.get("targets", {}).items():
        if names:
            table.add_row(f"for {what}", Text(", ".join(names)))
    for title, key in (
        ("needs on the card", "local_dependencies"),
        ("needs elsewhere", "remote_dependencies"),
        ("upgrades", "upgrades"),
    ):
        lines = [_dependency(item) for item in document.get(key, ())]
        if lines:
            table.add_row(title, Text("\n".join(lines)))
    console.print(table)


def _dependency(item: dict[str, Any]) -> str:
    boards = ", ".join(item.get("boards", ()))
    text = f"{item['name']} {item['constraint']}".strip()
    return f"{text} (on {boards})" if boards else text


def _show_groups(console: Console, document: dict[str, Any]) -> None:
    if not document["groups"]:
        return
    console.print(Text("Groups", style="bold"))
    for group in document["groups"]:
        members = sum(group["name"] in module["groups"] for module in document["modules"])
        wanted = "wanted" if group["wanted"] else "on request"
        line = Text(f"  {group['name']:16}  {wanted:10}  {members:>4} modules  ")
        console.print(line.append(plain(group["summary"]), style="dim"), soft_wrap=True)


def _show_modules(console: Console, document: dict[str, Any]) -> None:
    """A line for each module, path last, so that a narrow terminal breaks nothing but long paths."""
    modules = document["modules"]
    for cpu in sorted({module["cpu"] for module in modules}, key=lambda name: (name == NEUTRAL_CPU, name)):
        group = [module for module in modules if module["cpu"] == cpu]
        title = "For every CPU" if cpu == NEUTRAL_CPU else f"For {cpu}"
        length, stored = (sum(m[key] for m in group) for key in ("length", "stored_length"))
        sizes = f"{size(length)}, stored {size(stored)}"
        console.print(Text(f"{title}: {len(group)} modules, {sizes}", style="bold"))
        titles = f"  {'mode':4}  {'size':>9}  {'stored':>9}  {'pieces':>6}  {'kind':14}  "
        titles += f"{'sha256':12}  {'substantive':12}  path"
        console.print(Text(titles, style="dim"))
        for module in group:
            console.print(_module_line(module), soft_wrap=True)
            for what in ("provides", "consumes"):
                if module[what]:
                    names = f"{' ' * 11}{what} {', '.join(module[what])}"
                    console.print(Text(names, style="dim"), soft_wrap=True)


def _module_line(module: dict[str, Any]) -> Text:
    bare = module["kind"] in ("symlink", "directory")
    length, stored = ("", "") if bare else (size(module["length"]), size(module["stored_length"]))
    pieces = "" if bare else str(len(module["pieces"]))
    line = Text(f"  {module['mode']}  {length:>9}  {stored:>9}  {pieces:>6}  ")
    line.append(f"{module['kind']:14}  {module['sha256'][:12]}  {module['substantive'][:12]}  ")
    line.append(module["path"], style="cyan")
    if module["link_target"]:
        line.append(f" -> {module['link_target']}")
    if module["function"]:
        line.append(f"  ({module['function']})", style="green")
    if module["groups"]:
        line.append(f"  [{', '.join(module['groups'])}]", style="yellow")
    return line


def _show_processes(console: Console, document: dict[str, Any]) -> None:
    for process in document["processes"]:
        console.print(Text(f"Process {process['name']}", style="italic"))
        table = facts()
        table.add_row("runs", Text(plain(shlex.join(process["argv"]))))
        table.add_row("program", Text(process["module"]))
        table.add_row("as", f"{process['user']} in {process['working_directory']}")
        variables = [f"{name}={value}" for name, value in process["environment"].items()]
        if variables:
            table.add_row("environment", Text(plain(" ".join(variables))))
        table.add_row("ready", process["readiness"])
        table.add_row("stopped by", f"{process['stop_signal']}, killed after {process['grace_s']} s")
        table.add_row("restarted", process["restart"])
        table.add_row("updates", "manages itself" if process["self_managing"] else "simple")
        console.print(table)


def _show_information(console: Console, information: dict[str, Any]) -> None:
    console.print(Text("Card information", style="bold"))
    table = facts()
    for name, wish in information["classes"].items():
        table.add_row(f"class {name}", Text(plain(_wish(wish))))
    for card in information["cards"]:
        place = f"slot {card['slot']}" if "slot" in card else f"board {card['board']}"
        extra = [f"class {card['class']}"] if "class" in card else []
        extra += [card["location"]] if "location" in card else []
        table.add_row(place, Text(plain("; ".join([*extra, _wish(card)]).strip("; "))))
    for what, versions in information["preferred"].items():
        for name, version in versions.items():
            table.add_row("preferred", Text(f"{what.removesuffix('s')} {name} {version}"))
    console.print(table)


def _wish(wish: dict[str, Any]) -> str:
    parts = [f"image {board} {version}" for board, version in wish.get("images", {}).items()]
    for name in ("packages", "features"):
        if name in wish:
            parts.append(f"{name} {', '.join(wish[name]) or 'none'}")
    return "; ".join(parts)


def plain(text: str) -> str:
    """Control characters as escapes, since a terminal would obey them."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) == "Cc" else character
        for character in text
    )


def size(length: int) -> str:
    if length < 1 << 10:
        return f"{length} B"
    if length < 1 << 20:
        return f"{length / (1 << 10):.1f} KiB"
    return f"{length / (1 << 20):.1f} MiB"
