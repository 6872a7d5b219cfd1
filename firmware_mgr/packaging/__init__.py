"""Builds, imports and signs packages, on the master side."""
