"""The binary package format: read, check, compare. Runs on cards."""
