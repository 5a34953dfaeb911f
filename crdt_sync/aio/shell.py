"""What the asyncio shell takes from outside, and how its coroutines wait for each other."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Where a connection's waiting and chance come from; tests give their own.

    Args:
        sleep: waits so many seconds: between two tries, and for a peer that does not finish the handshake.
        chance: gives a number from 0 up to 1.
        monotonic: seconds of a clock that never goes back.
    """

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)
    monotonic: Callable[[], float] = time.monotonic


class Bell:
    """Lets any number of coroutines wait until something holds; whoever changes it rings, also from ordinary code."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Have everybody look again."""
        rung, self._rung = self._rung, asyncio.Event()
        rung.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds()``; it is asked at once and after each ring."""
        while not holds():
            await self._rung.wait()
