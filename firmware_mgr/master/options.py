"""The master's options in a file, /etc/fwmgr/master.toml: the same names as on the command line, which wins.

Knows keys and their kinds. What they mean is checked where they are used.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from firmware_mgr.model.errors import UsageError

#: Read when it is there and no other file is named.
DEFAULT_FILE = Path("/etc/fwmgr/master.toml")


LoosePath = Annotated[Path, Field(strict=False)]


class MasterOptions(BaseModel):
    """What a master is started with. None and empty: not said. Times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    directory: Path | None = Field(default=None, strict=False)
    chassis: Path | None = Field(default=None, strict=False)
    address: str | None = None
    interface: str | None = None
    router: str | None = None
    subnets: tuple[str, ...] = Field(default=(), strict=False)
    relays: tuple[str, ...] = Field(default=(), strict=False)
    boards: tuple[LoosePath, ...] = Field(default=(), strict=False)
    deadlines: dict[str, float] = Field(default_factory=dict, strict=False)
    trial_tries: int | None = Field(default=None, ge=1, le=9)
    no_master_policy: Literal["wait", "run"] | None = None
    no_master_seconds: float | None = Field(default=None, ge=0, strict=False)

    hands: bool | None = None
    adopt: int | None = Field(default=None, ge=1)
    accept_test: bool | None = None

    def over(self, other: MasterOptions) -> MasterOptions:
        """These, and from `other` what these do not say."""
        return other.model_copy(update={name: value for name, value in self if value not in (None, (), {})})


def load_options(path: Path) -> MasterOptions:
    """The options in a file. Raises UsageError that lists everything wrong with it."""
    try:
        return MasterOptions.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as e:
        raise UsageError("options cannot be read", where=str(path), found=e.strerror) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UsageError("not a TOML file", where=str(path), found=str(e)) from e
    except ValidationError as e:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}, found {fault['input']!r}"
            for fault in e.errors()
        )
        known = ", ".join(MasterOptions.model_fields)
        raise UsageError("unusable options", where=str(path), expected=f"keys {known}", found=faults) from e
