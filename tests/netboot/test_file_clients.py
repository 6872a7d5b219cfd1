"""TFTP and HTTP clients that we did not write: tftp-hpa, atftp, curl, busybox, tftpy in all their variants.

Needs network namespaces: as root, or where users may make them. Fails where a program is not there.
"""

from __future__ import annotations

from typing import Any

import pytest

from .wires import said_by

CASES = {"tftp-hpa": 5, "busybox": 20, "curl": 18, "atftp": 101, "tftpy": 15}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return said_by("file_clients_in_namespace", tmp_path_factory.mktemp("files"), 400)


@pytest.mark.parametrize("client", CASES)
def test_every_size_block_size_and_window_comes_whole(said: dict[str, Any], client: str) -> None:
    cases = {case: found for case, found in said["tftp"].items() if case.startswith(client)}
    assert len(cases) == CASES[client]
    wrong = {case: found for case, found in cases.items() if found != [True, "done"]}
    assert not wrong


def test_curl_is_told_length_tag_and_ranges_without_the_file(said: dict[str, Any]) -> None:
    head = said["http"]["head"]
    assert head.startswith("HTTP/1.1 200 OK")
    assert "Content-Length: 100000" in head and "Accept-Ranges: bytes" in head and 'ETag: "' in head


@pytest.mark.parametrize("case", ["range 5-9", "range -7", "range 99990-", "resumed", "slowly", "parallel"])
def test_curl_gets_the_bytes_that_it_asks_for(said: dict[str, Any], case: str) -> None:
    assert said["http"][case]


def test_curl_is_refused_with_the_status_that_says_why(said: dict[str, Any]) -> None:
    expected = {
        "past the end": "416",
        "absent": "404",
        "climbing": "403",
        "posted": "405",
        "proto 1.0": "200",
    }
    assert {case: said["http"][case] for case in expected} == expected


def test_curl_keeps_its_connection_for_the_next_file(said: dict[str, Any]) -> None:
    assert "Re-using existing connection" in said["http"]["kept"]
