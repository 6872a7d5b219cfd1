"""What all parts of the API do with a request: its body as an object. Knows HTTP alone."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from firmware_mgr.model.errors import UsageError


async def read_body(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request, empty when there is no body. Raises UsageError."""
    try:
        body = await request.json() if request.can_read_body else {}
    except ValueError as e:
        raise UsageError("request is not JSON", where=request.path, found=str(e)) from e
    if not isinstance(body, dict):
        raise UsageError("request is not an object", where=request.path, found=type(body).__name__)
    return body
