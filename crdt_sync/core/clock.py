"""Hybrid logical clock: timestamps that follow causality and stay close to wall time.

Source: Kulkarni, Demirbas, Madappa, Avva, Leone: "Logical Physical Clocks", OPODIS 2014, packed into 64 bits: 48 of
milliseconds since 1970 and a 16-bit counter that carries into them. Ties between authors are broken by author id.
Convergence and causal order never rest on these values; they only pick what is shown among concurrent writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

Hlc = NewType("Hlc", int)
"""A packed timestamp; plain integer order is time order."""

COUNTER_BITS = 16
HLC_BYTES = 8
HLC_MAX = 2**64 - 1
DRIFT_MAX_S = 300.0


def physical_ms(hlc: int) -> int:
    """Milliseconds since 1970 of a packed timestamp."""
    return hlc >> COUNTER_BITS


def pack(ms: int, counter: int = 0) -> Hlc:
    """Pack milliseconds since 1970 and a counter."""
    return Hlc(min(ms << COUNTER_BITS | counter, HLC_MAX))


@dataclass(slots=True)
class HybridClock:
    """The clock of one replica. Time is an argument: the clock itself reads none.

    Invariants:
        1. `tick` always returns more than it or `observe` ever took in.
        2. A remote timestamp further ahead than ``drift_max_ms`` does not drag this clock along.
    """

    last: Hlc = Hlc(0)
    drift_max_ms: int = int(DRIFT_MAX_S * 1000)

    def tick(self, now_ms: int) -> Hlc:
        """Return the timestamp of a new local transaction at wall time ``now_ms``."""
        self.last = Hlc(min(max(self.last + 1, pack(now_ms)), HLC_MAX))
        return self.last

    def observe(self, remote: int, now_ms: int) -> bool:
        """Take in a timestamp of somebody else.

        Returns:
            True where it was followed, False where it is too far ahead of ``now_ms`` (to be flagged, never refused).
        """
        if physical_ms(remote) > now_ms + self.drift_max_ms:
            return False
        self.last = Hlc(max(self.last, remote))
        return True
