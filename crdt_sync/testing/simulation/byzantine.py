"""A device that holds a key like any other and sends what no honest one would."""

from __future__ import annotations

from collections import deque
from random import Random

from crdt_sync.testing.simulation.loop import VirtualLoop
from crdt_sync.testing.simulation.trace import Trace
from crdt_sync.transport.base import Channel, CloseCode

HONEST_FRAMES = 2
"""At the beginning of a connection: most that a liar says is worth hearing only behind the handshake."""
HEARD_MAX = 50


class Liar:
    """Falsifies what an honest replica would send.

    Args:
        loop: whose time it is.
        trace: is told of each lie.
        seed: of what is said.
    """

    def __init__(self, loop: VirtualLoop, *, trace: Trace, seed: str) -> None:
        self._loop = loop
        self._trace = trace
        self._random = Random(seed)
        self._heard: deque[bytes] = deque(maxlen=HEARD_MAX)

    def wrap(self, channel: Channel) -> Channel:
        """A channel over which lies are told."""
        return _LyingChannel(channel, self)

    def hear(self, data: bytes) -> None:
        """Remember a frame, to repeat it to somebody else."""
        self._heard.append(data)

    def lies(self, data: bytes, sent: int) -> list[bytes]:
        """What is sent instead of a frame."""
        random = self._random
        if random.random() < (0.1 if sent < HONEST_FRAMES else 0.5):
            self._trace.note(self._loop.time(), "lie", "liar")
            match random.randrange(6):
                case 0:
                    return [self._flipped(data)]
                case 1:
                    return [data, data]
                case 2:
                    return [data[: random.randrange(len(data) + 1)]]
                case 3:
                    return [random.randbytes(random.randrange(200))]
                case 4 if self._heard:
                    return [random.choice(self._heard), data]
                case _:
                    return []
        return [data]

    def _flipped(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._random.randint(1, 3)):
            if changed:
                changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
        return bytes(changed)


class _LyingChannel:
    """A `Channel` that falsifies what is sent."""

    def __init__(self, channel: Channel, liar: Liar) -> None:
        self._channel = channel
        self._liar = liar
        self._sent = 0

    @property
    def remote(self) -> str:
        """The peer's address, for people to read."""
        return self._channel.remote

    async def send(self, data: bytes) -> None:
        """Send something; see `Channel.send`."""
        for item in self._liar.lies(data, self._sent):
            await self._channel.send(item)
        self._sent += 1

    async def receive(self) -> bytes:
        """Wait for the next message; see `Channel.receive`."""
        data = await self._channel.receive()
        self._liar.hear(data)
        return data

    async def close(self, *, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """End the channel; see `Channel.close`."""
        await self._channel.close(code=code, reason=reason)
