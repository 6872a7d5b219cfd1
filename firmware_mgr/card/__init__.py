"""The agent: boot, install, activate, supervise."""
