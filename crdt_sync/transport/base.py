"""What a replica needs of the way to its peer: an ordered pipe of whole messages, and nothing else.

A channel of your own (another transport, a tunnel) need only have these four methods and pass
`crdt_sync.testing.channels.ChannelAcceptance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from crdt_sync.errors import ChannelClosed, LocalProtocolError

REASON_BYTES_MAX = 123
"""What a websocket close frame can carry (RFC 6455 section 5.5)."""


class CloseCode(IntEnum):
    """The close codes that channels use themselves (RFC 6455 section 7.4.1); 3000 to 4999 are free for sessions."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    LOST = 1006
    """The connection ended without a close; reported, never sent."""
    POLICY = 1008
    TOO_LARGE = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN_LATER = 1013


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelLimits:
    """Bounds of one channel, and of one listener for all of its channels.

    Raises:
        ValueError: one of them is not positive.
    """

    message_bytes_max: int = 1024 * 1024 + 64 * 1024
    """A frame of the largest size that a session may negotiate (1 MiB), with room for what wraps it; below that frames
    are smaller."""
    queue_messages_max: int = 16
    """Received but not yet read; when it is full the sender has to wait."""
    open_timeout_s: float = 10.0
    """From dialling until messages can be sent."""
    idle_timeout_s: float = 60.0
    """A peer that gives no sign of life, or takes nothing of what is sent, for this long is lost."""
    close_timeout_s: float = 5.0
    """How long a close waits for the peer to agree."""
    channels_max: int = 256
    """Open at one listener; further ones are told to try again later."""

    def __post_init__(self) -> None:
        if min(self.message_bytes_max, self.queue_messages_max, self.channels_max) < 1:
            raise ValueError("counts and sizes of a channel's limits are at least 1")
        if min(self.open_timeout_s, self.idle_timeout_s, self.close_timeout_s) <= 0:
            raise ValueError("a channel's timeouts are longer than 0 s")


CHANNEL_LIMITS = ChannelLimits()


class Channel(Protocol):
    """One end of an ordered pipe of whole messages, with one reader and any number of writers.

    Invariants:
        1. Messages arrive whole, once, and in the order in which they were sent, up to some point where the channel
           ends. (A `MemoryChannel` breaks this where a test tells it to.)
        2. What the peer sent before it closed can still be received; then `receive` raises. After one's own `close`
           nothing more is received.
        3. Once it has ended it stays so: every later call raises `ChannelClosed` with the same code and reason.
        4. A `send` or `receive` that is cancelled leaves the channel usable; whether the message of a cancelled `send`
           goes out is open.
    """

    @property
    def remote(self) -> str:
        """The peer's address, for people to read."""
        ...

    async def send(self, data: bytes) -> None:
        """Send one message; waits while the peer takes in less than is sent.

        Raises:
            ChannelClosed: the channel has ended; the message may be lost.
            LocalProtocolError: longer than the channel's limit; nothing was sent and the channel stays open.
        """
        ...

    async def receive(self) -> bytes:
        """Wait for the next message.

        Raises:
            ChannelClosed: the channel has ended and everything that arrived was received.
            LocalProtocolError: another task is receiving already.
        """
        ...

    async def close(self, *, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """End the channel and tell the peer why; again is fine and changes nothing.

        Args:
            code: one of `CloseCode` except LOST, or from 3000 to 4999.
            reason: for people; cut to 123 bytes.

        Raises:
            LocalProtocolError: a code that cannot be sent.
        """
        ...


class BlockingChannel(Protocol):
    """A `Channel` for code without an event loop, used from one thread; the same invariants hold."""

    @property
    def remote(self) -> str:
        """The peer's address, for people to read."""
        ...

    def send(self, data: bytes) -> None:
        """Send one message; raises as `Channel.send`."""
        ...

    def receive(self, *, timeout_s: float) -> bytes:
        """Wait for the next message, for at most so long; 0 looks only at what has arrived.

        Raises:
            SyncTimeoutError: nothing came; the channel is as it was.
            ChannelClosed: the channel has ended and everything that arrived was received.
        """
        ...

    def close(self, *, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """End the channel; as `Channel.close`."""
        ...


def check_message(data: bytes, *, limits: ChannelLimits) -> None:
    """Refuse what a channel cannot send.

    Raises:
        LocalProtocolError: longer than the channel's limit.
    """
    if len(data) > limits.message_bytes_max:
        raise LocalProtocolError(f"a message of {len(data)} bytes on a channel for {limits.message_bytes_max}")


def check_close(*, code: int, reason: str) -> tuple[int, str]:
    """Make a code and reason ready to send: the reason is cut to whole characters within its limit.

    Raises:
        LocalProtocolError: a code that cannot be sent.
    """
    if not 3000 <= code <= 4999 and (code == CloseCode.LOST or code not in CloseCode.__members__.values()):
        raise LocalProtocolError(f"a channel cannot be closed with code {code}")
    cut = reason.encode("utf-8", "replace")[:REASON_BYTES_MAX]
    return code, cut.decode("utf-8", "ignore")


def channel_closed(*, code: int, reason: str = "", remote: str) -> ChannelClosed:
    """The error for a channel that ended with this code and reason."""
    how = "was lost" if code == CloseCode.LOST else f"ended with code {code}"
    why = f": {reason}" if reason else ""
    return ChannelClosed(f"the channel with {remote} {how}{why}", code=int(code), reason=reason)
