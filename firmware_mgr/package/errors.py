"""The two ways in which a package is no good: malformed, or not to be trusted here.

Knows nothing of layout or keys. Both say what, where, expected and found.
"""

from __future__ import annotations

from firmware_mgr.model.errors import PeerError


class PackageFormatError(PeerError):
    """The bytes are not a package as docs/SPEC-package.md describes it."""


class PackageRefused(PeerError):
    """Well-formed, but not to be used: unsigned, unknown key, altered, or for another CPU."""
