"""A device that holds a key like any other and sends what no honest one would, sealed as that of an honest one is."""

from __future__ import annotations

from collections import deque
from random import Random

from crdt_sync.security.channel import Cipher
from crdt_sync.security.handshake import HANDSHAKE_MESSAGES_MAX
from crdt_sync.testing.simulation.network import Network
from crdt_sync.testing.simulation.tapping import Tap
from crdt_sync.transport.base import Channel, CloseCode

HONEST_FRAMES = HANDSHAKE_MESSAGES_MAX
"""At the beginning of a connection: most that a liar says is worth hearing only behind the handshake."""
HEARD_MAX = 50
UNSEALED = 0.05
"""Share of the messages behind the handshake that are sent as they are, and open for nobody."""


class Liar:
    """Falsifies what an honest replica would send.

    Args:
        network: whose draws it knows, its own among them; the trace is told of each lie.
        seed: of what is said.
    """

    def __init__(self, network: Network, *, seed: str) -> None:
        self._network = network
        self._random = Random(seed)
        self._heard: deque[bytes] = deque(maxlen=HEARD_MAX)

    def wrap(self, channel: Channel) -> Channel:
        """A channel over which lies are told."""
        return _LyingChannel(channel, liar=self, tap=Tap(self._network.draws))

    def hear(self, data: bytes) -> None:
        """Remember a frame, to repeat it to somebody else."""
        self._heard.append(data)

    def lies(self, data: bytes, sent: int) -> list[bytes]:
        """What is sent instead of a frame."""
        random = self._random
        if random.random() < (0.1 if sent < HONEST_FRAMES else 0.5):
            self._network.trace.note(self._network.loop.time(), "lie", "liar")
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

    def seals(self) -> bool:
        """Whether the next message behind the handshake is sealed."""
        return self._random.random() >= UNSEALED

    def _flipped(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._random.randint(1, 3)):
            if changed:
                changed[self._random.randrange(len(changed))] ^= 1 << self._random.randrange(8)
        return bytes(changed)


class _LyingChannel:
    """A `Channel` that falsifies what is sent.

    Args:
        channel: that its device opened.
        liar: says what is sent.
        tap: opens what the device sealed, and what it is sent.
    """

    def __init__(self, channel: Channel, *, liar: Liar, tap: Tap) -> None:
        self._channel = channel
        self._liar = liar
        self._tap = tap
        self._sent = 0
        self._told: Cipher | None = None
        """What the other end opens by."""

    @property
    def remote(self) -> str:
        """The peer's address, for people to read."""
        return self._channel.remote

    async def send(self, data: bytes) -> None:
        """Send something; see `Channel.send`."""
        count = self._tap.see(0, data)
        if count == 0:
            self._told = self._tap.cipher(0)
        for item in self._liar.lies(self._tap.opened(0, data, count), self._sent):
            told = self._told if self._liar.seals() else None
            await self._channel.send(item if told is None else told.seal(item))
        self._sent += 1

    async def receive(self) -> bytes:
        """Wait for the next message; see `Channel.receive`."""
        data = await self._channel.receive()
        self._liar.hear(self._tap.opened(1, data, self._tap.see(1, data)))
        return data

    async def close(self, *, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """End the channel; see `Channel.close`."""
        await self._channel.close(code=code, reason=reason)
