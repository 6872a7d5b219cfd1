"""One version of the root of trust: keys, roles, thresholds, windows, revoked keys, minimums. SPEC-trust §2.

Knows which roots make sense by themselves, and their document. Refuses to know signatures and other versions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Self, TypeVar

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import check_name, check_version
from firmware_mgr.package.keyring import KEY_SIZE, Keyring, key_id
from firmware_mgr.package.trust import Role

MAX_KEYS: Final = 64
MAX_MINIMUMS: Final = 1024
MAX_VERSION: Final = 2**31 - 1
#: A moment is below this; also a build date of SPEC-package §4.1.
TIME_END: Final = 2**40
MAX_REASON: Final = 200

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
T = TypeVar("T")


class RootRefused(PeerError):
    """The bytes are no root of trust, or not one to be believed."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key and its window: what it signs for packages counts from `since` on and before `until`."""

    public: bytes
    name: str
    since: int = 0
    until: int | None = None

    def __post_init__(self) -> None:
        _must(len(self.public) == KEY_SIZE, "public key", f"{KEY_SIZE} bytes", len(self.public))
        _must(_NAME.fullmatch(self.name), "name of a key", "letters, digits, . _ @ + -", repr(self.name))
        _moment(self.since, "since")
        if self.until is not None:
            _moment(self.until, "until")
            _must(self.since < self.until, f"window of {self.name}", "since before until", self.until)

    @property
    def id(self) -> str:
        return key_id(self.public)

    def holds(self, moment: int) -> bool:
        """Whether the window holds it."""
        return self.since <= moment and (self.until is None or moment < self.until)


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """A key that counts no more, and why. It stays listed so that what it signed can be recognised."""

    public: bytes
    name: str
    reason: str

    def __post_init__(self) -> None:
        ListedKey(self.public, self.name)
        good = 0 < len(self.reason) <= MAX_REASON and self.reason.isprintable()
        expected = f"1 to {MAX_REASON} printable characters"
        _must(good, f"reason why {self.name} is revoked", expected, repr(self.reason))

    @property
    def id(self) -> str:
        return key_id(self.public)


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """Whose signatures count for a role, and how many it takes."""

    keys: frozenset[str] = frozenset()
    threshold: int = 1


@dataclass(frozen=True, slots=True)
class Root:
    """Version 0 is a flat keyring's, which nobody signed."""

    version: int
    issued: int
    keys: Mapping[str, ListedKey]
    roles: Mapping[Role, RoleKeys]
    revoked: Mapping[str, RevokedKey] = field(default_factory=dict)
    minimum_versions: Mapping[str, str] = field(default_factory=dict)
    earliest: int = 0

    def __post_init__(self) -> None:
        for name in ("keys", "roles", "revoked", "minimum_versions"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        _must(0 <= self.version <= MAX_VERSION, "version", f"1 to {MAX_VERSION}", self.version)
        _moment(self.issued, "issued")
        _moment(self.earliest, "earliest")
        self._check_keys()
        self._check_roles()
        _must(len(self.minimum_versions) <= MAX_MINIMUMS, "minimum versions", MAX_MINIMUMS, "more")
        for name, version in self.minimum_versions.items():
            check_name(name, "package")
            check_version(version)

    def _check_keys(self) -> None:
        for what, listed in (("keys", self.keys), ("revoked", self.revoked)):
            _must(len(listed) <= MAX_KEYS, f"number of {what}", f"{MAX_KEYS} at most", len(listed))
            for identifier, key in listed.items():
                _must(key.id == identifier, f"id of key {key.name}", key.id, identifier)
        both = sorted(self.keys.keys() & self.revoked.keys())
        _must(not both, "a key is listed and revoked", "one of both", ", ".join(key[:12] for key in both))
        names = [key.name for key in self.keys.values()]
        twice = sorted({name for name in names if names.count(name) > 1})
        _must(not twice, "names of keys", "each once", ", ".join(twice))

    def _check_roles(self) -> None:
        _must(set(self.roles) == set(Role), "roles", _list(r.value for r in Role), len(self.roles))
        for role, held in self.roles.items():
            unknown = sorted(held.keys - self.keys.keys())
            _must(not unknown, f"keys of role {role.value}", "keys that are listed", _list(unknown))
            most = max(1, len(held.keys))
            good = type(held.threshold) is int and 1 <= held.threshold <= most
            _must(good, f"threshold of role {role.value}", f"1 to {most}", held.threshold)
        _must(self.version == 0 or self.roles[Role.ROOT].keys, "role root", "a key at least", "none")
        shared = sorted(self.roles[Role.RELEASE].keys & self.roles[Role.TEST].keys)
        names = _list(self.keys[key].name for key in shared)
        _must(not shared, "keys of release and test are apart", "a key in one of the two", names)

    @classmethod
    def of_keyring(cls, keyring: Keyring) -> Self:
        """A flat keyring as a root: all keys may release, alone, without end (SPEC-trust §7)."""
        keys = {name: ListedKey(public, name[:12]) for name, public in keyring.keys.items()}
        roles = {Role.ROOT: RoleKeys(), Role.RELEASE: RoleKeys(frozenset(keys)), Role.TEST: RoleKeys()}
        return cls(0, 0, keys, roles)

    def public_of(self, key: str) -> bytes | None:
        """The raw public key of an id, also of a revoked one; None when it is not listed."""
        found = self.keys.get(key) or self.revoked.get(key)
        return None if found is None else found.public

    def document(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "issued": self.issued,
            "keys": {
                name: {"name": key.name, "public": key.public.hex(), "since": key.since, "until": key.until}
                for name, key in self.keys.items()
            },
            "revoked": {
                name: {"name": key.name, "public": key.public.hex(), "reason": key.reason}
                for name, key in self.revoked.items()
            },
            "roles": {
                role.value: {"keys": sorted(held.keys), "threshold": held.threshold}
                for role, held in self.roles.items()
            },
            "minimum_versions": dict(self.minimum_versions),
            "earliest": self.earliest,
        }

    @classmethod
    def from_document(cls, document: Any, where: str = "root of trust") -> Self:
        """Raises RootRefused that names what is wrong."""
        try:
            fields = _fields(document, _ROOT_FIELDS, "root")
            _must(fields["version"] != 0, "version", "1 or more", 0)
            return cls(
                _number(fields["version"]),
                _number(fields["issued"]),
                _each(fields["keys"], _listed_key),
                {Role(name): _role(value) for name, value in _mapping(fields["roles"]).items()},
                _each(fields["revoked"], _revoked_key),
                _each(fields["minimum_versions"], _text),
                _number(fields["earliest"]),
            )
        except (TypeError, ValueError) as e:
            raise RootRefused("not a root of trust", where=where, found=str(e)) from e
        except UsageError as e:
            raise RootRefused(
                f"root of trust makes no sense: {e.what}", where=where, expected=e.expected, found=e.found
            ) from e


_ROOT_FIELDS = {"version", "issued", "keys", "revoked", "roles", "minimum_versions", "earliest"}


def _listed_key(value: Any) -> ListedKey:
    fields = _fields(value, {"name", "public", "since", "until"}, "key")
    until = fields["until"]
    return ListedKey(
        _hex(fields["public"]),
        _text(fields["name"]),
        _number(fields["since"]),
        None if until is None else _number(until),
    )


def _revoked_key(value: Any) -> RevokedKey:
    fields = _fields(value, {"name", "public", "reason"}, "revoked key")
    return RevokedKey(_hex(fields["public"]), _text(fields["name"]), _text(fields["reason"]))


def _role(value: Any) -> RoleKeys:
    fields = _fields(value, {"keys", "threshold"}, "role")
    keys = fields["keys"]
    if not isinstance(keys, list) or keys != sorted({_text(key) for key in keys}):
        raise ValueError("keys of a role are not a sorted list of ids, each once")
    return RoleKeys(frozenset(keys), _number(fields["threshold"]))


def _each(value: Any, read: Callable[[Any], T]) -> dict[str, T]:
    return {name: read(item) for name, item in _mapping(value).items()}


def _fields(value: Any, names: set[str], what: str) -> Mapping[str, Any]:
    if _mapping(value).keys() != names:
        raise ValueError(f"{what} has other fields than {', '.join(sorted(names))}")
    return _mapping(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, found {type(value).__name__}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {type(value).__name__}")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"expected a number, found {type(value).__name__}")
    return value


def _hex(value: Any) -> bytes:
    raw = bytes.fromhex(_text(value))
    if raw.hex() != value:
        raise ValueError("hex digits are not in the canonical form")
    return raw


def _moment(value: int, what: str) -> None:
    _must(type(value) is int and 0 <= value < TIME_END, what, "seconds since 1970, below 2^40", value)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _must(good: object, what: str, expected: object, found: object) -> None:
    if not good:
        raise UsageError(what, where="root of trust", expected=expected, found=found)
