"""The table of contents as bytes, both ways: SPEC-package §4.

Knows which number stands for which value. Refuses to know files, keys and content.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, TypeVar

from construct import Construct, ConstructError, Container

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package import layout
from firmware_mgr.package.contents import Compression, Dependency, Module, ModuleKind, TableOfContents
from firmware_mgr.package.errors import PackageFormatError
from firmware_mgr.package.process import (
    NamedUser,
    NumericUser,
    ProcessSpec,
    Readiness,
    ReadinessKind,
    Restart,
    User,
)

KIND_CODES: Mapping[int, ModuleKind] = {
    1: ModuleKind.SERVER_BINARY,
    2: ModuleKind.PROGRAM,
    3: ModuleKind.SHARED_LIBRARY,
    4: ModuleKind.CONFIG,
    5: ModuleKind.DATA,
    6: ModuleKind.SYMLINK,
    7: ModuleKind.DIRECTORY,
}
CPU_CODES: Mapping[int, CpuArch | None] = {0: None, 1: CpuArch.AARCH64, 2: CpuArch.ARMV7, 3: CpuArch.X86_64}
COMPRESSION_CODES: Mapping[int, Compression] = {0: Compression.NONE, 1: Compression.ZSTD}
READINESS_CODES: Mapping[int, ReadinessKind] = {
    1: ReadinessKind.NOTIFY,
    2: ReadinessKind.STARTED,
    3: ReadinessKind.TCP,
}
RESTART_CODES: Mapping[int, Restart] = {1: Restart.ALWAYS, 2: Restart.ON_FAILURE, 3: Restart.NEVER}
FLAG_CODES: Mapping[int, bool] = {0: False, 1: True}
USER_BY_NUMBER = 1
USER_BY_NAME = 2

_TABLE_NAMES = {
    layout.TABLE_PACKAGE: "package table",
    layout.TABLE_MODULES: "module table",
    layout.TABLE_PROCESSES: "process table",
}
_Value = TypeVar("_Value", bound=Enum | bool | None)


def decode_table(data: bytes, where: str) -> TableOfContents:
    """Raises PackageFormatError, whatever the bytes are."""
    if len(data) > layout.MAX_TABLE:
        raise PackageFormatError(
            "table of contents is too long",
            where=where,
            expected=f"{layout.MAX_TABLE} at most",
            found=len(data),
        )
    place = where
    try:
        stream = io.BytesIO(data)
        bodies = {}
        for kind, name in _TABLE_NAMES.items():
            place = f"{where}: {name}"
            bodies[kind] = _table_body(layout.TABLE.parse_stream(stream), kind)
        place = f"{where}: table of contents"
        _at_end(stream)
        place = f"{where}: package table"
        stream = io.BytesIO(bodies[layout.TABLE_PACKAGE])
        package = layout.PACKAGE.parse_stream(stream)
        _at_end(stream)
        place = f"{where}: module table"
        modules = _records(bodies[layout.TABLE_MODULES], layout.MODULE_COUNT, layout.MODULE, _module)
        place = f"{where}: process table"
        processes = _records(bodies[layout.TABLE_PROCESSES], layout.PROCESS_COUNT, layout.PROCESS, _process)
        place = f"{where}: table of contents"
        return TableOfContents(
            name=_text(package.name),
            version=_text(package.version),
            build_date=package.build_date,
            local_dependencies=_dependencies(package.local),
            remote_dependencies=_dependencies(package.remote),
            upgrades=_dependencies(package.upgrades),
            modules=modules,
            processes=processes,
        )
    except UsageError as e:
        spot = f"{place}: {e.where}" if e.where else place
        raise PackageFormatError(e.what, where=spot, expected=e.expected, found=e.found) from e
    except UnicodeDecodeError as e:
        raise PackageFormatError("text is not UTF-8", where=place, found=e.reason) from e
    except ConstructError as e:
        reason = str(e).strip().splitlines()[0]
        raise PackageFormatError("ends too early or out of bounds", where=place, found=reason) from e


def encode_table(toc: TableOfContents) -> bytes:
    """The one encoding of the table."""
    package = layout.PACKAGE.build(
        {
            "name": toc.name.encode(),
            "version": toc.version.encode(),
            "build_date": toc.build_date,
            "local": [_pair(d.name, d.constraint) for d in toc.local_dependencies],
            "remote": [_pair(d.name, d.constraint) for d in toc.remote_dependencies],
            "upgrades": [_pair(d.name, d.constraint) for d in toc.upgrades],
        }
    )
    modules = layout.MODULE_COUNT.build(len(toc.modules))
    modules += b"".join(layout.MODULE.build(_module_fields(module)) for module in toc.modules)
    processes = layout.PROCESS_COUNT.build(len(toc.processes))
    processes += b"".join(layout.PROCESS.build(_process_fields(process)) for process in toc.processes)
    bodies = {
        layout.TABLE_PACKAGE: package,
        layout.TABLE_MODULES: modules,
        layout.TABLE_PROCESSES: processes,
    }
    tables = [layout.TABLE.build({"kind": k, "reserved": 0, "body": body}) for k, body in bodies.items()]
    return b"".join(tables)


def _table_body(table: Container, kind: int) -> bytes:
    if (table.kind, table.reserved) != (kind, 0):
        raise UsageError(
            "wrong kind of table", expected=f"{kind}, reserved 0", found=(table.kind, table.reserved)
        )
    return bytes(table.body)


_Record = TypeVar("_Record")


def _records(
    body: bytes, count: Construct, record: Construct, convert: Callable[[Container], _Record]
) -> tuple[_Record, ...]:
    stream = io.BytesIO(body)
    records = tuple(convert(record.parse_stream(stream)) for _ in range(count.parse_stream(stream)))
    _at_end(stream)
    return records


def _at_end(stream: io.BytesIO) -> None:
    rest = len(stream.read())
    if rest:
        raise UsageError("bytes are left over", expected=0, found=rest)


def _module(raw: Container) -> Module:
    path = _text(raw.path)
    if raw.reserved:
        raise UsageError("reserved field is not zero", where=path, expected=0, found=raw.reserved)
    return Module(
        path=path,
        kind=_value(KIND_CODES, raw.kind, "kind", path),
        cpu=_value(CPU_CODES, raw.cpu, "CPU", path),
        mode=raw.mode,
        length=raw.length,
        stored_length=raw.stored_length,
        offset=raw.offset,
        compression=_value(COMPRESSION_CODES, raw.compression, "compression", path),
        sha256=Digest.from_bytes(raw.sha256),
        stored_sha256=Digest.from_bytes(raw.stored_sha256),
        substantive=Digest.from_bytes(raw.substantive),
        function=_text(raw.function),
        link_target=_text(raw.link_target),
        provides=tuple(_text(name) for name in raw.provides),
        consumes=tuple(_text(name) for name in raw.consumes),
    )


def _module_fields(module: Module) -> dict[str, Any]:
    return {
        "path": module.path.encode(),
        "kind": _code(KIND_CODES, module.kind),
        "cpu": _code(CPU_CODES, module.cpu),
        "compression": _code(COMPRESSION_CODES, module.compression),
        "reserved": 0,
        "mode": module.mode,
        "length": module.length,
        "stored_length": module.stored_length,
        "offset": module.offset,
        "sha256": module.sha256.to_bytes(),
        "stored_sha256": module.stored_sha256.to_bytes(),
        "substantive": module.substantive.to_bytes(),
        "function": module.function.encode(),
        "link_target": module.link_target.encode(),
        "provides": [name.encode() for name in module.provides],
        "consumes": [name.encode() for name in module.consumes],
    }


def _process(raw: Container) -> ProcessSpec:
    name = _text(raw.name)
    return ProcessSpec(
        name=name,
        module=_text(raw.module),
        argv=tuple(_text(argument) for argument in raw.argv),
        environment=tuple((_text(pair.name), _text(pair.value)) for pair in raw.environment),
        working_directory=_text(raw.working_directory),
        user=_user(raw, name),
        readiness=Readiness(
            _value(READINESS_CODES, raw.readiness, "readiness", name),
            raw.readiness_port,
        ),
        stop_signal=raw.stop_signal,
        grace_s=raw.grace_s,
        restart=_value(RESTART_CODES, raw.restart, "restart", name),
        self_managing=_value(FLAG_CODES, raw.self_managing, "self-managing", name),
    )


def _process_fields(process: ProcessSpec) -> dict[str, Any]:
    named = isinstance(process.user, NamedUser)
    return {
        "name": process.name.encode(),
        "module": process.module.encode(),
        "argv": [argument.encode() for argument in process.argv],
        "environment": [_pair(name, value) for name, value in process.environment],
        "working_directory": process.working_directory.encode(),
        "user_form": USER_BY_NAME if named else USER_BY_NUMBER,
        "uid": 0 if isinstance(process.user, NamedUser) else process.user.uid,
        "gid": 0 if isinstance(process.user, NamedUser) else process.user.gid,
        "user_name": process.user.name.encode() if isinstance(process.user, NamedUser) else b"",
        "readiness": _code(READINESS_CODES, process.readiness.kind),
        "readiness_port": process.readiness.port,
        "stop_signal": process.stop_signal,
        "grace_s": process.grace_s,
        "restart": _code(RESTART_CODES, process.restart),
        "self_managing": _code(FLAG_CODES, process.self_managing),
    }


def _user(raw: Container, process: str) -> User:
    by_name = (raw.user_form, raw.uid, raw.gid) == (USER_BY_NAME, 0, 0)
    if by_name:
        return NamedUser(_text(raw.user_name))
    if raw.user_form == USER_BY_NUMBER and not raw.user_name:
        return NumericUser(raw.uid, raw.gid)
    raise UsageError(
        "illegal user",
        where=process,
        expected="form 1 with numbers alone, or 2 with a name alone",
        found=(raw.user_form, raw.uid, raw.gid, bytes(raw.user_name)),
    )


def _dependencies(pairs: Iterable[Container]) -> tuple[Dependency, ...]:
    return tuple(Dependency(_text(pair.name), _text(pair.value)) for pair in pairs)


def _pair(name: str, value: str) -> dict[str, bytes]:
    return {"name": name.encode(), "value": value.encode()}


def _text(raw: bytes) -> str:
    return bytes(raw).decode("utf-8", "strict")


def _value(codes: Mapping[int, _Value], number: int, what: str, where: str) -> _Value:
    try:
        return codes[number]
    except KeyError:
        known = ", ".join(str(code) for code in codes)
        raise UsageError(f"unknown {what}", where=where, expected=f"one of {known}", found=number) from None


def _code(codes: Mapping[int, _Value], wanted: _Value) -> int:
    return next(number for number, value in codes.items() if value is wanted)
