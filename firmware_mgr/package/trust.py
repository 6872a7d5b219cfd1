"""What is asked of whoever decides whom to believe: are these signatures right, is this package acceptable?

The seam between the package's head, which knows bytes, and keyring and root, which know keys. Knows neither.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Role(Enum):
    """What a key may sign for."""

    ROOT = "root"
    RELEASE = "release"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class SignedPackage:
    """What a package's signed table says of it. `signed_at`: its build date, seconds since 1970."""

    name: str
    version: str
    signed_at: int


class Trust(Protocol):
    """Pure: asks no clock and writes nothing. The checks raise PackageRefused."""

    def check_signatures(self, signatures: Mapping[str, bytes], message: bytes, where: str) -> None:
        """Each signature, by key id, is right and by a listed key; and these keys could be enough."""
        ...

    def check_package(self, package: SignedPackage, signers: Collection[str], where: str) -> Role:
        """For what the package is good: RELEASE or TEST. `signers` are the ids of those who signed it."""
        ...

    def below_minimum(self, package: SignedPackage) -> str:
        """In words, why the package would not be let in from outside any more; empty when it would."""
        ...

    def held(self) -> Trust:
        """The same for packages that are held already: no minimum keeps them out (SPEC-trust §6)."""
        ...
