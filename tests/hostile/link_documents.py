"""One good document of each message, as a peer sends it."""

from __future__ import annotations

from typing import Any

_DIGEST = "ab" * 32
SET = {
    "boot_image": {"board": "qemu-aarch64", "version": "1", "digest": _DIGEST, "length": 10},
    "packages": [{"name": "web", "version": "1.0", "digest": "cd" * 32, "length": 20}],
}
_CONTROL = {
    "copy_0": "good",
    "copy_1": "bad",
    "boot": "a",
    "trial": "-",
    "tries_a": 3,
    "tries_b": 0,
    "why": "boot",
    "failed": "b",
}
_FLASH = {
    "table": "good",
    "control": _CONTROL,
    "boot_a": {"state": "good", "image": _DIGEST, "version": "1", "bad_pieces": 0},
    "boot_b": {"state": "empty"},
    "store": "good",
    "packages": [{"name": "web", "version": "1.0", "digest": _DIGEST, "modules": 4, "bad_modules": 0}],
    "size": 1 << 30,
    "free": 1 << 20,
}
HELLO: dict[str, Any] = {
    "type": "hello",
    "protocol": 2,
    "agent_version": "0.1.0",
    "slot": "1",
    "board": "qemu-aarch64",
    "cpu": "aarch64",
    "boot_source": "a",
    "boot_version": "1",
    "flash": _FLASH,
    "believes": SET,
    "sets": [SET],
    "running_set": None,
    "boot_seconds": 4.5,
    "boot_id": "b1",
    "key_renewed": False,
    "root": {"version": 3, "digest": _DIGEST},
}
FROM_CARD: list[dict[str, Any]] = [
    HELLO,
    {"type": "progress", "step": "packages", "done": 1, "total": 2, "written": 3},
    {
        "type": "stored",
        "set_digest": _DIGEST,
        "boot_bytes_written": 1,
        "package_bytes_written": 2,
        "boot_partition": "a",
        "reboot_needed": True,
        "seconds": 3.5,
        "flash": _FLASH,
        "root": {"version": 0, "digest": None},
    },
    {
        "type": "running",
        "set_digest": _DIGEST,
        "control": _CONTROL,
        "processes": [{"name": "web", "pid": 7, "state": "ready", "detail": ""}],
    },
    {"type": "failed", "order": "burn", "error": {"what": "no", "where": "slot 1"}},
    {"type": "pong"},
    {"type": "settings_kept", "digest": _DIGEST, "error": {"what": "full"}},
    {
        "type": "kept",
        "request": 1,
        "logs": [{"name": "web", "start": 0, "end": 9}],
        "cores": [
            {"id": "1", "process": "web", "pid": 7, "signal": 11, "time": 1.5, "length": 9, "cut": True}
        ],
        "note": "",
    },
    {"type": "piece", "request": 2, "start": 5, "end": 9, "data": "aGVsbG8=", "error": {}},
]
FROM_MASTER: list[dict[str, Any]] = [
    {
        "type": "welcome",
        "protocol": 2,
        "time": 1.5,
        "hostname": "slot1",
        "no_master_seconds": 2,
        "no_master_policy": "wait",
    },
    {"type": "refused", "error": {"what": "no"}, "retry_seconds": 2.0},
    {
        "type": "burn",
        "wanted": SET,
        "boot_pieces": {"piece_size": 1048576, "pieces": [_DIGEST]},
        "trial_tries": 3,
        "erase": False,
        "root": ["aGVsbG8=", "aGVsbG8="],
    },
    {"type": "run", "set_digest": _DIGEST},
    {"type": "hold", "reason": "wait"},
    {"type": "reset", "reason": "because"},
    {"type": "ping"},
    {
        "type": "settings",
        "digest": _DIGEST,
        "hostname": "web1",
        "addresses": ["10.1.2.3/24"],
        "files": [
            {"path": "web/key", "mode": 384, "uid": 0, "gid": 0, "content": ["aGVsbG8="], "secret": True},
            {"path": "web/conf", "mode": 420, "uid": 0, "gid": 0, "content": ["aGVsbG8="]},
        ],
        "environment": {"A": "b"},
    },
    {"type": "list_kept", "request": 1},
    {"type": "read_kept", "request": 1, "what": "log", "name": "web", "start": -10},
]
