"""A network in virtual time: delays, partitions of every shape, connections that break for one end or for both.

What holds within a connection holds here too, as it does for TCP: frames arrive whole and in order up to some point.
Loss, repetition and reordering are what they are in life: a connection breaks, frames that were in the air are gone or
still arrive, and the next connection begins while the other end has not noticed the end of the last one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from urllib.parse import urlsplit

from crdt_sync.aio.shell import Bell
from crdt_sync.errors import LocalProtocolError, PeerUnreachableError
from crdt_sync.testing.simulation.tapping import Draws, Tap
from crdt_sync.testing.simulation.trace import Trace
from crdt_sync.transport.base import Channel, ChannelLimits, CloseCode, channel_closed, check_close, check_message

LIMITS = ChannelLimits(idle_timeout_s=6.0, open_timeout_s=2.0)
"""A dead peer is noticed sooner than by default, so that short histories see both sides of it."""
LATENCY_S = (0.001, 0.08)
RESET_S = 0.02
"""How long it takes an end to learn that the other's process is gone."""

Listener = Callable[[Channel], Awaitable[None]]
_End = tuple[int, str]


class Network:
    """Everything between the hosts.

    Args:
        loop: whose time it is.
        trace: is told of every frame.
        seed: of the delays.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, trace: Trace, seed: str) -> None:
        self.loop = loop
        self.trace = trace
        self.wires: list[Wire] = []
        """Those of which at least one end is open."""
        self.blocked: set[tuple[str, str]] = set()
        """Directions, sender first, in which nothing gets through."""
        self.slow: dict[str, float] = {}
        """Host → seconds that it takes to read a frame."""
        self.draws = Draws()
        """What the hosts draw."""
        self.failures: list[BaseException] = []
        """What the code of a listener raised; it never should."""
        self.unread_max = 0
        """The most frames that ever waited at one end."""
        self._seed = seed
        self._made = 0
        self._listeners: dict[str, Listener] = {}
        self._talking: dict[asyncio.Task[None], str] = {}

    def listen(self, host: str, listener: Listener) -> None:
        """Have a host admit whoever dials it."""
        self._listeners[host] = listener

    async def dial(self, host: str, url: str, limits: ChannelLimits) -> SimulatedChannel:
        """Open a channel from a host.

        Args:
            host: that dials.
            url: ``ws://`` and the name of the host to reach.
            limits: of the channel.

        Raises:
            PeerUnreachableError: it is not there, or cannot be reached.
        """
        target = urlsplit(url).hostname or ""
        if not self.blocked.isdisjoint({(host, target), (target, host)}):
            await asyncio.sleep(limits.open_timeout_s)
            raise PeerUnreachableError(f"{target} does not answer")
        await asyncio.sleep(RESET_S)
        listener = self._listeners.get(target)
        if listener is None:
            raise PeerUnreachableError(f"nothing listens at {target}")
        self._made += 1
        wire = Wire(self, (host, target), limits=limits, random=Random(f"{self._seed}/{self._made}"))
        self.wires.append(wire)
        task = self.loop.create_task(_talk(listener, wire.ends[1]))
        self._talking[task] = target
        task.add_done_callback(self._said)
        return wire.ends[0]

    async def silence(self, host: str) -> None:
        """A host is gone: nobody listens there, and what it was doing for those who dialled it has ended."""
        self._listeners.pop(host, None)
        tasks = [task for task, owner in self._talking.items() if owner == host]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _said(self, task: asyncio.Task[None]) -> None:
        self._talking.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(error)

    def drop(self, host: str, *, told: bool) -> None:
        """Everything that a host is connected with loses it.

        Args:
            host: whose process ended.
            told: whether the others learn it at once; else when nothing came for the idle timeout.
        """
        self._listeners.pop(host, None)
        for wire in list(self.wires):
            for side in (0, 1):
                if wire.ends[side].host == host:
                    wire.ends[side].break_off()
                    delay_s = RESET_S if told else wire.limits.idle_timeout_s
                    self.loop.call_later(delay_s, wire.ends[1 - side].break_off)

    def block(self, sender: str, receiver: str) -> None:
        """Let nothing through in one direction. Connections notice when the idle timeout is over."""
        self.blocked.add((sender, receiver))
        for wire in self.wires:
            if {sender, receiver} == {wire.ends[0].host, wire.ends[1].host}:
                self.loop.call_later(wire.limits.idle_timeout_s, wire.find_dead)

    def heal(self) -> None:
        """Everybody reaches everybody; what was held up goes on."""
        self.blocked.clear()
        for wire in list(self.wires):
            wire.go_on()


async def _talk(listener: Listener, channel: SimulatedChannel) -> None:
    try:
        await listener(channel)
    finally:
        await channel.close()


class Wire:
    """One connection between two hosts.

    Args:
        network: that it is a part of.
        hosts: the dialling one first.
        limits: of both ends.
        random: draws the delays.
    """

    def __init__(self, network: Network, hosts: tuple[str, str], *, limits: ChannelLimits, random: Random) -> None:
        self.network = network
        self.limits = limits
        self._random = random
        self.ends = (SimulatedChannel(self, 0, hosts), SimulatedChannel(self, 1, hosts))
        self.tap = Tap(network.draws)
        self._arrived_s = [0.0, 0.0]
        self._held: tuple[deque[bytes | _End], deque[bytes | _End]] = (deque(), deque())
        """What waits, for each sender, until the network lets it through."""

    def carry(self, side: int, item: bytes | _End) -> None:
        """Take something from one end to the other, behind all that was sent before."""
        loop = self.network.loop
        self._arrived_s[side] = max(self._arrived_s[side], loop.time() + self._random.uniform(*LATENCY_S))
        self._held[side].append(item)
        loop.call_at(self._arrived_s[side], self._arrive, side)

    def go_on(self) -> None:
        """Deliver what was held up."""
        for side in (0, 1):
            for _ in range(len(self._held[side])):
                self._arrive(side)

    def find_dead(self) -> None:
        """Both ends break off, where pings do not get through any more."""
        one, other = (end.host for end in self.ends)
        if not self.network.blocked.isdisjoint({(one, other), (other, one)}):
            for end in self.ends:
                end.break_off()

    def cut(self, learns: int) -> bool:
        """The connection breaks.

        Args:
            learns: which end learns it now, 0 or 1; what is in the air towards the other one still arrives, and it
                learns it when the idle timeout is over. Any other number: both learn, and what is in the air is lost.

        Returns:
            Whether a frame was in the air.
        """
        busy = any(self._held)
        for side in (0, 1):
            if side == learns or learns not in {0, 1}:
                self._held[1 - side].clear()
                self.ends[side].break_off()
            else:
                self.network.loop.call_later(self.limits.idle_timeout_s, self.ends[side].break_off)
        return busy

    def _arrive(self, side: int) -> None:
        sender, receiver = self.ends[side], self.ends[1 - side]
        if not self._held[side] or (sender.host, receiver.host) in self.network.blocked:
            return
        receiver.take_in(self._held[side].popleft())
        sender.stir()

    def backlog(self, side: int) -> int:
        """Frames of one end that the other has not read."""
        return len(self._held[side]) + self.ends[1 - side].unread


class SimulatedChannel:
    """The `Channel` of one end of a `Wire`."""

    def __init__(self, wire: Wire, side: int, hosts: tuple[str, str]) -> None:
        self.host, self.peer = hosts[side], hosts[1 - side]
        self._wire = wire
        self._side = side
        self._inbox: deque[bytes] = deque()
        self._ended: _End | None = None
        self._changed = Bell()
        self._receiving = False

    @property
    def remote(self) -> str:
        """The peer's address, for people to read."""
        return f"{self.peer}:1"

    @property
    def ended(self) -> bool:
        """Whether this end knows that the connection is over."""
        return self._ended is not None

    @property
    def unread(self) -> int:
        """Frames that arrived and were not read."""
        return len(self._inbox)

    async def send(self, data: bytes) -> None:
        """Send one message; see `Channel.send`."""
        check_message(data, limits=self._wire.limits)
        while self._ended is None and self._wire.backlog(self._side) >= self._wire.limits.queue_messages_max:
            await self._change()
        self._raise_if_ended()
        network, tap = self._wire.network, self._wire.tap
        seal = (tap, self._side, tap.see(self._side, data))
        network.trace.note(network.loop.time(), "sent", self.host, to=self.peer, data=data, seal=seal)
        self._wire.carry(self._side, data)

    async def receive(self) -> bytes:
        """Wait for the next message; see `Channel.receive`."""
        if self._receiving:
            raise LocalProtocolError("another task is receiving on this channel already")
        self._receiving = True
        try:
            while not self._inbox:
                self._raise_if_ended()
                await self._change()
            delay_s = self._wire.network.slow.get(self.host, 0.0)
            if delay_s:
                await asyncio.sleep(delay_s)
            if not self._inbox:
                self._raise_if_ended()
            data = self._inbox.popleft()
            self._wire.ends[1 - self._side].stir()
            return data
        finally:
            self._receiving = False

    async def close(self, *, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """End the channel; see `Channel.close`."""
        end = check_close(code=code, reason=reason)
        self._inbox.clear()
        if self._ended is not None:
            return
        self._wire.carry(self._side, end)
        self._finish(end)
        other = self._wire.ends[1 - self._side]
        with suppress(TimeoutError):  # a peer that cannot be reached does not agree, and need not
            async with asyncio.timeout(self._wire.limits.close_timeout_s):
                while not other.ended:
                    await self._change()

    def break_off(self) -> None:
        """The connection is lost for this end."""
        self._finish((CloseCode.LOST, ""))

    def take_in(self, item: bytes | _End) -> None:
        """Something arrived."""
        if isinstance(item, tuple):
            self._finish(item)
        elif self._ended is None:
            self._inbox.append(item)
            network = self._wire.network
            network.unread_max = max(network.unread_max, len(self._inbox))
            self.stir()

    def stir(self) -> None:
        """Have whoever waits look again."""
        self._changed.ring()

    async def _change(self) -> None:
        await self._changed.rung()

    def _finish(self, end: _End) -> None:
        if self._ended is not None:
            return
        self._ended = end
        wire, other = self._wire, self._wire.ends[1 - self._side]
        self.stir()
        other.stir()
        if other.ended and wire in wire.network.wires:
            wire.network.wires.remove(wire)

    def _raise_if_ended(self) -> None:
        if self._ended is not None:
            code, reason = self._ended
            raise channel_closed(code=code, reason=reason, remote=self.remote)
