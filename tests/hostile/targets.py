"""What is fuzzed: for each name, how bytes are played to a server, and the files whose lines must be reached.

Imports no room by itself: whoever measures must begin before they are imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
ROOMS = Path(__file__).parents[2] / "firmware_mgr"


@dataclass(frozen=True, slots=True)
class Target:
    """`open` makes a player, given a scratch directory; `parsers` are under firmware_mgr/."""

    open: Callable[[Path], Callable[[bytes], None]]
    parsers: tuple[str, ...]
    max_input: int = 4096


def _dhcp(folder: Path) -> Callable[[bytes], None]:
    from .dhcp_house import DhcpHouse, play

    return lambda data: play(DhcpHouse(folder), data)


def _tftp(folder: Path) -> Callable[[bytes], None]:
    from .tftp_house import TftpHouse, play

    def run(data: bytes) -> None:
        house = TftpHouse(folder)
        play(house, data)
        house.stop()

    return run


def _http(folder: Path) -> Callable[[bytes], None]:
    from .http_house import HttpHouse, play

    house = HttpHouse(folder)
    return lambda data: play(house, data)


def _link(folder: Path) -> Callable[[bytes], None]:
    from .link_house import play

    return play


def _package(folder: Path) -> Callable[[bytes], None]:
    from .package_house import play

    return play


TARGETS = {
    "dhcp": Target(
        _dhcp,
        (
            "netboot/dhcp_codec.py",
            "netboot/dhcp.py",
            "netboot/dhcp_reply.py",
            "netboot/clients.py",
            "netboot/relay.py",
            "netboot/quarantine.py",
        ),
    ),
    "tftp": Target(
        _tftp,
        (
            "netboot/tftp_codec.py",
            "netboot/tftp_terms.py",
            "netboot/tftp.py",
            "netboot/tftp_listener.py",
            "netboot/names.py",
        ),
    ),
    "http": Target(_http, ("netboot/http.py", "netboot/ranges.py", "netboot/names.py", "master/https.py")),
    "link": Target(
        _link,
        ("link/frames.py", "link/wire.py", "link/messages.py", "link/service.py", "link/session.py"),
    ),
    "package": Target(
        _package,
        (
            "package/layout.py",
            "package/layout_tables.py",
            "package/layout_1.py",
            "package/head.py",
            "package/forms.py",
            "package/table.py",
            "package/table_1.py",
            "package/process_form.py",
            "package/piece_form.py",
            "package/bundle_table.py",
            "package/contents.py",
            "package/module.py",
            "package/dependency.py",
            "package/process.py",
            "package/paths.py",
            "package/pieces.py",
            "package/bundle.py",
            "package/card_information.py",
            "package/decoding.py",
            "package/streaming.py",
            "package/zstd_frame.py",
            "package/dump.py",
            "package/byte_dump.py",
            "package/elf_sections.py",
            "package/substantive.py",
            "package/substance.py",
            "package/substance_elf.py",
            "package/substance_python.py",
            "package/marshal_walk.py",
            "package/substance_gzip.py",
            "package/substance_tar.py",
            "package/substance_ar.py",
            "package/substance_zip.py",
        ),
        max_input=8192,
    ),
}
