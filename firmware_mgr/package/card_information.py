"""Card information: what classes and cards are to run, as strict, bounded JSON. SPEC-package §10.4.

Knows its form. Refuses to know whether a class, card or version is there: that is for who adds it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId, check_name, check_version
from firmware_mgr.model.software import MAX_FEATURES, check_features
from firmware_mgr.package.bundle import MAX_INFORMATION
from firmware_mgr.package.errors import PackageFormatError
from firmware_mgr.package.paths import has_control

FORMAT = 1
MAX_CLASSES = 1_024
MAX_CARDS = 10_000
MAX_LOCATION = 256
MAX_WISHES = 1_024
MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class CardWish:
    """What a class or card is to run; `packages` in order, `NAME` or `NAME=VERSION`. None: not said."""

    images: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None

    def document(self) -> dict[str, Any]:
        """As JSON; what is not said is left out."""
        lists = {"packages": self.packages, "features": self.features}
        said = {name: list(found) for name, found in lists.items() if found is not None}
        return {**({"images": dict(self.images)} if self.images else {}), **said}


@dataclass(frozen=True, slots=True)
class CardEntry:
    """A card by its slot, or all cards of a board."""

    slot: SlotId | None
    board: str | None
    wish: CardWish
    card_class: str | None = None
    location: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        slot = None if self.slot is None else str(self.slot)
        texts = {"slot": slot, "board": self.board, "class": self.card_class, "location": self.location}
        return {**{name: text for name, text in texts.items() if text}, **self.wish.document()}


@dataclass(frozen=True, slots=True)
class CardInformation:
    """The whole document. `preferred_*` are versions by board and by package."""

    classes: Mapping[str, CardWish] = field(default_factory=dict)
    cards: tuple[CardEntry, ...] = ()
    preferred_images: Mapping[str, str] = field(default_factory=dict)
    preferred_packages: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON, in its one form."""
        preferred = {"images": dict(self.preferred_images), "packages": dict(self.preferred_packages)}
        return {
            "format": FORMAT,
            "classes": {name: wish.document() for name, wish in self.classes.items()},
            "cards": [card.document() for card in self.cards],
            "preferred": {name: found for name, found in preferred.items() if found},
        }


def parse_card_information(data: bytes, where: str) -> CardInformation:
    """Raises PackageFormatError, whatever the bytes are."""
    try:
        if len(data) > MAX_INFORMATION:
            raise UsageError("too long", expected=f"{MAX_INFORMATION} bytes at most", found=len(data))
        _check_depth(data)
        document = json.loads(
            data.decode("utf-8", "strict"),
            object_pairs_hook=_unique,
            parse_float=_no_number,
            parse_constant=_no_number,
            parse_int=_whole,
        )
        return _information(document)
    except UsageError as e:
        spot = f"{where}: {e.where}" if e.where else where
        raise PackageFormatError(
            f"card information: {e.what}", where=spot, expected=e.expected, found=e.found
        ) from e
    except ValueError as e:
        raise PackageFormatError("card information is not JSON", where=where, found=str(e)) from e


def _check_depth(data: bytes) -> None:
    """Before the parser recurses: brackets outside of strings."""
    depth, quoted, escaped = 0, False, False
    for byte in data:
        if quoted:
            quoted = escaped or byte != 0x22
            escaped = byte == 0x5C and not escaped
        elif byte == 0x22:
            quoted = True
        elif byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise UsageError("nested too deep", expected=f"{MAX_DEPTH} at most")
        elif byte in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise UsageError("a name stands twice in an object", found=", ".join(name for name, _ in pairs)[:200])
    return found


def _no_number(text: str) -> NoReturn:
    raise UsageError("not a whole number", found=text[:40])


def _whole(text: str) -> int:
    if len(text) > 10:
        _no_number(text)
    return int(text)


def _object(value: Any, where: str, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError("not an object", where=where, found=type(value).__name__)
    unknown = [name for name in value if name not in names]
    if unknown:
        raise UsageError("unknown name", where=where, expected=", ".join(names), found=repr(unknown[0]))
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UsageError("not a text", where=where, found=type(value).__name__)
    return value


def _entries(value: Any, where: str, limit: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > limit:
        raise UsageError("not a list, or too long", where=where, expected=f"{limit} entries at most")
    return value


def _named(value: Any, where: str, check: Callable[[str], str], limit: int) -> dict[str, Any]:
    """An object whose names are free, within their rule."""
    if not isinstance(value, dict) or len(value) > limit:
        raise UsageError("not an object, or too long", where=where, expected=f"{limit} entries at most")
    return {check(name): item for name, item in value.items()}


def _board(text: str) -> str:
    return check_name(text, "board")


def _package(text: str) -> str:
    return check_name(text, "package")


def _class(text: str) -> str:
    return check_name(text, "card class")


def _versions(value: Any, where: str, check: Callable[[str], str]) -> dict[str, str]:
    found = _named(value, where, check, MAX_WISHES)
    return {name: check_version(_text(version, where)) for name, version in found.items()}


def _wish(fields: Mapping[str, Any], where: str) -> CardWish:
    packages = features = None
    if "packages" in fields:
        packages = tuple(_text(item, where) for item in _entries(fields["packages"], where, MAX_WISHES))
        names = []
        for wish in packages:
            name, equals, version = wish.partition("=")
            names.append(_package(name))
            if equals:
                check_version(version)
        if len(names) != len(set(names)):
            raise UsageError("a package is named twice", where=where, found=", ".join(names)[:200])
    if "features" in fields:
        items = _entries(fields["features"], where, MAX_FEATURES)
        features = tuple(_text(item, where) for item in items)
        check_features(features, where)
    return CardWish(_versions(fields.get("images", {}), where, _board), packages, features)


def _card(value: Any, index: int) -> CardEntry:
    where = f"cards[{index}]"
    names = ("slot", "board", "class", "location", "images", "packages", "features")
    fields = _object(value, where, names)
    if ("slot" in fields) == ("board" in fields):
        raise UsageError("a card names a slot or a board", where=where, expected="one of them")
    slot = SlotId.parse(_text(fields["slot"], where)) if "slot" in fields else None
    board = _board(_text(fields["board"], where)) if "board" in fields else None
    location = _text(fields.get("location", ""), where)
    if len(location.encode("utf-8", "replace")) > MAX_LOCATION or has_control(location):
        raise UsageError("not a location", where=where, expected=f"a line of {MAX_LOCATION} bytes at most")
    card_class = _class(_text(fields["class"], where)) if "class" in fields else None
    return CardEntry(slot, board, _wish(fields, where), card_class, location)


def _information(value: Any) -> CardInformation:
    document = _object(value, "", ("format", "classes", "cards", "preferred"))
    version = document.get("format")
    if type(version) is not int or version != FORMAT:
        raise UsageError("unknown format", expected=FORMAT, found=repr(version)[:40])
    classes = _named(document.get("classes", {}), "classes", _class, MAX_CLASSES)
    wishes = {
        name: _wish(_object(item, f"class {name}", ("images", "packages", "features")), f"class {name}")
        for name, item in classes.items()
    }
    entries = _entries(document.get("cards", []), "cards", MAX_CARDS)
    cards = tuple(_card(item, index) for index, item in enumerate(entries))
    places = [card.slot or card.board for card in cards]
    if len(set(places)) != len(places):
        raise UsageError("a slot or board stands twice", where="cards")
    preferred = _object(document.get("preferred", {}), "preferred", ("images", "packages"))
    return CardInformation(
        wishes,
        cards,
        _versions(preferred.get("images", {}), "preferred", _board),
        _versions(preferred.get("packages", {}), "preferred", _package),
    )
