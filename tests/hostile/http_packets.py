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
GOOD = (
    *(f"Range: {value}" for value in RANGES if value.isascii() and len(value) < 100),
    "Connection: close",
    "Connection: keep-alive",
    "Expect: 100-continue",
    "If-Range: x",
    f'If-Range: "{DIGEST}"',
    "Accept: */*",
    "Content-Type: application/json",
)
NASTY = (
    *(f"Range: {value}" for value in RANGES),
    "Host: y",
    "Connection: upgrade",
    "Upgrade: websocket",
    "Expect: x",
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


OWN = {
    "netboot": ("GET", TARGETS[:5]),
    "enrol": ("POST", ("/v1/enrol",)),
    "bulk": ("GET", (f"/v1/blobs/{DIGEST}", "/v1/blobs/zz", "/v1/blobs/" + "0" * 64)),
}


@st.composite
def requests(draw: st.DrawFn, application: str) -> bytes:
    """Half of them such that the application itself is reached."""
    method, targets = OWN[application]
    headers = ["Host: x", *draw(st.lists(st.sampled_from(GOOD), max_size=2))]
    version = "HTTP/1.1"
    body = draw(st.sampled_from(BODIES)).encode() if draw(st.booleans()) or method == "POST" else b""
    if draw(st.booleans()):
        method = draw(st.sampled_from(("GET", "GET", "HEAD", "POST", "OPTIONS", "CONNECT", "get", "X" * 40)))
        targets = TARGETS
        version = draw(st.sampled_from(("HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", "")))
        headers += draw(st.lists(st.sampled_from(NASTY), max_size=2))
    elif body:
        headers.append(f"Content-Length: {len(body)}")
    lines = [f"{method} {draw(st.sampled_from(targets))} {version}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@st.composite
def connections(draw: st.DrawFn) -> tuple[str, list[bytes], str]:
    """Application, chunks, and the client's address."""
    application = draw(st.sampled_from(APPLICATIONS))
    one = requests(application)
    stream = b"".join(draw(st.lists(one | one | one.flatmap(mutated), min_size=1, max_size=4)))
    step = draw(st.sampled_from((len(stream) or 1, len(stream) or 1, 100, 7)))
    chunks = [stream[at : at + step] for at in range(0, len(stream), step)][:300]
    return (
        application,
        chunks,
        draw(st.sampled_from(("10.77.0.11", "10.77.0.12", "203.0.113.9", "::1", ""))),
    )
