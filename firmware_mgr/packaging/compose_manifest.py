"""The manifest of a composite image, a TOML file: which members, for whom, and what cards are to run.

An error names the file, the key and what was expected there. Refuses to know how members are read.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.package.bundle import Targets
from firmware_mgr.package.card_information import FORMAT, CardInformation, parse_card_information
from firmware_mgr.package.layout import EnvelopeKind
from firmware_mgr.packaging.compose import BundleHead

_KEYS = {
    "composite": ("name", "version", "build_date"),
    "targets": ("slots", "boards", "classes", "packages"),
    "image": ("folder",),
    "package": ("file",),
}


@dataclass(frozen=True, slots=True)
class CompositeManifest:
    """Paths are absolute, or from where the command runs."""

    head: BundleHead
    images: tuple[Path, ...]
    packages: tuple[Path, ...]
    information: CardInformation | None


def load_composite_manifest(path: Path) -> CompositeManifest:
    """Read a manifest file. Raises UsageError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise UsageError("manifest cannot be read", where=str(path), found=e.strerror) from e
    except ValueError as e:
        raise UsageError("manifest is not TOML", where=str(path), found=str(e)) from e
    try:
        return _manifest(document, path.parent)
    except FwmgrError as e:
        where = f"{path}: {e.where}" if e.where else str(path)
        raise UsageError(e.what, where=where, expected=e.expected, found=e.found) from e


def _manifest(document: dict[str, Any], folder: Path) -> CompositeManifest:
    _only(document, (*_KEYS, "class", "card", "preferred"), "")
    about = _table(document, "composite")
    targets = _table(document, "targets")
    head = BundleHead(
        EnvelopeKind.COMPOSITE,
        _text(about, "name", "composite"),
        _text(about, "version", "composite"),
        _date(about.get("build_date")),
        Targets(**{name: tuple(sorted(_texts(targets, name))) for name in _KEYS["targets"]}),
    )
    images = tuple(folder / _text(one, "folder", "image") for one in _tables(document, "image"))
    packages = tuple(folder / _text(one, "file", "package") for one in _tables(document, "package"))
    parts = {"classes": document.get("class"), "cards": document.get("card")}
    parts["preferred"] = document.get("preferred")
    said = {name: part for name, part in parts.items() if part is not None}
    information = None
    if said:
        raw = json.dumps({"format": FORMAT, **said}, default=str).encode()
        information = parse_card_information(raw, "")
    return CompositeManifest(head, images, packages, information)


def _only(found: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in found:
        if name not in known:
            raise UsageError("unknown key", where=where, expected=", ".join(known), found=name)


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name, {})
    if not isinstance(found, dict):
        raise UsageError("not a table", where=name, expected=f"[{name}]")
    _only(found, _KEYS[name], name)
    return found


def _tables(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = document.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise UsageError("not a list of tables", where=name, expected=f"[[{name}]]")
    for one in found:
        _only(one, _KEYS[name], name)
    return found


def _text(table: dict[str, Any], name: str, where: str) -> str:
    found = table.get(name)
    if not isinstance(found, str):
        raise UsageError("missing or not a text", where=f"{where}.{name}", expected="a text", found=found)
    return found


def _texts(table: dict[str, Any], name: str) -> list[str]:
    found = table.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UsageError("not a list of texts", where=f"targets.{name}", expected="a list of texts")
    return found


def _date(found: object) -> int | None:
    if found is None:
        return None
    if not isinstance(found, datetime) or found.tzinfo is None:
        expected = "a date with a time zone, such as 2025-06-01T00:00:00Z"
        raise UsageError("not a date", where="composite.build_date", expected=expected, found=found)
    return int(found.astimezone(UTC).timestamp())
