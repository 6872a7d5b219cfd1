"""HTTPS to the master: enrolment, and blobs by digest with ranges, resumed where they broke off.

Knows requests and retries, not what the bytes are; whoever asked checks them.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

from firmware_mgr.link.messages import BULK_PORT, ENROL_PORT, MASTER_NAME
from firmware_mgr.model.errors import FwmgrError, PeerError
from firmware_mgr.model.ids import Digest

TIMEOUT_SECONDS = 20.0
CHUNK = 256 * 1024
#: A transfer that breaks off is taken up again this often without a byte of progress in between.
MAX_BARREN_TRIES = 8
RETRY_SECONDS = 1.0


#: Connects to a host's port and shakes hands. Raises OSError.
Dial = Callable[[str, int, ssl.SSLContext], socket.socket]


def dial_tls(host: str, port: int, context: ssl.SSLContext, own_address: str | None = None) -> socket.socket:
    """See Dial: over the kernel's TCP. The master is reached by address and known by name."""
    own = None if own_address is None else (own_address, 0)
    plain = socket.create_connection((host, port), TIMEOUT_SECONDS, own)
    return context.wrap_socket(plain, server_hostname=MASTER_NAME)


class _Connection(http.client.HTTPSConnection):
    def __init__(self, host: str, port: int, context: ssl.SSLContext, dial: Dial) -> None:
        # Without a context it would load the certificates of every authority that the system knows.
        super().__init__(host, port, timeout=TIMEOUT_SECONDS, context=context)
        self._tls = context
        self._dial = dial

    def connect(self) -> None:
        self.sock = self._dial(self.host, self.port, self._tls)


def enrol(
    host: str,
    context: ssl.SSLContext,
    request: dict[str, Any],
    port: int = ENROL_PORT,
    dial: Dial = dial_tls,
) -> str:
    """Ask the authority for a certificate; returns it as PEM. Raises PeerError with the master's reason."""
    connection = _Connection(host, port, context, dial)
    where = f"enrolment at {host}:{port}"
    try:
        body = json.dumps(request).encode()
        connection.request("POST", "/v1/enrol", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        document = json.loads(response.read(1024 * 1024))
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise PeerError("cannot enrol", where=where, found=str(e) or type(e).__name__) from e
    finally:
        connection.close()
    if response.status != 200 or not isinstance(document.get("certificate"), str):
        raise PeerError(
            str(document.get("what", "enrolment refused")),
            where=str(document.get("where", where)),
            expected=document.get("expected"),
            found=document.get("found"),
            hint=str(document.get("hint", "")),
        )
    certificate: str = document["certificate"]
    return certificate


class BulkClient:
    """Fetches ranges of blobs over one kept connection."""

    def __init__(
        self,
        host: str,
        context: ssl.SSLContext,
        port: int = BULK_PORT,
        pause: Callable[[float], None] = time.sleep,
        dial: Dial = dial_tls,
    ) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._pause = pause
        self._dial = dial
        self._connection: _Connection | None = None

    def fetch(self, digest: Digest, start: int, length: int) -> Iterator[bytes]:
        """The bytes [start, start+length) of a blob. Raises PeerError when the master will not give them."""
        done = 0
        barren = 0
        while done < length:
            before = done
            try:
                for chunk in self._get(digest, start + done, length - done):
                    done += len(chunk)
                    yield chunk
            except (OSError, http.client.HTTPException) as e:
                self.close()
                barren = 0 if done > before else barren + 1
                if barren >= MAX_BARREN_TRIES:
                    raise self._error(digest, f"{e!s} after {barren} tries") from e
                self._pause(RETRY_SECONDS)

    def fetch_whole(self, digest: Digest, start: int, length: int) -> bytes:
        return b"".join(self.fetch(digest, start, length))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _get(self, digest: Digest, start: int, length: int) -> Iterator[bytes]:
        if self._connection is None:
            self._connection = _Connection(self._host, self._port, self._context, self._dial)
        end = start + length - 1
        self._connection.request("GET", f"/v1/blobs/{digest}", headers={"Range": f"bytes={start}-{end}"})
        response = self._connection.getresponse()
        if response.status != 206:
            found = f"{response.status} {response.read(2000).decode(errors='replace')}"
            self.close()
            raise self._error(digest, found)
        wanted = f"bytes {start}-{end}/"
        if not (response.getheader("Content-Range") or "").startswith(wanted):
            self.close()
            raise self._error(digest, f"Content-Range {response.getheader('Content-Range')}")
        left = length
        while left:
            chunk = response.read(min(CHUNK, left))
            if not chunk:
                raise http.client.IncompleteRead(b"", left)
            left -= len(chunk)
            yield chunk
        if response.read(1):
            self.close()
            raise self._error(digest, "more bytes than asked for")

    def _error(self, digest: Digest, found: str) -> FwmgrError:
        return PeerError(
            "cannot fetch a blob",
            where=f"https://{self._host}:{self._port}, blob {digest.short}",
            expected="206 with the range asked for",
            found=found,
        )
