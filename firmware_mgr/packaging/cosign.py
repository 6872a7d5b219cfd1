"""Signing on several machines: a request to read, signatures that travel alone, and the two joined.

Knows how a package, set or composite image gets another number of signatures: its header changes, table and
content do not. SPEC-trust §8. Refuses to know who is trusted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.package import layout, strict_json
from firmware_mgr.package.bundle import Bundle
from firmware_mgr.package.contents import TableOfContents
from firmware_mgr.package.head import contents_of, parse_header
from firmware_mgr.package.layout import HEADER_SIZE
from firmware_mgr.packaging.keys import SigningKey

FORMAT: Final = 1
REQUEST: Final = "fwmgr sign request"
DETACHED: Final = "fwmgr detached signature"
MAX_REQUEST: Final = 12 << 20
MAX_DETACHED: Final = 4 << 10
_SIGNATURE_SIZE: Final = 64


@dataclass(frozen=True, slots=True)
class SignRequest:
    """A header for so many signatures, and the table of contents that it is bound to."""

    header: bytes
    table: bytes

    def contents(self, where: str = "sign request") -> TableOfContents | Bundle:
        """What would be signed, for a person to look at. Raises PackageFormatError."""
        return contents_of(parse_header(self.header, where), self.table, where)

    @property
    def signatures(self) -> int:
        """How many signatures the package will have."""
        size = parse_header(self.header).signatures_length - layout.SIGNATURES_HEAD.sizeof()
        return int(size // layout.SIGNATURE.sizeof())

    @property
    def message(self) -> bytes:
        version = parse_header(self.header).version
        return layout.signed_message(self.header, hashlib.sha256(self.table).digest(), version)

    def encode(self) -> bytes:
        fields = {"header": self.header, "table": self.table}
        texts = {name: base64.b64encode(raw).decode() for name, raw in fields.items()}
        return strict_json.encode({"format": FORMAT, "kind": REQUEST, **texts})

    @classmethod
    def decode(cls, data: bytes, where: str = "sign request") -> Self:
        """Raises PeerError when it is none, or its header is not for this table."""
        fields = _read(data, MAX_REQUEST, REQUEST, {"header", "table"}, where)
        try:
            header, table = (base64.b64decode(fields[name], validate=True) for name in ("header", "table"))
        except (binascii.Error, TypeError, ValueError) as e:
            raise PeerError("not a sign request", where=where, expected="Base64", found=str(e)) from e
        request = cls(header, table)
        parsed = parse_header(header, where)
        if (
            len(table) != parsed.table_length
            or hashlib.sha256(table).digest() != parsed.table_sha256.to_bytes()
        ):
            raise PeerError("header is for another table of contents", where=where)
        request.contents(where)
        return request


@dataclass(frozen=True, slots=True)
class DetachedSignature:
    """One signature over one header; `header` is the SHA-256 of that."""

    header: bytes
    key: str
    signature: bytes

    def encode(self) -> bytes:
        return strict_json.encode(
            {
                "format": FORMAT,
                "kind": DETACHED,
                "header_sha256": self.header.hex(),
                "key": self.key,
                "signature": self.signature.hex(),
            }
        )

    @classmethod
    def decode(cls, data: bytes, where: str = "detached signature") -> Self:
        """Raises PeerError."""
        fields = _read(data, MAX_DETACHED, DETACHED, {"header_sha256", "key", "signature"}, where)
        try:
            raw = {name: bytes.fromhex(fields[name]) for name in ("header_sha256", "key", "signature")}
        except (TypeError, ValueError) as e:
            raise PeerError("not a detached signature", where=where, found=str(e)) from e
        lengths = [len(value) for value in raw.values()]
        if lengths != [32, 32, _SIGNATURE_SIZE] or any(raw[name].hex() != fields[name] for name in raw):
            raise PeerError("not a detached signature", where=where, expected="hex digits", found=lengths)
        return cls(raw["header_sha256"], fields["key"], raw["signature"])


def request_for(head: bytes, signatures: int, where: str = "package") -> SignRequest:
    """The request for a package that shall have so many signatures. `head`: all of it before content."""
    header = parse_header(head[:HEADER_SIZE], where)
    table = head[header.table_offset : header.content_offset]
    if hashlib.sha256(table).digest() != header.table_sha256.to_bytes():
        raise PeerError("table of contents was altered", where=where, expected=header.table_sha256)
    return SignRequest(header_for(header.raw, signatures), table)


def header_for(header: bytes, signatures: int) -> bytes:
    """The header of the same package with another number of signatures. Raises UsageError."""
    if not layout.SIGNATURES_MIN <= signatures <= layout.SIGNATURES_MAX:
        raise UsageError(
            "illegal number of signatures",
            expected=f"{layout.SIGNATURES_MIN} to {layout.SIGNATURES_MAX}",
            found=signatures,
        )
    raw = layout.HEADER.parse(header)
    length = layout.SIGNATURES_HEAD.sizeof() + signatures * layout.SIGNATURE.sizeof()
    sections = [dict(section) for section in raw.sections]
    grown = length - sections[0]["length"]
    sections[0]["length"] = length
    for section in sections[1:]:
        section["offset"] += grown
    fields = {**raw, "sections": sections, "total_length": raw.total_length + grown, "crc32c": 0}
    draft: bytes = layout.HEADER.build(fields)
    return bytes(layout.HEADER.build({**fields, "crc32c": layout.crc32c(draft[: layout.CRC_OFFSET])}))


def sign_request(request: SignRequest, key: SigningKey) -> DetachedSignature:
    header = hashlib.sha256(request.header).digest()
    return DetachedSignature(header, key.id, key.sign(request.message))


def new_head(head: bytes, signatures: Sequence[DetachedSignature], where: str = "package") -> bytes:
    """The head of the package with these signatures in place of those it had.

    Raises UsageError when they are not all of them, or one is for another header.
    """
    by_key = {signature.key: signature for signature in signatures}
    request = request_for(head, len(by_key), where)
    expected = hashlib.sha256(request.header).digest()
    for signature in by_key.values():
        if signature.header != expected:
            raise UsageError(
                "signature is for another package, or for another number of signatures",
                where=f"{where}, key {signature.key[:12]}",
                expected=f"header {expected.hex()[:12]}, which has room for {len(by_key)}",
                found=f"header {signature.header.hex()[:12]}",
                hint=f"name all signature files of one request; it must be for {len(by_key)} signatures",
            )
    block = layout.SIGNATURES_HEAD.build({"count": len(by_key), "reserved": 0})
    for key in sorted(by_key):
        fields = {"key_id": bytes.fromhex(key), "signature": by_key[key].signature}
        block += layout.SIGNATURE.build(fields)
    return b"".join((request.header, block, request.table))


def check_signature(request: SignRequest, signature: DetachedSignature, public: bytes) -> None:
    """Raises PeerError when it is not by that key over this request."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature.signature, request.message)
    except (InvalidSignature, ValueError) as e:
        raise PeerError("signature is wrong", where=f"key {signature.key[:12]}") from e


def signed_head(head: bytes, keys: Iterable[SigningKey], where: str = "package") -> bytes:
    """The head of the package signed by these keys, all at hand, in place of who signed it before."""
    unique = {key.id: key for key in keys}
    request = request_for(head, len(unique), where)
    return new_head(head, [sign_request(request, key) for key in unique.values()], where)


def _read(data: bytes, limit: int, kind: str, names: set[str], where: str) -> dict[str, Any]:
    try:
        document = strict_json.decode(data, limit)
    except ValueError as e:
        raise PeerError(f"not a {kind}", where=where, found=str(e)) from e
    if not isinstance(document, dict) or document.keys() != {"format", "kind", *names}:
        raise PeerError(f"not a {kind}", where=where, expected=", ".join(sorted(names)))
    found = (document["format"], document["kind"])
    if type(document["format"]) is not int or found != (FORMAT, kind):
        raise PeerError(f"not a {kind}", where=where, expected=f"{kind}, format {FORMAT}", found=found)
    return document
