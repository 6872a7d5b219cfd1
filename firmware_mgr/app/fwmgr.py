"""The `fwmgr` program."""

from firmware_mgr.cli.main import main

__all__ = ["main"]
