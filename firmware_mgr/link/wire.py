"""Turns message dataclasses into JSON documents and back, strictly, by their type annotations.

Knows the few types that messages use. A missing or ill-typed field is a PeerError that names it; unknown
fields are passed over, so that a newer peer may say more, and fields of a newer version of the protocol are
not said to an older peer (SPEC-link §4).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import types
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import Digest, MacAddress, SlotId
from firmware_mgr.model.software import BootImageRef, PackageRef, SoftwareSet

T = TypeVar("T")

_DOCUMENTS = (SoftwareSet, BootImageRef, PackageRef)
_PLAIN = (str, int, float, bool)
#: Characters in one text. No field of a message needs more.
MAX_TEXT = 4096
#: Items in one list: a boot image of 64 GiB has so many pieces.
MAX_ITEMS = 65536
#: The largest whole number, either way: what a database column and most languages hold.
MAX_NUMBER = 2**63 - 1
#: Characters of a refused value that an error repeats.
_SHOWN = 200
#: Bytes in one value of bytes; they travel as base64 (RFC 4648 §4).
MAX_BYTES = 64 * 1024
_SINCE = "since"


def since(version: int) -> dict[str, int]:
    """The metadata of a field that came with that version of the protocol: older peers are not told it.

    Such a field needs a default: `name: str = field(default="", metadata=since(2))`.
    """
    return {_SINCE: version}


def to_plain(value: Any, version: int | None = None) -> Any:
    """A JSON-ready value; with `version` without the fields that came later."""
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, _DOCUMENTS):
        return value.document()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Digest | MacAddress | SlotId):
        return str(value)
    if dataclasses.is_dataclass(value):
        return {
            f.name: to_plain(getattr(value, f.name), version)
            for f in dataclasses.fields(value)
            if version is None or f.metadata.get(_SINCE, 0) <= version
        }
    if isinstance(value, tuple | list):
        return [to_plain(item, version) for item in value]
    if isinstance(value, dict):
        return {str(key): to_plain(item, version) for key, item in value.items()}
    raise TypeError(f"no wire form for {type(value).__name__}")


@cache
def _fields(kind: type[Any]) -> dict[str, tuple[Any, bool]]:
    hints = get_type_hints(kind)
    return {
        f.name: (
            hints[f.name],
            f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
        )
        for f in dataclasses.fields(kind)
    }


def from_plain(kind: type[T], document: Any, where: str) -> T:
    """Read a dataclass. Raises PeerError naming the field."""
    try:
        value: T = _read(kind, document, where)
    except RecursionError as e:
        raise PeerError("document is nested too deeply", where=where) from e
    return value


def _read(kind: Any, raw: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if raw is None and type(None) in get_args(kind):
            return None
        (inner,) = [arg for arg in get_args(kind) if arg is not type(None)]
        return _read(inner, raw, where)
    if origin is tuple:
        if not isinstance(raw, list):
            raise PeerError("wrong type", where=where, expected="a list", found=type(raw).__name__)
        if len(raw) > MAX_ITEMS:
            raise PeerError("list is too long", where=where, expected=f"at most {MAX_ITEMS}", found=len(raw))
        item = get_args(kind)[0]
        return tuple(_read(item, element, f"{where}[{n}]") for n, element in enumerate(raw))
    if origin is dict:
        if not isinstance(raw, dict):
            raise PeerError("wrong type", where=where, expected="an object", found=type(raw).__name__)
        item = get_args(kind)[1]
        for key in raw:
            _check_text(key, where)
        return {key: _read(item, element, f"{where}.{key}") for key, element in raw.items()}
    if kind is Any:
        return raw
    if kind in _PLAIN:
        return _read_plain(kind, raw, where)
    if kind is bytes:
        return _read_bytes(raw, where)
    try:
        if kind in _DOCUMENTS:
            document = _object(raw, where)
            try:
                return kind.from_document(document)
            except PeerError as e:
                found = None if e.found is None else e.found[:_SHOWN]
                raise PeerError(e.what, where=where, expected=e.expected, found=found) from e
        if kind is SlotId:
            return SlotId.parse(_read_plain(str, raw, where))
        if kind in (Digest, MacAddress):
            return kind(_read_plain(str, raw, where))
        if isinstance(kind, type) and issubclass(kind, Enum):
            return kind(raw)
    except (UsageError, ValueError) as e:
        raise PeerError(
            "unusable value", where=where, expected=kind.__name__, found=repr(raw)[:_SHOWN]
        ) from e
    document = _object(raw, where)
    values = {}
    for name, (hint, required) in _fields(kind).items():
        if name in document:
            values[name] = _read(hint, document[name], f"{where}.{name}")
        elif required:
            raise PeerError("field is missing", where=where, expected=name)
    try:
        return kind(**values)
    except UsageError as e:
        raise PeerError("unusable value", where=where, found=str(e)[:_SHOWN]) from e


def _object(raw: Any, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise PeerError("wrong type", where=where, expected="an object", found=type(raw).__name__)
    return raw


def _check_text(text: str, where: str) -> None:
    """A text must be bounded, and such that it can be written down again."""
    if len(text) > MAX_TEXT:
        raise PeerError(
            "text is too long", where=where, expected=f"at most {MAX_TEXT} characters", found=len(text)
        )
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise PeerError("text holds half a surrogate pair", where=where)


def _read_bytes(raw: Any, where: str) -> bytes:
    if type(raw) is not str:
        raise PeerError("wrong type", where=where, expected="base64", found=type(raw).__name__)
    if len(raw) > MAX_BYTES // 3 * 4 + 4:
        raise PeerError("bytes are too long", where=where, expected=f"at most {MAX_BYTES}", found=len(raw))
    try:
        return base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError) as e:
        raise PeerError("not base64", where=where, found=str(e)) from e


def _read_plain(kind: Any, raw: Any, where: str) -> Any:
    if type(raw) in (int, float) and not abs(raw) <= MAX_NUMBER:  # not a number is not less either
        raise PeerError("number out of range", where=where, expected=f"at most {MAX_NUMBER} either way")
    if kind is float and type(raw) is int:
        return float(raw)
    if type(raw) is not kind:
        raise PeerError("wrong type", where=where, expected=kind.__name__, found=type(raw).__name__)
    if kind is str:
        _check_text(raw, where)
    return raw
