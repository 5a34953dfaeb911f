"""What the asyncio shell takes from outside, and how its coroutines wait for each other."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from crdt_sync.transport.base import Channel, ChannelLimits
from crdt_sync.transport.websocket import dial


class Dial(Protocol):
    """Opens a channel to a peer; raises what `crdt_sync.transport.websocket.dial` raises."""

    async def __call__(self, url: str, *, limits: ChannelLimits, tls: ssl.SSLContext | None) -> Channel:
        """Open a channel to ``url``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Where a connection's waiting, chance and channels come from; tests give their own.

    Args:
        sleep: waits so many seconds: between two tries, and for a peer that does not finish the handshake.
        chance: gives a number from 0 up to 1.
        monotonic: seconds of a clock that never goes back.
        dial: opens the channel to a peer.
    """

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)
    monotonic: Callable[[], float] = time.monotonic
    dial: Dial = dial


class Bell:
    """Lets any number of coroutines wait until something holds; whoever changes it rings, also from ordinary code."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], None] = {}
        """In the order in which they came."""

    def ring(self) -> None:
        """Have everybody look again."""
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():  # its waiter was cancelled just now
                future.set_result(None)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds()``; it is asked at once and after each ring."""
        while not holds():
            await self.rung()

    async def rung(self) -> None:
        """Wait for the next ring."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        try:
            await future
        finally:
            self._waiting.pop(future, None)
