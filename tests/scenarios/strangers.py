"""Things that do not belong to a site: images, packages, keys and cards of others.

Makes them; what becomes of them is for the scenarios.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from firmware_mgr.card.identity import Identity
from firmware_mgr.flash.device import FileDevice
from firmware_mgr.flash.gpt import find, read_table
from firmware_mgr.flash.store import Store
from firmware_mgr.imaging.board import SHIPPED_BOARDS
from firmware_mgr.imaging.manifest import MANIFEST_NAME, PARTITION_FILE
from firmware_mgr.master.site import MasterPaths, write_trust
from firmware_mgr.master.trust import Authority
from firmware_mgr.model.ids import SlotId
from firmware_mgr.package.layout import HEADER_SIZE
from tests.scenarios.software import BOARD, PACKAGE, Site, fwmgr

#: SPEC-package: key id, then signature, behind four bytes of head.
_SIGNATURE = slice(HEADER_SIZE + 4 + 32, HEADER_SIZE + 4 + 32 + 64)

#: A program: connects to ADDRESS PORT with the certificate in FILE, whoever answers, and listens.
KNOCK = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.load_cert_chain(sys.argv[3])
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as plain:
    context.wrap_socket(plain).recv(1)
"""


def image_for_another_cpu(site: Site, folder: Path) -> Path:
    """An image that says it is for the site's board, and for a CPU that this board has not."""
    shutil.copytree(site.image, folder)
    manifest = folder / MANIFEST_NAME
    document = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**document, "cpu": "x86_64", "version": "x86"}))
    return folder


def image_for_another_board(site: Site, folder: Path) -> Path:
    """An image of a board that this chassis has not."""
    board = folder / "other-card.toml"
    folder.mkdir()
    text = (SHIPPED_BOARDS / f"{BOARD}.toml").read_text()
    board.write_text(text.replace(f'name = "{BOARD}"', 'name = "other-card"'))
    site.build_image(folder / "image", version="other", board=board)
    return folder / "image"


def stranger_key(folder: Path) -> Path:
    """The public key of somebody whom the site does not know; the private one lies beside it."""
    fwmgr("key", "new", "stranger", "--dir", folder)
    return folder / "stranger.pem"


def strangers_package(folder: Path, key: Path) -> Path:
    """The real package, signed by that key."""
    out = folder / "strangers.fwp"
    fwmgr("package", "build", PACKAGE, "--key", key.with_suffix(".key"), "--out", out)
    return out


def unsigned_package(site: Site, out: Path) -> Path:
    """The site's package whose signature is no more than zeros."""
    data = bytearray(site.package.read_bytes())
    data[_SIGNATURE] = bytes(64)
    out.write_bytes(data)
    return out


def altered_package(site: Site, out: Path, at: float) -> Path:
    """The site's package with one bit changed, `at` a share of its length."""
    data = bytearray(site.package.read_bytes())
    data[int(len(data) * at)] ^= 1
    out.write_bytes(data)
    return out


def another_site(directory: Path) -> tuple[Site, Authority]:
    """A site with an authority of its own, that trusts nobody's packages."""
    site = Site(directory)
    return site, write_trust(MasterPaths(site.master.directory))


def give_identity(flash: Path, authority: Authority, slot: SlotId) -> None:
    """Write a new key and a certificate of that authority into a card's state area."""
    identity = Identity.generate()
    pem = authority.sign_card_certificate(identity.signing_request(slot), slot)
    with FileDevice(flash) as device:
        state = Store.open(find(read_table(device), "state").window(device))
        state.commit(identity.with_certificate(pem.encode()).documents())


def give_image(flash: Path, image: Path, letter: str) -> None:
    """Write another boot image into a boot partition, raw."""
    with FileDevice(flash) as device:
        window = find(read_table(device), f"boot-{letter}").window(device)
        window.write(0, (image / PARTITION_FILE).read_bytes())


def client_files(folder: Path, authority: Authority, slot: SlotId) -> Path:
    """Key and certificate of that authority in one file, as a TLS client wants them."""
    identity = Identity.generate()
    pem = authority.sign_card_certificate(identity.signing_request(slot), slot)
    path = folder / "client.pem"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(identity.key_pem + pem.encode())
    return path
