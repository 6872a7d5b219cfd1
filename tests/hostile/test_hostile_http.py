"""The three HTTP applications against hostile connections: the rules are in `http_house`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .conftest import many
from .http_house import HttpHouse, play
from .http_packets import BODIES, RANGES, connections
from .memory import growth


@many(800)
@given(connections())
def test_no_connection_brings_about_an_exception_or_keeps_a_place(
    http: HttpHouse, connection: tuple[str, list[bytes], str]
) -> None:
    http.play(*connection)


@many(700)
@given(st.binary(max_size=800))
def test_bytes_of_no_form_at_all_are_survived(http: HttpHouse, data: bytes) -> None:
    play(http, data)


@pytest.mark.parametrize("application", ["netboot", "bulk"])
@pytest.mark.parametrize("value", RANGES)
def test_every_range_is_whole_part_or_refused(http: HttpHouse, application: str, value: str) -> None:
    from .http_packets import DIGEST

    target = "/Image" if application == "netboot" else f"/v1/blobs/{DIGEST}"
    head = f"GET {target} HTTP/1.1\r\nHost: x\r\nRange: {value}\r\n\r\n".encode()
    assert http.play(application, [head])[9:12] in (b"200", b"206", b"416", b"400")


@pytest.mark.parametrize("body", BODIES)
def test_every_enrolment_document_is_answered(http: HttpHouse, body: str) -> None:
    raw = body.encode()
    head = f"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}\r\n\r\n".encode()
    assert http.play("enrol", [head + raw])[9:12] in (b"200", b"400", b"403")


def test_an_enrolment_request_over_its_bound_is_not_read(http: HttpHouse) -> None:
    head = b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
    assert http.play("enrol", [head, *[b" " * 60_000] * 4])[9:12] == b"413"
    assert http.enrolled == 0 or http.troubles == []


def test_two_thousand_connections_leave_nothing_behind(http: HttpHouse) -> None:
    heads = [
        b"GET /boot.scr.uimg HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /Image HT",
    ]

    def knock(number: int) -> None:
        http.play("netboot", [heads[number % 3].replace(b"%d", b"%d" % number)], f"10.77.{number % 5}.11")

    assert growth(knock, warm=600, count=2000) < 200_000
