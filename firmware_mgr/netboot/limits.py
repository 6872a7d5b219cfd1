"""How often somebody may be answered: a bucket of tokens for each key, few keys in memory.

Knows counts and seconds only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class RateLimit:
    """Each key may do `burst` things at once and `per_second` on the long run; over `keys` of them, the one
    unused for longest is forgotten. A forgotten key begins with a full bucket."""

    def __init__(self, *, per_second: float, burst: float, keys: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._keys = keys
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allows(self, key: Hashable, now: float) -> bool:
        """Take a token of `key` when it has one. `now` in seconds of a clock that never goes back."""
        tokens, since = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._per_second)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return allowed
