"""The errors of the house: whose fault it is, and what, where, expected and found.

Knows nothing but text. Every error that a user may see is one of the three kinds below.
"""

from __future__ import annotations


class FwmgrError(Exception):
    """Something was refused or failed.

    `what` is the fact in one sentence, `where` the file, slot, partition or peer, `expected` and
    `found` the two sides of the disagreement, `hint` the next step for a person.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        expected: object = None,
        found: object = None,
        hint: str = "",
    ) -> None:
        self.what = what
        self.where = where
        self.expected = None if expected is None else str(expected)
        self.found = None if found is None else str(found)
        self.hint = hint
        super().__init__(self._text())

    def _text(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        sides = [
            f"{name} {value}"
            for name, value in (("expected", self.expected), ("found", self.found))
            if value is not None
        ]
        if sides:
            text += ": " + ", ".join(sides)
        if self.hint:
            text += f" ({self.hint})"
        return text

    @property
    def kind(self) -> str:
        """Whose fault it is: the name of one of the three below, also for their own descendants."""
        return next((one.__name__ for one in type(self).__mro__ if FwmgrError in one.__bases__), "FwmgrError")

    def document(self) -> dict[str, str]:
        """The error as JSON-ready fields; empty fields are left out."""
        fields = {
            "kind": self.kind,
            "what": self.what,
            "where": self.where,
            "expected": self.expected,
            "found": self.found,
            "hint": self.hint,
        }
        return {key: value for key, value in fields.items() if value}


class UsageError(FwmgrError):
    """The caller asked for something that cannot be: a wrong file, key, name or order of steps."""


class PeerError(FwmgrError):
    """The other end of a wire, or the author of a file, said something wrong."""


class DeviceError(FwmgrError):
    """Hardware failed: flash, power, network interface, memory."""
