"""Moments as people write them on the command line: a day, or a day and a time, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from firmware_mgr.model.errors import UsageError


def moment(text: str) -> int:
    """Seconds since 1970 of `2025-06-01`, `2025-06-01T12:30`, or `@1748736000`. Raises UsageError."""
    if text.startswith("@") and text[1:].isascii() and text[1:].isdigit():
        return int(text[1:])
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as e:
        raise UsageError(
            "not a moment", expected="2025-06-01, 2025-06-01T12:30 (UTC), or @SECONDS", found=text
        ) from e
    return int((parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp())
