"""A small set and a small composite image that have one of everything, made the same each time."""

from __future__ import annotations

import json
from dataclasses import replace

from firmware_mgr.imaging.manifest import FileSummary, Manifest
from firmware_mgr.model.ids import CpuArch, Digest, SlotId
from firmware_mgr.package.bundle import PACKAGE_FILE, Bundle, MemberKind, Targets
from firmware_mgr.package.card_information import CardEntry, CardInformation, CardWish
from firmware_mgr.package.head import parse_header, verify_bundle
from firmware_mgr.package.layout import EnvelopeKind
from firmware_mgr.package.reader import HEADER_SIZE
from firmware_mgr.packaging.build import ModuleSource, PackageHead, build_package
from firmware_mgr.packaging.compose import (
    BundleHead,
    MemberSource,
    build_bundle,
    information_member,
    pack_bundle,
)

from .format_1 import build_package_1
from .samples import HEAD, KEY, KEYRING, SIGNED_AT, SOURCES, sample

OLD_HEAD = replace(HEAD, version="1.2-2")
IMAGE_FILES = {"boot.img": b"raw image " * 30, "net/fit": b"served by netboot"}
MANIFEST = Manifest(
    "arm-board",
    CpuArch.AARCH64,
    "7",
    1_700_000_000,
    "6.1",
    Digest.of(b"inputs"),
    {name: FileSummary.of(data) for name, data in IMAGE_FILES.items()},
    (),
)
INFORMATION = CardInformation(
    {"line": CardWish({"arm-board": "7"}, ("sample=1.2-3", "base"), ("docs", "web"))},
    (
        CardEntry(SlotId(3, 2), None, CardWish(packages=()), "line", "rack 5, left"),
        CardEntry(None, "arm-board", CardWish(features=("web",))),
    ),
    {"arm-board": "7"},
    {"sample": "1.2-3"},
)


def package_source(version: str, data: bytes) -> MemberSource:
    return MemberSource(MemberKind.PACKAGE, "sample", version, {PACKAGE_FILE: data}, HEAD.build_date)


def image_source() -> MemberSource:
    manifest = json.dumps(MANIFEST.document(), sort_keys=True).encode()
    files = {"manifest.json": manifest, **IMAGE_FILES}
    return MemberSource(MemberKind.BOOT_IMAGE, "arm-board", "7", files, MANIFEST.build_date)


SET_HEAD = BundleHead(EnvelopeKind.SET, "both", "1")
SET_SOURCES = (
    package_source("1.2-3", sample()),
    package_source("1.2-2", build_package_1(OLD_HEAD, SOURCES, [KEY])),
)
COMPOSITE_HEAD = BundleHead(
    EnvelopeKind.COMPOSITE,
    "site",
    "2024.1",
    targets=Targets(("2/3", "4"), ("arm-board",), ("line",), ("sample",)),
)
SMALL = build_package(PackageHead("tiny", "1", 1), [ModuleSource("a", SOURCES[0].kind, b"a")], [KEY])
COMPOSITE_SOURCES = (
    image_source(),
    MemberSource(MemberKind.PACKAGE, "tiny", "1", {PACKAGE_FILE: SMALL}, 1),
    information_member(INFORMATION),
)


def sample_set() -> bytes:
    return build_bundle(SET_HEAD, SET_SOURCES, [KEY], SIGNED_AT)


def sample_composite() -> bytes:
    return build_bundle(COMPOSITE_HEAD, COMPOSITE_SOURCES, [KEY], SIGNED_AT)


def composite_contents() -> tuple[Bundle, bytes]:
    return pack_bundle(COMPOSITE_HEAD, COMPOSITE_SOURCES)


def read_bundle(data: bytes) -> Bundle:
    """Read the head as one would who trusts KEY."""
    header = parse_header(data[:HEADER_SIZE])
    return verify_bundle(header, data[: header.head_length], KEYRING)
