"""Small software sets made of this machine's own programs, and a store that holds their modules."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from firmware_mgr.card.tree import InstalledPackage
from firmware_mgr.flash.store_geometry import Extent, round_up
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.software import PackageRef
from firmware_mgr.package.contents import (
    NOTHING,
    Module,
    ModuleKind,
    TableOfContents,
    processes_of,
    select,
)
from firmware_mgr.package.process import (
    NumericUser,
    ProcessSpec,
    Readiness,
    Restart,
    User,
)
from firmware_mgr.packaging.storing import store_file

CPU = CpuArch.X86_64
NOBODY = NumericUser(65534, 65534)
BUILT = 1_700_000_000
BUSYBOX = Path("/usr/bin/busybox")


@dataclass(frozen=True, slots=True)
class Link:
    target: str


@dataclass(frozen=True, slots=True)
class Folder:
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Program:
    data: bytes
    mode: int = 0o755


Content = bytes | Link | Folder | Program


def module(path: str, content: Content, offset: int = 0) -> Module:
    if isinstance(content, Link):
        text = Digest.of(content.target.encode())
        return Module(
            path, ModuleKind.SYMLINK, None, 0o777, 0, offset, (), text, text, link_target=content.target
        )
    if isinstance(content, Folder):
        return Module(path, ModuleKind.DIRECTORY, None, content.mode, 0, offset, (), NOTHING, NOTHING)
    data, kind, mode = content, ModuleKind.DATA, 0o644
    if isinstance(content, Program):
        data, kind, mode = content.data, ModuleKind.PROGRAM, content.mode
    assert isinstance(data, bytes)
    digest = Digest.of(data)
    pieces, _ = store_file(data, compress=False)
    return Module(path, kind, None, mode, len(data), offset, pieces, digest, digest)


def package(
    name: str, files: Mapping[str, Content], processes: Sequence[ProcessSpec] = (), built: int = BUILT
) -> InstalledPackage:
    modules = []
    offset = 0
    for path in sorted(files):
        modules.append(module(path, files[path], offset))
        offset += modules[-1].stored_length
    toc = TableOfContents(
        name, "1", built, (), (), (), tuple(modules), tuple(sorted(processes, key=lambda each: each.name))
    )
    ref = PackageRef(name, "1", Digest.of(name.encode()), 4096 + offset)
    chosen = select(toc, CPU)
    return InstalledPackage(ref, toc, chosen, processes_of(toc, chosen, CPU))


def process(
    name: str,
    argv: Sequence[str],
    *,
    module: str = "usr/bin/busybox",
    environment: Mapping[str, str] | None = None,
    directory: str = "/",
    user: User = NOBODY,
    readiness: str = "started",
    stop_signal: int = 15,
    grace_s: int = 5,
    restart: Restart = Restart.NEVER,
) -> ProcessSpec:
    return ProcessSpec(
        name,
        module,
        tuple(argv),
        tuple(sorted((environment or {}).items())),
        directory,
        user,
        Readiness.parse(readiness),
        stop_signal,
        grace_s,
        restart,
        False,
    )


def shell(name: str, script: str, **options: object) -> ProcessSpec:
    """A process that runs a shell script."""
    return process(name, ["sh", "-c", script], **options)  # type: ignore[arg-type]


def busybox_files() -> dict[str, Content]:
    return {"usr/bin/busybox": Program(BUSYBOX.read_bytes()), "usr/bin/sh": Link("busybox")}


def python_files() -> dict[str, Content]:
    """This Python with what it needs for its very start: loader, libraries, an encoding."""
    interpreter = Path(sys.executable).resolve()
    files: dict[str, Content] = {"usr/bin/python3": Program(interpreter.read_bytes())}
    listed = subprocess.run(["ldd", str(interpreter)], capture_output=True, text=True, check=True).stdout
    for found in re.findall(r"(/\S+) \(0x", listed):
        path = found.lstrip("/")
        files[path if path.startswith("usr/") else f"usr/{path}"] = Program(Path(found).read_bytes())
    library = Path(re.__file__).parent.parent
    for name in ("__init__", "aliases", "utf_8"):
        path = library / "encodings" / f"{name}.py"
        files[str(path).lstrip("/")] = path.read_bytes()
    return files


@dataclass
class Store:
    """A store partition as a file: modules one after the other in units, from some unit on."""

    path: Path
    size: int = 32 << 20
    extents: dict[Digest, Extent] = field(default_factory=dict)
    end: int = 64 * 4096

    def add(self, packages: Sequence[InstalledPackage], contents: Sequence[Mapping[str, Content]]) -> None:
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            file.truncate(self.size)
            for files in contents:
                for content in files.values():
                    data = content.data if isinstance(content, Program) else content
                    if not isinstance(data, bytes) or Digest.of(data) in self.extents:
                        continue
                    self.extents[Digest.of(data)] = Extent(self.end, len(data))
                    file.seek(self.end)
                    file.write(data)
                    self.end += round_up(len(data)) + 4096
        for each in packages:
            for every in each.modules:
                assert not every.length or every.sha256 in self.extents

    def extent(self, digest: Digest) -> Extent:
        return self.extents[digest]
