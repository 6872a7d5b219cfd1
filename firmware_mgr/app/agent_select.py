"""What a UEFI card's init runs first: `card.selector` with the real flash and the firmware's variables.

Leaves the loader's words for the agent. Ends with RESET when the card is to be reset, and with 0 in every
other case: a card whose selector cannot do its work comes up uncounted, and its agent tells.
"""

from __future__ import annotations

import sys
from pathlib import Path

from firmware_mgr.card.boot_variables import BootVariables
from firmware_mgr.card.efi_variables import EfivarFs
from firmware_mgr.card.loader import LOADER_WORDS
from firmware_mgr.card.selector import run_selector
from firmware_mgr.card.settings import AgentSettings
from firmware_mgr.flash.device import FileDevice
from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.flash.gpt import read_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.model.errors import FwmgrError

#: The exit status that asks init for a reset.
RESET = 3


def run(settings: AgentSettings, words: Path = LOADER_WORDS) -> int:
    """Raises FwmgrError when flash or variables cannot be read."""
    boot = BootVariables(EfivarFs(), settings.cpu)
    with FileDevice(settings.flash_device) as device:
        try:
            partitions = read_table(device)
            running = boot.started_from(partitions)
        except FlashFormatError as e:
            say(f"netboot why=netboot ctl=none ({e})")
            return 0
        leave_words(words, words_for(running))
        selected = run_selector(device, partitions, running, boot)
    for line in selected.said:
        say(line)
    if selected.reset:
        return RESET
    leave_words(words, selected.words)
    return 0


def words_for(running: Letter | None) -> str:
    """What the agent must know even when the selector then fails: the partition that is in use."""
    return "fw.part=n fw.why=netboot" if running is None else f"fw.part={running.value} fw.why=other"


def leave_words(place: Path, words: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(words + "\n")


def say(text: str) -> None:
    sys.stdout.write(f"FW: {text}\n")
    sys.stdout.flush()


def main() -> int:
    try:
        return run(AgentSettings.load())
    except FwmgrError as e:
        say(f"selector: {e}")
        return 0


if __name__ == "__main__":
    sys.exit(main())
