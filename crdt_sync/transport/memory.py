"""A channel in memory, whose faults a test decides frame by frame.

`MemoryLine` is the pure state: what is on its way between two ends, and what a fault does to it. `MemoryChannel` is the
`Channel` of one end over it. Neither reads a clock or draws a random number, so a run is repeated by its decisions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import assert_never

from crdt_sync.errors import LocalProtocolError
from crdt_sync.transport.base import (
    CHANNEL_LIMITS,
    ChannelLimits,
    CloseCode,
    channel_closed,
    check_close,
    check_message,
)


class End(Enum):
    """The two ends of a line."""

    DIALER = "dialer"
    LISTENER = "listener"

    @property
    def other(self) -> End:
        """The end across."""
        return End.LISTENER if self is End.DIALER else End.DIALER


class Fate(Enum):
    """What becomes of one frame."""

    DELIVER = auto()
    DROP = auto()
    DUPLICATE = auto()
    CUT = auto()
    """The line breaks in place of this frame; what arrived before can still be read at both ends."""
    CUT_AND_LOSE = auto()
    """The line breaks in place of this frame, and both ends lose what they had not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A frame whose fate is asked for.

    Args:
        sender: the end that sends it.
        index: how many frames this end sent before.
        data: its bytes.
    """

    sender: End
    index: int
    data: bytes


Fates = Callable[[Frame], Fate]
"""Asked once for each frame, in the order of sending."""


def always_deliver(frame: Frame) -> Fate:
    """The fates of a line without faults."""
    del frame
    return Fate.DELIVER


class MemoryLine:
    """Frames on their way between two ends, without an event loop; for tests of sans-I/O code also by itself.

    Args:
        fates: decides what becomes of each frame.
        limits: how long a frame, and how many unread ones in each direction.
    """

    def __init__(self, *, fates: Fates = always_deliver, limits: ChannelLimits = CHANNEL_LIMITS) -> None:
        self.limits = limits
        self._fates = fates
        self._unread: dict[End, deque[bytes]] = {end: deque() for end in End}
        self._sent = dict.fromkeys(End, 0)
        self._ended: tuple[int, str] | None = None
        self._observers: list[Callable[[], None]] = []

    @property
    def ended(self) -> tuple[int, str] | None:
        """Code and reason with which the line ended, once it has."""
        return self._ended

    def unread(self, end: End) -> int:
        """How many frames this end has not yet taken."""
        return len(self._unread[end])

    def has_room(self, sender: End) -> bool:
        """Whether a frame of ``sender`` fits into the queue of the other end."""
        return len(self._unread[sender.other]) < self.limits.queue_messages_max

    def put(self, sender: End, *, data: bytes) -> None:
        """Send a frame to its fate. A duplicate may exceed the queue by one.

        Raises:
            ChannelClosed: the line has ended, or this frame's fate was a cut.
            LocalProtocolError: a frame beyond the limits, or no room for it.
        """
        check_message(data, limits=self.limits)
        self._raise_if_ended(sender)
        if not self.has_room(sender):
            raise LocalProtocolError("the line has no room for another frame")
        fate = self._fates(Frame(sender=sender, index=self._sent[sender], data=data))
        self._sent[sender] += 1
        match fate:
            case Fate.DELIVER:
                self._unread[sender.other].append(data)
            case Fate.DROP:
                return
            case Fate.DUPLICATE:
                self._unread[sender.other].extend((data, data))
            case Fate.CUT:
                self.cut()
                self._raise_if_ended(sender)
            case Fate.CUT_AND_LOSE:
                self.cut(lose_unread=True)
                self._raise_if_ended(sender)
            case _:
                assert_never(fate)
        self._tell()

    def take(self, end: End) -> bytes | None:
        """Take the next frame at this end; None while there is none.

        Raises:
            ChannelClosed: there is none and the line has ended.
        """
        if self._unread[end]:
            data = self._unread[end].popleft()
            self._tell()
            return data
        self._raise_if_ended(end)
        return None

    def cut(self, *, lose_unread: bool = False) -> None:
        """Break the line for both ends, as when the network goes away."""
        self._end(code=CloseCode.LOST, reason="")
        if lose_unread:
            for frames in self._unread.values():
                frames.clear()

    def close(self, end: End, *, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the line from one end; the other can still take what was sent to it before.

        Raises:
            LocalProtocolError: a code that cannot be sent.
        """
        self._unread[end].clear()
        code, reason = check_close(code=code, reason=reason)
        self._end(code=code, reason=reason)

    def observe(self, callback: Callable[[], None]) -> None:
        """Have a callback called after each change."""
        self._observers.append(callback)

    def _end(self, *, code: int, reason: str) -> None:
        if self._ended is None:
            self._ended = (code, reason)
        self._tell()

    def _raise_if_ended(self, end: End) -> None:
        if self._ended is not None:
            code, reason = self._ended
            raise channel_closed(code=code, reason=reason, remote=f"memory:{end.other.value}")

    def _tell(self) -> None:
        for callback in self._observers:
            callback()

    def __repr__(self) -> str:
        state = "open" if self._ended is None else f"ended {self._ended[0]}"
        return f"<memory line {state}, unread {self.unread(End.DIALER)} and {self.unread(End.LISTENER)}>"


class MemoryChannel:
    """The `Channel` of one end of a `MemoryLine`.

    It has no idle timeout, for want of a clock: a `send` to an end that reads nothing waits until that changes.
    """

    def __init__(self, line: MemoryLine, *, end: End) -> None:
        self.line = line
        self._end = end
        self._changed = asyncio.Event()
        self._receiving = False
        line.observe(self._changed.set)

    @property
    def remote(self) -> str:
        """The peer's address, for people to read."""
        return f"memory:{self._end.other.value}"

    async def send(self, data: bytes) -> None:
        """Send one message; see `Channel.send`."""
        check_message(data, limits=self.line.limits)
        while self.line.ended is None and not self.line.has_room(self._end):
            await self._next_change()
        self.line.put(self._end, data=data)

    async def receive(self) -> bytes:
        """Wait for the next message; see `Channel.receive`."""
        if self._receiving:
            raise LocalProtocolError("another task is receiving on this channel already")
        self._receiving = True
        try:
            while (data := self.line.take(self._end)) is None:
                await self._next_change()
            return data
        finally:
            self._receiving = False

    async def close(self, *, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """End the channel; see `Channel.close`."""
        self.line.close(self._end, code=code, reason=reason)

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def __repr__(self) -> str:
        return f"<memory channel to {self.remote}, {self.line!r}>"


def memory_pair(
    *, fates: Fates = always_deliver, limits: ChannelLimits = CHANNEL_LIMITS
) -> tuple[MemoryChannel, MemoryChannel]:
    """Make two connected channels: the dialling end and the listening one.

    Args:
        fates: decides what becomes of each frame; without it all arrive.
        limits: bounds of frames and of unread frames in each direction.
    """
    line = MemoryLine(fates=fates, limits=limits)
    return MemoryChannel(line, end=End.DIALER), MemoryChannel(line, end=End.LISTENER)
