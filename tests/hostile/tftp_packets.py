"""Hostile TFTP packets and conversations."""

from __future__ import annotations

from hypothesis import strategies as st

from .cards import FILES
from .mutation import mutated
from .tftp_house import SOURCES, Asked

NAMES = (
    *FILES,
    "../etc/passwd",
    "/Image",
    "Image\\x",
    "",
    "a" * 300,
    "Image/",
    "./Image",
    "\x01",
    "%2e%2e/Image",
    "ﬁ",
)
OPTIONS = ("blksize", "BLKSIZE", "timeout", "tsize", "windowsize", "multicast", "", "x" * 60, "rollover")
VALUES = (
    "0",
    "1",
    "7",
    "8",
    "16",
    "64",
    "255",
    "256",
    "512",
    "1468",
    "1500",
    "65464",
    "65465",
    "65535",
    "65536",
    "-1",
    " 8",
    "8x",
    "",
    "9999999999",
    "99999999999",
    "٣",
    "1e3",
    "+5",
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    parts = [draw(st.sampled_from(NAMES) | st.text(max_size=20))]
    parts.append(
        draw(st.sampled_from(("octet", "octet", "octet", "OCTET", "netascii", "mail", "", "x" * 200)))
    )
    for _ in range(draw(st.integers(0, 5))):
        parts += [draw(st.sampled_from(OPTIONS)), draw(st.sampled_from(VALUES))]
    opcode = draw(st.sampled_from((b"\0\1", b"\0\1", b"\0\1", b"\0\2")))
    return opcode + b"".join(part.encode("utf-8", "surrogatepass") + b"\0" for part in parts)


numbers = st.sampled_from((0, 1, 2, 3, 16, 63, 64, 65, 214, 215, 586, 587, 65535)).map(
    lambda n: n.to_bytes(2, "big")
)
acks = numbers.map(lambda number: b"\0\4" + number)
errors = st.tuples(
    numbers, st.sampled_from((b"Early terminate", b"User aborted", b"\xff\xfe", b"x" * 400, b""))
).map(lambda pair: b"\0\5" + pair[0] + pair[1] + b"\0")
others = st.one_of(
    st.binary(max_size=30),
    numbers.map(lambda number: b"\0\3" + number + b"data"),
    st.just(b"\0\6blksize\x00512\0"),
)
to_port = st.builds(
    Asked,
    st.one_of(requests(), requests().flatmap(mutated), acks, errors, others),
    source=st.sampled_from((SOURCES[0], SOURCES[0], *SOURCES)),
    port=st.sampled_from((2000, 2000, 2001, 69, 1, 65535)),
    broadcast=st.sampled_from((False, False, False, True)),
    seconds=st.sampled_from((0.0, 0.0, 0.0, 0.5, 3.0, 60.0)),
)
to_transfer = st.builds(
    Asked,
    st.one_of(acks, acks, acks, errors, others, acks.flatmap(mutated)),
    transfer=st.integers(0, 7),
    seconds=st.sampled_from((0.0, 0.0, 0.0, 1.0)),
)
conversations = st.lists(st.one_of(to_port, to_transfer, to_transfer), min_size=1, max_size=40)
