"""The master's API: HTTP over a Unix socket, JSON both ways (docs/API.md).

Knows requests and shapes, and turns errors into documents. What is done is the service's business.
"""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from firmware_mgr.master.binding_api import binding_routes
from firmware_mgr.master.board_api import board_routes
from firmware_mgr.master.check_api import burn_document, card_discrepancies, change_document, check_routes
from firmware_mgr.master.class_api import class_routes, texts
from firmware_mgr.master.collect_api import collect_routes
from firmware_mgr.master.kept_api import kept_routes
from firmware_mgr.master.next_step import next_step
from firmware_mgr.master.operations import CardWork, Operation, phase_seconds
from firmware_mgr.master.requests import read_body
from firmware_mgr.master.roster import Entry
from firmware_mgr.master.service import Master
from firmware_mgr.master.settings_api import settings_routes
from firmware_mgr.master.watching import watch_route
from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.lifecycle import CardState
from firmware_mgr.model.software import SoftwareSet

_STATUS: dict[type[FwmgrError], int] = {UsageError: 400, PeerError: 422, DeviceError: 500}


class Api:
    """`also` are requests that have rooms of their own."""

    def __init__(self, master: Master, path: Path, also: Sequence[web.RouteDef] = ()) -> None:
        self._also = also
        self._master = master
        self._path = path
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; only the master's own user may connect. A socket that a killed master left is replaced."""
        app = web.Application(middlewares=[_errors])
        app.router.add_routes(
            [
                web.get("/v1/status", self._status),
                web.get("/v1/cards", self._cards),
                web.get("/v1/strangers", self._strangers),
                watch_route(self._master.engine.news, self._situation),
                web.get("/v1/card", self._card),
                web.post("/v1/card/want", self._want),
                web.post("/v1/card/approve", self._approve),
                web.get("/v1/operations", self._operations),
                web.get("/v1/operations/{id}", self._operation),
                web.post("/v1/operations/{id}/cancel", self._cancel),
                web.post("/v1/burn-all", self._burn_all),
                web.get("/v1/record", self._record),
                *settings_routes(self._master),
                *kept_routes(self._master.kept),
                *class_routes(self._master),
                *board_routes(self._master),
                *binding_routes(self._master),
                *check_routes(self._master),
                *collect_routes(self._master),
                *self._also,
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            before = os.umask(0o177)
            try:
                listening.bind(str(self._path))
            finally:
                os.umask(before)
        except OSError as e:
            listening.close()
            hint = "a socket's path has at most 107 characters" if "too long" in str(e) else ""
            raise DeviceError(
                "cannot listen", where=str(self._path), found=e.strerror or str(e), hint=hint
            ) from e
        await web.SockSite(self._runner, listening).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._path.unlink(missing_ok=True)

    async def _status(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "pid": os.getpid(),
                "address": str(self._master.settings.address),
                "cards": len(list(self._master.roster)),
                "images": len(self._master.roster.images),
                "packages": len(self._master.roster.packages),
                "refusals": self._master.gate.refusals,
            }
        )

    async def _cards(self, _request: web.Request) -> web.Response:
        return web.json_response([card_summary(entry, self._master) for entry in self._master.roster])

    def _situation(self) -> dict[str, Any]:
        return {
            "cards": [card_summary(entry, self._master) for entry in self._master.roster],
            "strangers": self._master.strangers.document(),
        }

    async def _strangers(self, _request: web.Request) -> web.Response:
        return web.json_response(self._master.strangers.document())

    async def _card(self, request: web.Request) -> web.Response:
        return web.json_response(
            card_document(self._master.roster.get(_slot(request.query.get("slot"))), self._master)
        )

    async def _want(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        slot = _slot(body.get("slot"))
        note = self._master.checks.note()
        entry = await self._master.want(slot, body.get("image"), body.get("packages"), note)
        warnings, check = self._master.warnings([entry]), await change_document(note, self._master)
        document = {**card_document(entry, self._master), "warnings": warnings, "check": check}
        return web.json_response(document)

    async def _approve(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        slot, key = _slot(body.get("slot")), body.get("key")
        return web.json_response(
            card_document(
                await self._master.approve(slot, key if isinstance(key, str) else None), self._master
            )
        )

    async def _operations(self, _request: web.Request) -> web.Response:
        operations = sorted(self._master.desk.operations.values(), key=lambda operation: operation.created_at)
        return web.json_response([operation_document(operation, self._master) for operation in operations])

    async def _operation(self, request: web.Request) -> web.Response:
        operation = self._master.desk.operation(request.match_info["id"])
        return web.json_response(operation_document(operation, self._master))

    async def _cancel(self, request: web.Request) -> web.Response:
        identifier = request.match_info["id"]
        operation = await self._master.cancel(identifier)
        return web.json_response(operation_document(operation, self._master))

    async def _burn_all(self, request: web.Request) -> web.Response:
        body = await read_body(request)
        slots = [_slot(text) for text in texts(body, "slots")] if body.get("slots") is not None else []
        if body.get("cards") is not None:
            slots += [slot for slot in self._master.select(texts(body, "cards")) if slot not in slots]
        if not slots and (body.get("slots") is not None or body.get("cards") is not None):
            raise UsageError(
                "slots must name at least one", expected="a list, or nothing for all", found="[]"
            )
        renew, erase = body.get("renew_keys") is True, body.get("erase") is True
        note = self._master.checks.note()
        operation = await self._master.burn_all(slots or None, renew, erase, note)
        check = await burn_document(operation, note, self._master)
        return web.json_response({**operation_document(operation, self._master), "check": check})

    async def _record(self, _request: web.Request) -> web.Response:
        export = await self._master.burn_log.export()
        return web.json_response(
            {
                "document": export.document.decode(),
                "signature": base64.b64encode(export.signature).decode(),
            }
        )


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except FwmgrError as e:
        status = next((code for kind, code in _STATUS.items() if isinstance(e, kind)), 422)
        return web.json_response(e.document(), status=status)
    except web.HTTPException as e:
        hint = "is this program newer than the master? start the master again"
        error = UsageError(f"no such request: {request.method} {request.path}", found=e.reason, hint=hint)
        return web.json_response(error.document(), status=e.status)


def _slot(text: object) -> SlotId:
    return SlotId.parse(str(text))


def card_summary(entry: Entry, master: Master) -> dict[str, Any]:
    """A row of `fwmgr cards`."""
    record = entry.record
    wanted = record.wanted
    step, done, total, written = entry.progress
    return {
        "slot": str(record.slot),
        "address": str(master.settings.card_address(record.slot)),
        "board": record.board,
        "class": master.wishes.said.class_name(record),
        "location": master.wishes.said.location(record),
        "bound": entry.bound is not None,
        "cpu": None if record.cpu is None else record.cpu.value,
        "present": record.present,
        "powered": entry.powered is True,
        "linked": entry.link is not None,
        "state": entry.life.state.value,
        "since": entry.life.since,
        "reason": entry.life.reason,
        "in_service": entry.life.state is CardState.IN_SERVICE,
        "admission": record.admission.value,
        "wanted_image": None if wanted is None else wanted.boot_image.version,
        "packages": [] if wanted is None else [f"{p.name} {p.version}" for p in wanted.packages],
        "features": None if wanted is None or wanted.features is None else list(wanted.features),
        "test_packages": _test_packages(record.wanted, master),
        "lacks": len(master.checks.lacks(record.slot)),
        "booted_from": None if entry.hello is None else entry.hello.boot_source.value,
        "boot_version": None if entry.hello is None else entry.hello.boot_version,
        "boot_seconds": None if entry.hello is None else entry.hello.boot_seconds,
        "processes": entry.processes,
        "refusal": entry.refusal,
        "settings": master.slot_settings.state(entry),
        "next_step": next_step(record.slot, entry.life.state, entry.refusal),
        "progress": {"step": step, "done": done, "total": total, "written": written},
    }


def card_document(entry: Entry, master: Master) -> dict[str, Any]:
    """All that is known of one card."""
    provisioning, chosen_by = master.wishes.provisioning(entry)
    record = entry.record
    return {
        **card_summary(entry, master),
        "pristine": {
            "order": provisioning.order.value,
            "save_image": provisioning.save_image,
            "from": chosen_by.value,
        },
        "trust": _trust_document(entry, master),
        "discrepancies": card_discrepancies(record.slot, master),
        "record": record.to_document(),
        "target": None if entry.target is None else entry.target.document(),
    }


def _test_packages(wanted: SoftwareSet | None, master: Master) -> list[str]:
    """Those of a set that are signed for tests only, as name and version."""
    refs = () if wanted is None else wanted.packages
    tests = {package.ref for package in master.roster.packages if package.is_test}
    return [f"{ref.name} {ref.version}" for ref in refs if ref in tests]


def _trust_document(entry: Entry, master: Master) -> dict[str, Any]:
    """The root of trust in the wanted boot image: its version, and whether test packages are taken; and the
    version that the card judges by, by its own word (0: a flat keyring), and why it trusts nobody.
    """
    wanted, said = entry.record.wanted, None if entry.hello is None else entry.hello.root
    ref = None if wanted is None else wanted.boot_image
    image = next((one for one in master.roster.images if one.ref == ref), None)
    root = None if image is None or image.root is None else image.root["version"]
    takes_test = image is not None and image.takes_test
    return {
        "root": root,
        "takes_test": takes_test,
        "card_root": None if said is None else said.version,
        "card_trouble": "" if said is None else said.trouble,
    }


def operation_document(operation: Operation, master: Master) -> dict[str, Any]:
    end = operation.finished_at
    return {
        "id": operation.id,
        "kind": "burn-all",
        "state": operation.state.value,
        "created_at": operation.created_at,
        "finished_at": end,
        "finished": operation.state.finished,
        "ready_for_use": operation.ready_for_use,
        "masters": operation.masters,
        "events": list(operation.events),
        "cards": {
            str(slot): _work_document(work, end, master.roster.get(slot) if slot in master.roster else None)
            for slot, work in sorted(operation.cards.items())
        },
    }


def _work_document(work: CardWork, end: float | None, entry: Entry | None) -> dict[str, Any]:
    document = work.document()
    document["phases"] = [list(phase) for phase in phase_seconds(work, end)]
    if entry is not None and end is None and not work.unfit:
        step, done, total, written = entry.progress
        document["progress"] = {"step": step, "done": done, "total": total, "written": written}
        document["state"] = entry.life.state.value
        document["reason"] = entry.life.reason
    return document
