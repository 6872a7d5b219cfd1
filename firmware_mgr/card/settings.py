"""What the boot image tells the agent: /etc/fwmgr/agent.json and the site's trust beside it. Values only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_mgr.flash.gpt import EFI_SYSTEM, LINUX_DATA, FlashLayout
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.root import RootRefused
from firmware_mgr.package.root_chain import RootChain

HOME = Path("/etc/fwmgr")
#: The type of boot partitions, by loader: in one of EFI's type, U-Boot would keep variables (ADR 0001).
BOOT_TYPES = {"u-boot": LINUX_DATA, "uefi": EFI_SYSTEM}


@dataclass(frozen=True, slots=True)
class FwCfgFile:
    """A slot register in QEMU's fw_cfg device: its physical address, and the file's name."""

    address: int
    name: str


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """`build_date` is Unix seconds: the card's clock is never set before it. Paths are on the card."""

    board: str
    cpu: CpuArch
    version: str
    build_date: int
    flash_device: Path
    flash: FlashLayout
    slot_register: Path | None  # None: there is none
    authority: Path
    keyring: Keyring
    slot_fw_cfg: FwCfgFile | None = None
    loader: str = "u-boot"
    root: RootChain | None = None  # which goes before the keyring
    takes_test: bool = False  # whether packages that are signed for tests are taken

    @classmethod
    def load(cls, home: Path = HOME) -> AgentSettings:
        """Raises UsageError: a boot image without these is not one of ours."""
        path = home / "agent.json"
        try:
            document: Mapping[str, Any] = json.loads(path.read_text())
            areas = document["flash"]
            return cls(
                board=str(document["board"]),
                cpu=CpuArch(document["cpu"]),
                version=str(document["version"]),
                build_date=int(document["build_date"]),
                flash_device=Path(areas["device"]),
                flash=FlashLayout(
                    int(areas["control"]),
                    int(areas["boot"]),
                    int(areas["store"] or 0),
                    int(areas["state"]),
                    BOOT_TYPES[document["loader"]],
                    data=int(areas.get("data", 0)),
                ),
                slot_register=Path(document["slot_register"]) if document["slot_register"] else None,
                slot_fw_cfg=_fw_cfg(document.get("slot_fw_cfg")),
                authority=home / "trust" / "authority.pem",
                keyring=Keyring.load(json.loads((home / "trust" / "keys.json").read_text())),
                loader=str(document["loader"]),
                root=read_root(home / "trust" / "root.json"),
                takes_test=document.get("takes_test") is True,
            )
        except (OSError, KeyError, TypeError, ValueError, RootRefused) as e:
            raise UsageError("boot image has no usable settings", where=str(path), found=repr(e)) from e


def read_root(path: Path) -> RootChain | None:
    """None where the site has only a keyring. Raises RootRefused, OSError: damaged is not absent."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return RootChain.decode(data, str(path)).require(str(path))


def _fw_cfg(document: Mapping[str, Any] | None) -> FwCfgFile | None:
    return None if document is None else FwCfgFile(int(document["address"]), str(document["name"]))
