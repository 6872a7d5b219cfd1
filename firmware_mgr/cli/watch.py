"""`fwmgr cards --watch`: the table of cards, kept up to date until Ctrl-C.

Knows the screen and how long to wait for whom. The master says when something has changed; while it is away
that is said, and its last word stays on the screen.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from firmware_mgr.cli.screen import ago, plain, screen
from firmware_mgr.master.client import MasterClient
from firmware_mgr.model.errors import PeerError

#: Between two tries to reach a master that is away, in seconds.
AWAY_SECONDS = 1.0
#: Changes that follow each other faster are shown together.
SETTLE_SECONDS = 0.2

#: Draws a situation: what stands above each other.
Draw = Callable[[dict[str, Any]], list[RenderableType]]


def situations(client: MasterClient) -> Iterator[dict[str, Any] | PeerError]:
    """Every situation that differs from the one before; an error once when the master goes away."""
    revision, away = "", False
    while True:
        try:
            answer = client.get("/v1/watch", after=revision)
        except PeerError as e:
            if not away:
                yield e
            revision, away = "", True  # when it is back it is to answer at once
            time.sleep(AWAY_SECONDS)
            continue
        if answer["changed"]:
            revision, away = answer["revision"], False
            yield answer
            time.sleep(SETTLE_SECONDS)


def watch_json(client: MasterClient) -> None:
    """A line of JSON for each change: the whole situation, or the error when the master goes away."""
    try:
        for situation in situations(client):
            if isinstance(situation, PeerError):
                line: dict[str, Any] = {"at": time.time(), "error": situation.document()}
            else:
                shown = {name: situation[name] for name in ("cards", "strangers")}
                line = {"at": time.time(), **shown}
            typer.echo(json.dumps(line))
    except KeyboardInterrupt:
        return


class _Board:
    """What is on the screen: drawn anew by its own thread, so that times go on."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._last: dict[str, Any] | None = None
        self._away: tuple[float, PeerError] | None = None

    def show(self, situation: dict[str, Any] | PeerError) -> None:
        if isinstance(situation, PeerError):
            self._away = (time.time(), situation)
        else:
            self._last, self._away = situation, None

    def __rich__(self) -> RenderableType:
        # First what must be seen when the screen is too short for all cards.
        states = Counter(card["state"] for card in (self._last or {"cards": []})["cards"])
        counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
        parts: list[RenderableType] = [Text(f"{states.total()} cards: {counts or 'none'}; Ctrl-C ends")]
        if self._away is not None:
            since, error = self._away
            said = f"{error.what}{f' ({plain(error.found)})' if error.found else ''}"
            waiting = f"{said}, for {ago(since)}: what stands here may be old; waiting"
            parts.append(Text(waiting, style="bold red"))
        parts += [] if self._last is None else self._draw(self._last)
        return Group(*parts)


def watch_screen(client: MasterClient, draw: Draw) -> None:
    """On a terminal one picture that changes; elsewhere a picture for each change."""
    console = screen()
    board = _Board(draw)
    try:
        if not console.is_terminal:
            _print_each(client, board, console)
            return
        with Live(board, console=console, refresh_per_second=2) as live:
            for situation in situations(client):
                board.show(situation)
                live.refresh()
    except KeyboardInterrupt:
        return


def _print_each(client: MasterClient, board: _Board, console: Console) -> None:
    for situation in situations(client):
        board.show(situation)
        console.print(board)
