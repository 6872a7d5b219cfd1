"""A small package that has one of everything, made the same each time, and ways to damage and sign it."""

from __future__ import annotations

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.contents import Dependency, Group, ModuleKind, TableOfContents
from firmware_mgr.package.process import NamedUser, NumericUser, ProcessSpec, Readiness, Restart
from firmware_mgr.package.reader import HEADER_SIZE, PackageHeader, parse_header, verify_contents
from firmware_mgr.packaging.build import ModuleSource, PackageHead, build_package, pack
from firmware_mgr.packaging.keys import SigningKey, keyring_of

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"golden key: everyone knows this."))
OTHER_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"another key that everyone knows."))
KEYRING = keyring_of([KEY])
BOTH_KEYS = keyring_of([KEY, OTHER_KEY])

SERVER = ProcessSpec(
    name="server",
    module="usr/sbin/server",
    argv=("/usr/sbin/server", "--port", "80"),
    environment=(("LANG", "C.UTF-8"), ("PATH", "/usr/bin")),
    working_directory="/srv",
    user=NumericUser(1000, 1000),
    readiness=Readiness.parse("tcp:80"),
    stop_signal=15,
    grace_s=5,
    restart=Restart.ON_FAILURE,
    self_managing=False,
)
HELPER = ProcessSpec(
    name="helper",
    module="usr/bin/helper",
    argv=("helper",),
    environment=(),
    working_directory="/",
    user=NamedUser("www-data"),
    readiness=Readiness.parse("notify"),
    stop_signal=2,
    grace_s=0,
    restart=Restart.NEVER,
    self_managing=True,
)
HEAD = PackageHead(
    name="sample",
    version="1.2-3",
    build_date=1_700_000_000,
    local_dependencies=(Dependency("base", ">= 1, < 2"),),
    remote_dependencies=(Dependency("router"),),
    upgrades=(Dependency("sample", "= 1.2-2"),),
    processes=(HELPER, SERVER),
)
SOURCES = (
    ModuleSource("etc/server.conf", ModuleKind.CONFIG, b"port = 80\n"),
    ModuleSource("srv", ModuleKind.DIRECTORY, mode=0o755),
    ModuleSource("usr/bin/helper", ModuleKind.PROGRAM, b"#!/bin/sh\n", mode=0o755),
    ModuleSource("usr/lib/libx.so.1", ModuleKind.SYMLINK, cpu=CpuArch.AARCH64, link_target="libx.so.1.0"),
    ModuleSource(
        "usr/lib/libx.so.1.0",
        ModuleKind.SHARED_LIBRARY,
        b"library " * 64,
        CpuArch.AARCH64,
        provides=("so:libx.so.1",),
    ),
    ModuleSource(
        "usr/sbin/server",
        ModuleKind.SERVER_BINARY,
        b"server for arm",
        CpuArch.AARCH64,
        0o755,
        function="http-server",
        consumes=("so:libx.so.1",),
    ),
    ModuleSource("usr/sbin/server", ModuleKind.SERVER_BINARY, b"server for x86", CpuArch.X86_64, 0o755),
    ModuleSource("usr/share/empty", ModuleKind.DATA),
)

#: What format 1 had no room for: groups, dependencies by board, and a file of two pieces.
HEAD_2 = replace(
    HEAD,
    local_dependencies=(Dependency("base", ">= 1, < 2", ("arm-board",)), Dependency("base", "", ("pc",))),
    groups=(Group("docs", "What to read", wanted=False), Group("web", "Serves pages")),
)
LARGE = bytes(1 << 20) + b"the rest"
SOURCES_2 = (
    *SOURCES,
    ModuleSource("usr/share/doc/manual", ModuleKind.DATA, b"read " * 40, groups=("docs",)),
    ModuleSource("usr/share/large", ModuleKind.DATA, LARGE, groups=("docs", "web")),
)
SIGNED_AT = 1_700_000_100


def sample() -> bytes:
    """The sample package, signed by KEY."""
    return build_package(HEAD_2, SOURCES_2, [KEY], SIGNED_AT)


def sample_contents() -> tuple[TableOfContents, bytes]:
    """Its table of contents, and its content."""
    return pack(HEAD_2, SOURCES_2)


def head_of(package: bytes) -> tuple[PackageHeader, bytes]:
    """Header and head of a package."""
    header = parse_header(package[:HEADER_SIZE])
    return header, package[: header.head_length]


def read(package: bytes) -> TableOfContents:
    """Read a package's head as a card would that trusts KEY."""
    header, head = head_of(package)
    return verify_contents(header, head, KEYRING)


def flip(data: bytes, bit: int) -> bytes:
    """The data with one bit turned over."""
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)
