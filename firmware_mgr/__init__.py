"""fwmgr: a firmware manager for chassis and test racks."""

__version__ = "0.1.0"
