"""Processes as bytes, both ways, the same in every format: SPEC-package §4.4.

Knows which number stands for which value. Refuses to know tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from construct import Container

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.forms import FLAG_CODES, code, pair, text, value
from firmware_mgr.package.process import (
    NamedUser,
    NumericUser,
    ProcessSpec,
    Readiness,
    ReadinessKind,
    Restart,
    User,
)

READINESS_CODES: Mapping[int, ReadinessKind] = {
    1: ReadinessKind.NOTIFY,
    2: ReadinessKind.STARTED,
    3: ReadinessKind.TCP,
}
RESTART_CODES: Mapping[int, Restart] = {1: Restart.ALWAYS, 2: Restart.ON_FAILURE, 3: Restart.NEVER}
USER_BY_NUMBER = 1
USER_BY_NAME = 2


def process_of(raw: Container) -> ProcessSpec:
    name = text(raw.name)
    return ProcessSpec(
        name=name,
        module=text(raw.module),
        argv=tuple(text(argument) for argument in raw.argv),
        environment=tuple((text(pair.name), text(pair.value)) for pair in raw.environment),
        working_directory=text(raw.working_directory),
        user=_user(raw, name),
        readiness=Readiness(
            value(READINESS_CODES, raw.readiness, "readiness", name),
            raw.readiness_port,
        ),
        stop_signal=raw.stop_signal,
        grace_s=raw.grace_s,
        restart=value(RESTART_CODES, raw.restart, "restart", name),
        self_managing=value(FLAG_CODES, raw.self_managing, "self-managing", name),
    )


def process_fields(process: ProcessSpec) -> dict[str, Any]:
    named = isinstance(process.user, NamedUser)
    return {
        "name": process.name.encode(),
        "module": process.module.encode(),
        "argv": [argument.encode() for argument in process.argv],
        "environment": [pair(name, content) for name, content in process.environment],
        "working_directory": process.working_directory.encode(),
        "user_form": USER_BY_NAME if named else USER_BY_NUMBER,
        "uid": 0 if isinstance(process.user, NamedUser) else process.user.uid,
        "gid": 0 if isinstance(process.user, NamedUser) else process.user.gid,
        "user_name": process.user.name.encode() if isinstance(process.user, NamedUser) else b"",
        "readiness": code(READINESS_CODES, process.readiness.kind),
        "readiness_port": process.readiness.port,
        "stop_signal": process.stop_signal,
        "grace_s": process.grace_s,
        "restart": code(RESTART_CODES, process.restart),
        "self_managing": code(FLAG_CODES, process.self_managing),
    }


def _user(raw: Container, process: str) -> User:
    by_name = (raw.user_form, raw.uid, raw.gid) == (USER_BY_NAME, 0, 0)
    if by_name:
        return NamedUser(text(raw.user_name))
    if raw.user_form == USER_BY_NUMBER and not raw.user_name:
        return NumericUser(raw.uid, raw.gid)
    raise UsageError(
        "illegal user",
        where=process,
        expected="form 1 with numbers alone, or 2 with a name alone",
        found=(raw.user_form, raw.uid, raw.gid, bytes(raw.user_name)),
    )
