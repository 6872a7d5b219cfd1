"""Enrolment documents against the whole master: a certificate or the one exception; nonsense pins nothing."""

from __future__ import annotations

import asyncio
import base64
import os
import random
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from firmware_mgr.model.errors import DeviceError, PeerError
from tests.master.rack_twin import Rack, TwinCard

from .conftest import TIMES

SEED = int(os.environ.get("FWMGR_SEED", "1"))
CASES = 600
ODD: list[Any] = [None, "", 0, -1, 1.5, True, [], {}, "1/1", "99999", "\ud800", "1" * 5000, [[]] * 500, "１"]


def request(key: Any, *, name: str = "card", hashed: bool = False) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, SHA256() if hashed else None).public_bytes(Encoding.PEM).decode()


def mutated(pem: str, chance: random.Random) -> str:
    """The same with its inside, or its text, changed."""
    lines = pem.strip().splitlines()
    inside = bytearray(base64.b64decode("".join(lines[1:-1])))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(inside))
        match chance.randint(0, 4):
            case 0:
                inside[at] ^= 1 << chance.randint(0, 7)
            case 1:
                inside[at] = chance.choice((0, 1, 0x30, 0x7F, 0x80, 0xFF))
            case 2:
                del inside[at : at + chance.randint(1, 9)]
            case 3:
                inside[at:at] = chance.randbytes(chance.randint(1, 9))
            case _:
                lines[chance.choice((0, -1))] = (
                    "-----" + chance.choice(("BEGIN X", "BEGIN CERTIFICATE", "")) + "-----"
                )
        if not inside:
            break
    text = base64.encodebytes(bytes(inside)).decode()
    return "\n".join((lines[0], text.strip(), lines[-1])) + "\n"


async def test_no_enrolment_document_brings_about_another_exception_or_pins_a_key(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    good = [request(Ed25519PrivateKey.generate(), name=name) for name in ("card", "ü", "x" * 64)]
    strange = [
        request(rsa.generate_private_key(65537, 1024), hashed=True),
        request(ec.generate_private_key(ec.SECP256R1()), hashed=True),
    ]
    async with Rack(tmp_path) as rack:
        address = TwinCard(rack, 1).address
        for number in range(CASES * TIMES):
            document: dict[str, Any] = {"slot": "1", "csr": mutated(chance.choice(good + strange), chance)}
            if number % 3 == 0:
                document[chance.choice(("slot", "csr", "board"))] = chance.choice(ODD)
            where = chance.choice((address, address, "203.0.113.9", ""))
            before = {entry.slot: entry.record.key_fingerprint for entry in rack.master.roster}
            try:
                async with asyncio.timeout(20):
                    certificate = await rack.master.enrol(where, document)
            except PeerError as e:
                after = {entry.slot: entry.record.key_fingerprint for entry in rack.master.roster}
                assert after == before, (
                    f"FWMGR_SEED={SEED}, case {number}: a refused request has pinned a key"
                )
                assert all(len(text) <= 1000 for text in e.document().values())
            else:
                assert certificate.startswith("-----BEGIN CERTIFICATE-----"), number
        assert len(rack.master.gate.refusals) <= 100


async def test_who_asked_is_answered_also_when_the_master_itself_fails(tmp_path: Path) -> None:
    async def stumble() -> None:
        raise ZeroDivisionError

    async with Rack(tmp_path) as rack:
        async with asyncio.timeout(20):
            with pytest.raises(DeviceError, match="its log says why"):
                await rack.master.engine.call(stumble)
