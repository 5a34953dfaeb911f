"""How long to wait before dialling a peer again: exponential backoff with full jitter.

Pure: time and chance are arguments, and nothing here sleeps. docs/adr/0004-retries.md says why it is our own.
Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from crdt_sync.core.checks import is_number
from crdt_sync.errors import InputError

_HINT: Final = "Leave out what need not differ: BackoffPolicy() is a good one for most networks."


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffPolicy:
    """Bounds of the delays.

    Raises:
        InputError: not 0 < floor_s <= base_s <= cap_s, factor >= 1, and the rest finite and not negative.
    """

    floor_s: float = 0.05
    """No delay is shorter."""
    base_s: float = 0.5
    """The longest delay after the first failure."""
    factor: float = 2.0
    """How much longer the longest delay gets with each further failure."""
    cap_s: float = 60.0
    """No delay of ours is longer."""
    stable_after_s: float = 30.0
    """A connection that lasted this long is a success, and the count starts anew."""
    retry_after_s_max: float = 3600.0
    """A peer that asks for a longer wait than this is asked again sooner."""

    def __post_init__(self) -> None:
        if not all(is_number(getattr(self, name)) for name in self.__slots__):
            raise InputError("what a backoff is made of are numbers", hint=_HINT)
        if not 0 < self.floor_s <= self.base_s <= self.cap_s < math.inf:
            raise InputError("a backoff needs 0 < floor_s <= base_s <= cap_s", hint=_HINT)
        if not 1 <= self.factor < math.inf:
            raise InputError("a backoff's factor is at least 1", hint=_HINT)
        if not (0 <= self.stable_after_s < math.inf and 0 <= self.retry_after_s_max < math.inf):
            raise InputError("a backoff's times are finite and not negative", hint=_HINT)

    def window_s(self, failures: int) -> float:
        """The longest delay after so many failures in a row (1 or more).

        Raises:
            ValueError: fewer than one failure.
        """
        if failures < 1:
            raise ValueError("there is nothing to wait for without a failure")
        # Compared as logarithms, since a power of some hundreds of failures is no float any more.
        if (failures - 1) * math.log(self.factor) >= math.log(self.cap_s / self.base_s):
            return self.cap_s
        return min(self.cap_s, self.base_s * self.factor ** (failures - 1))


class Backoff:
    """The failures in a row of one peer, and the delay that follows from them.

    Invariant: each delay is between ``floor_s`` and ``cap_s``; with a peer's ``retry_after_s``, of which at most
    ``retry_after_s_max`` counts, it is longer by that, and at random by up to as much again: many are told it at once.

    Args:
        policy: the bounds.
        chance: gives a number from 0 up to 1, evenly; for instance ``random.Random(seed).random``.
    """

    def __init__(self, policy: BackoffPolicy, *, chance: Callable[[], float]) -> None:
        self._policy = policy
        self._chance = chance
        self._failures = 0
        self._connected_at_s: float | None = None

    @property
    def failures(self) -> int:
        """How many attempts in a row did not lead to a connection that lasted."""
        return self._failures

    def connected(self, *, now_s: float) -> None:
        """Note that an attempt led to a connection; whether it counts, its end will show.

        Args:
            now_s: of a clock that does not go back.
        """
        self._connected_at_s = now_s

    def failed(self, *, now_s: float, retry_after_s: float | None = None) -> float:
        """Note that an attempt failed, or that a connection ended, and give the delay before the next attempt.

        Args:
            now_s: of the same clock as in `connected`.
            retry_after_s: what the peer asked for; nonsense (negative, not a number) is ignored.

        Returns:
            Seconds to wait.
        """
        connected_at_s, self._connected_at_s = self._connected_at_s, None
        if connected_at_s is not None and now_s - connected_at_s >= self._policy.stable_after_s:
            self._failures = 0
        self._failures += 1
        window_s, asked_s = self._policy.window_s(self._failures), 0.0
        if retry_after_s is not None and retry_after_s > 0:  # false for what is not a number
            asked_s = min(retry_after_s, self._policy.retry_after_s_max)
        return asked_s + max(self._policy.floor_s, self._chance() * max(window_s, asked_s))

    def __repr__(self) -> str:
        return f"<backoff after {self._failures} failures, up to {self._policy.window_s(max(1, self._failures)):g} s>"
