"""The `fwmgr` program."""

from firmware_mgr.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
