"""The part of the master's API that sets and shows settings. Knows requests and shapes; shows no secrets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from firmware_mgr.master.service import Master
from firmware_mgr.master.settings_desk import Change, NewFile, NewVariable
from firmware_mgr.master.site_settings import SettingsRecord, check_owner
from firmware_mgr.model.errors import UsageError

#: Bytes of one file.
MAX_FILE = 512 * 1024


def settings_routes(master: Master) -> list[web.RouteDef]:
    """`GET /v1/settings`, `GET /v1/settings/one?owner`, `POST /v1/settings`."""
    desk = master.slot_settings

    async def several(_request: web.Request) -> web.Response:
        return web.json_response([settings_document(record) for record in desk.records()])

    async def one(request: web.Request) -> web.Response:
        record = desk.record(str(request.query.get("owner")))
        document = settings_document(record)
        for row, file in zip(document["files"], record.files, strict=True):
            if not file.secret:
                row["content"] = base64.b64encode(desk.content(record, file)).decode()
        return web.json_response(document)

    async def change(request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ValueError as e:
            # Not what was sent: it may be a secret.
            raise UsageError("request is not JSON", where=request.path) from e
        if not isinstance(body, dict):
            raise UsageError("request is not an object", where=request.path, found=type(body).__name__)
        owner = check_owner(str(body.get("owner")))
        return web.json_response(settings_document(await master.change_settings(owner, read_change(body))))

    return [
        web.get("/v1/settings", several),
        web.get("/v1/settings/one", one),
        web.post("/v1/settings", change),
    ]


def settings_document(record: SettingsRecord) -> dict[str, Any]:
    """What may be shown: of a secret its length and mark."""
    return {
        "owner": record.owner,
        "updated_at": record.updated_at,
        "hostname": record.hostname,
        "addresses": None if record.addresses is None else list(record.addresses),
        "files": [
            {
                "path": file.path,
                "mode": f"{file.mode:04o}",
                "owner": f"{file.uid}:{file.gid}",
                "secret": file.secret,
                "length": file.length,
                "digest": str(file.mark),
            }
            for file in record.files
        ],
        "variables": [
            {
                "name": variable.name,
                "secret": variable.secret,
                "length": variable.length,
                "digest": str(variable.mark),
                **({} if variable.secret else {"value": variable.value}),
            }
            for variable in record.variables
        ],
    }


def read_change(body: Mapping[str, Any]) -> Change:
    """Raises UsageError that names the member, never its value."""
    hostname = body.get("hostname")
    addresses = body.get("addresses")
    _check("hostname", hostname is None or isinstance(hostname, str))
    return Change(
        hostname=hostname,
        addresses=None if addresses is None else _texts(body, "addresses"),
        files=tuple(_file(raw) for raw in _objects(body, "files")),
        variables=tuple(_variable(raw) for raw in _objects(body, "variables")),
        without_files=_texts(body, "without_files"),
        without_variables=_texts(body, "without_variables"),
        without_all=body.get("without_all") is True,
    )


def _file(raw: Mapping[str, Any]) -> NewFile:
    for name, kind in (("path", str), ("mode", int), ("uid", int), ("gid", int), ("content", str)):
        _check(f"files: {name}", type(raw.get(name)) is kind)
    try:
        content = base64.b64decode(raw["content"], validate=True)
    except (binascii.Error, ValueError) as e:
        raise UsageError("unusable member", where="files: content", expected="base64") from e
    if len(content) > MAX_FILE:
        raise UsageError(
            "file is too large", where=raw["path"], expected=f"{MAX_FILE} bytes at most", found=len(content)
        )
    secret = raw.get("secret") is True
    return NewFile(raw["path"], raw["mode"], raw["uid"], raw["gid"], secret, content)


def _variable(raw: Mapping[str, Any]) -> NewVariable:
    for name in ("name", "value"):
        _check(f"variables: {name}", isinstance(raw.get(name), str))
    return NewVariable(raw["name"], raw.get("secret") is True, raw["value"])


def _objects(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    rows = body.get(name, [])
    _check(name, isinstance(rows, list) and all(isinstance(row, dict) for row in rows))
    return list(rows)


def _texts(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    rows = body.get(name, [])
    _check(name, isinstance(rows, list) and all(isinstance(row, str) for row in rows))
    return tuple(rows)


def _check(name: str, right: bool) -> None:
    if not right:
        raise UsageError("unusable member", where=name)
