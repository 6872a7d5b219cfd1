"""Hostile HTTP: requests with awkward targets, headers, bodies and cuts."""

from __future__ import annotations

from hypothesis import strategies as st

from firmware_mgr.model.ids import Digest

from .cards import FILES
from .http_house import APPLICATIONS
from .mutation import mutated

DIGEST = Digest.of(FILES["Image"]).hex
TARGETS = (
    "/boot.scr.uimg",
    "/Image",
    "/empty",
    "/whole",
    "/name%20with%20spaces/and%20%C3%BCmlaut",
    "/../../etc/passwd",
    "/%2e%2e/x",
    "//Image",
    "/%00",
    "/%ff%fe",
    "/Image?x=1",
    "/Image#x",
    "*",
    "http://other/Image",
    "/" + "a" * 300,
    "/" + "%41" * 3000,
    "/v1/enrol",
    f"/v1/blobs/{DIGEST}",
    "/v1/blobs/zz",
    "/v1/blobs/" + "0" * 64,
    "",
    "/\\",
    "/a/./b",
)
RANGES = (
    "bytes=0-0",
    "bytes=-5",
    "bytes=5-",
    "bytes=9-3",
    "bytes=0-99999999999999999999",
    "bytes=300000-",
    "bytes=-0",
    "bytes=1-2,4-5",
    "items=1-2",
    "bytes=",
    "bytes=a-b",
    "bytes= 1-2",
    "bytes=1-299999",
    "bytes=١-٢",
    f"bytes={'1' * 4000}-",
)
HEADERS = (
    *(f"Range: {value}" for value in RANGES),
    "Host: x",
    "Host: y",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: upgrade",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "Expect: x",
    "If-Range: x",
    f'If-Range: "{DIGEST}"',
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: x",
    "Content-Length: 5",
    "Content-Length: 99999999999",
    "Content-Length: -1",
    "Content-Encoding: gzip",
    "Content-Type: application/json; charset=nonsense",
    "X: " + "y" * 9000,
    ": x",
    "no colon",
    " folded",
)
BODIES = (
    "",
    '{"slot": "1"}',
    '{"slot": "1", "csr": 5}',
    "[]",
    "nonsense",
    "[" * 20000,
    '{"slot": ' + "[" * 900 + "]" * 900 + "}",
    "5\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffffff\r\n",
    "\x1f\x8b",
    '{"slot": 1e999}',
    '"\\ud800"',
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(
        st.sampled_from(("GET", "GET", "GET", "HEAD", "POST", "POST", "OPTIONS", "CONNECT", "get", "X" * 40))
    )
    version = draw(st.sampled_from(("HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", "")))
    headers = ["Host: x", *draw(st.lists(st.sampled_from(HEADERS), max_size=4))]
    body = draw(st.sampled_from(BODIES)).encode()
    if draw(st.booleans()):
        headers.append(f"Content-Length: {len(body)}")
    lines = [f"{method} {draw(st.sampled_from(TARGETS))} {version}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@st.composite
def connections(draw: st.DrawFn) -> tuple[str, list[bytes], str]:
    """Application, chunks, and the client's address."""
    stream = b"".join(draw(st.lists(requests() | requests().flatmap(mutated), min_size=1, max_size=4)))
    step = draw(st.sampled_from((len(stream) or 1, len(stream) or 1, 100, 7)))
    chunks = [stream[at : at + step] for at in range(0, len(stream), step)][:300]
    return (
        draw(st.sampled_from(APPLICATIONS)),
        chunks,
        draw(st.sampled_from(("10.77.0.11", "10.77.0.12", "203.0.113.9", "::1", ""))),
    )
