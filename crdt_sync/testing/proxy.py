"""A TCP proxy that fails as networks do: it cuts, delays, throttles, swallows, damages and refuses.

It stands between a peer and whoever dials it, in real sockets and real time, and knows nothing of what it carries.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, unique
from types import TracebackType
from typing import Final, Self

from crdt_sync.core.checks import checked_instance
from crdt_sync.testing.arguments import measure, whole

PORT_MAX: Final = 65_535
CONNECTIONS_MAX: Final = 1024
"""Open at once; further ones are refused."""
BUFFER_BYTES: Final = 64 * 1024
"""Held back of one connection in one direction; then the sender has to wait."""
_READ_BYTES: Final = 16 * 1024
_SLICE_S: Final = 0.05
"""A throttled way passes on what it may in this time, piece by piece."""


@unique
class Cut(Enum):
    """How a connection ends before its time."""

    RESET = "reset"
    """Both ends get an error; what was on the way is lost."""
    CLOSE = "close"
    """Both ends read an end, as after an orderly close; what was held back is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What becomes of bytes that go one way; as it is by default, nothing.

    Args:
        delay_s: how long they take.
        jitter_s: and up to so much more, drawn for each piece; their order stays.
        bytes_per_s: no more than these; None for no bound.
        flip_every_bytes: one bit is flipped in so many bytes on average, at places that the seed draws; None for none.
        cut_after_bytes: the connection ends when so many have passed, be that amid a frame; None for never.
        cut: how it ends then.
        swallow: they are taken in and never arrive, and nobody is told: a half-open connection. When this ends, the
            connections that lost something are reset, as by a router that has forgotten them.
        hold: they wait, and when the buffer is full so does their sender.

    Raises:
        InputError: a number that cannot be.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    flip_every_bytes: int | None = None
    cut_after_bytes: int | None = None
    cut: Cut = Cut.RESET
    swallow: bool = False
    hold: bool = False

    def __post_init__(self) -> None:
        measure(self.delay_s, what="delay_s")
        measure(self.jitter_s, what="jitter_s")
        measure(1 if self.bytes_per_s is None else self.bytes_per_s, what="bytes_per_s", above_zero=True)
        whole(1 if self.flip_every_bytes is None else self.flip_every_bytes, what="flip_every_bytes", least=1)
        whole(0 if self.cut_after_bytes is None else self.cut_after_bytes, what="cut_after_bytes", least=0)
        checked_instance(self.cut, Cut, what="cut", hint="Write Cut.RESET or Cut.CLOSE.")


CLEAR: Final = Way()
"""A way on which nothing happens."""


class FaultProxy:
    """Listens on a port, and forwards to another; use it as an async context manager.

    Invariants:
        1. Where nothing is set, bytes arrive as they were sent, and each end learns of the other's end.
        2. Settings hold for what passes from then on, also on connections that are open; bytes are counted from then.
           What is delayed already comes when it was due.
        3. The same seed damages the same places of the n-th connection, however its bytes are grouped.
        4. It holds back at most ``buffer_bytes`` of each connection in each direction, beside the sockets' buffers.

    Args:
        target_port: where to.
        target_host: on which host.
        host: the address to listen on.
        port: the port to listen on; 0 picks a free one.
        seed: of jitter and damage.
        buffer_bytes: how much is held back of a connection in each direction.
        sleep: waits so many seconds; tests give their own.
        monotonic: seconds of a clock that never goes back; goes with ``sleep``.

    Raises:
        InputError: a port that cannot be, or no room to hold anything back.
    """

    def __init__(
        self,
        target_port: int,
        *,
        target_host: str = "127.0.0.1",
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int | str = 0,
        buffer_bytes: int = BUFFER_BYTES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        whole(target_port, what="target_port", least=1, most=PORT_MAX)
        whole(port, what="port", least=0, most=PORT_MAX)
        whole(buffer_bytes, what="buffer_bytes", least=1)
        self.target = (target_host, target_port)
        """Where to; may be set to another place for connections to come."""
        self.refusing = False
        """Whether new connections are reset at once."""
        self.counts: Counter[str] = Counter()
        """What happened: ``connections``, ``refused``, ``unreachable``, ``cuts``, ``flips``, ``swallowed_bytes``,
        ``bytes_up`` and ``bytes_down``."""
        self.port = port
        """Where it listens."""
        self.sleep, self.monotonic = sleep, monotonic
        self.seed, self.buffer_bytes = seed, buffer_bytes
        self._host = host
        self._up = self._down = CLEAR
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """What to dial in place of the target."""
        return f"ws://{self._host}:{self.port}"

    @property
    def up(self) -> Way:
        """What becomes of bytes from those who dial to the target; may be set."""
        return self._up

    @up.setter
    def up(self, way: Way) -> None:
        self._up = way
        for link in self._links:
            link.up.change(way)

    @property
    def down(self) -> Way:
        """What becomes of bytes from the target; may be set."""
        return self._down

    @down.setter
    def down(self, way: Way) -> None:
        self._down = way
        for link in self._links:
            link.down.change(way)

    def both(self, way: Way) -> None:
        """Set both ways alike."""
        self.up = self.down = way

    def clear(self) -> None:
        """End all faults; connections that lost something to `Way.swallow` are reset."""
        self.both(CLEAR)
        self.refusing = False

    def cut(self, how: Cut = Cut.RESET) -> int:
        """End all connections that are open now; returns how many."""
        links = list(self._links)
        for link in links:
            link.cut(how)
        return len(links)

    @property
    def open_connections(self) -> int:
        """How many connections are open."""
        return len(self._links)

    def __repr__(self) -> str:
        return (
            f"<fault proxy on {self._host}:{self.port} to {self.target[0]}:{self.target[1]}, {len(self._links)} open>"
        )

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self._host, self.port, limit=_READ_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        tasks = [link.task for link in self._links if link.task is not None]
        self.cut()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing or len(self._links) >= CONNECTIONS_MAX:
            self.counts["refused"] += 1
            _end(writer, Cut.RESET)
            return
        self.counts["connections"] += 1
        link = _Link(self, near=(reader, writer), number=self.counts["connections"])
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


class _Link:
    """One connection through the proxy."""

    def __init__(
        self, proxy: FaultProxy, *, near: tuple[asyncio.StreamReader, asyncio.StreamWriter], number: int
    ) -> None:
        self._proxy = proxy
        self._near = near
        self._writers = [near[1]]
        self._over: asyncio.Future[Cut] = asyncio.get_running_loop().create_future()
        self.task = asyncio.current_task()
        self.up = _Lane(self, proxy, name="up", number=number)
        self.down = _Lane(self, proxy, name="down", number=number)

    def cut(self, how: Cut) -> None:
        """End it; again is fine."""
        if not self._over.done():
            self._over.set_result(how)

    @property
    def is_over(self) -> bool:
        """Whether it was cut, and nothing more may pass."""
        return self._over.done()

    async def run(self) -> None:
        """Forward until both directions or the connection have ended."""
        work = asyncio.create_task(self._forward())
        try:
            await asyncio.wait((work, self._over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            if self._over.done():
                self._proxy.counts["cuts"] += 1
            how = self._over.result() if self._over.done() else Cut.CLOSE
            for writer in self._writers:
                _end(writer, how)

    async def _forward(self) -> None:
        try:
            far = await asyncio.open_connection(*self._proxy.target, limit=_READ_BYTES)
        except OSError:
            self._proxy.counts["unreachable"] += 1
            _end(self._near[1], Cut.RESET)
            return
        self._writers.append(far[1])
        async with asyncio.TaskGroup() as group:
            for lane, (reader, _), (_, writer) in ((self.up, self._near, far), (self.down, far, self._near)):
                group.create_task(lane.fill(reader))
                group.create_task(lane.empty(writer))


class _Lane:
    """One direction of a connection: a queue of pieces that are due at some time, filled and emptied by two tasks."""

    def __init__(self, link: _Link, proxy: FaultProxy, *, name: str, number: int) -> None:
        self._link = link
        self._proxy = proxy
        self._name = name
        self._dice = random.Random(f"{proxy.seed}/{number}/{name}")
        self._queue: deque[tuple[float, bytes]] = deque()
        self._held_bytes = 0
        self._ended = False
        self._lost = False
        self._last_due_s = 0.0
        self._changed = asyncio.Event()
        self._way = CLEAR
        self._until_cut: int | None = None
        self._until_flip: int | None = None
        self.change(proxy.up if name == "up" else proxy.down)

    def change(self, way: Way) -> None:
        """Have other settings from now on."""
        if self._lost and not way.swallow:
            self._link.cut(Cut.RESET)
        self._way = way
        self._until_cut = way.cut_after_bytes
        self._until_flip = self._draw_flip()
        self._wake()

    async def fill(self, reader: asyncio.StreamReader) -> None:
        """Take in what is sent, as far as there is room for it."""
        try:
            while True:
                await self._until(lambda: self._held_bytes < self._proxy.buffer_bytes)
                data = await reader.read(min(_READ_BYTES, self._proxy.buffer_bytes - self._held_bytes))
                if not data:
                    break
                delay_s = self._way.delay_s + self._way.jitter_s * self._dice.random() if self._way.jitter_s else 0.0
                due_s = self._proxy.monotonic() + max(delay_s, self._way.delay_s)
                self._last_due_s = max(self._last_due_s, due_s)
                self._queue.append((self._last_due_s, data))
                self._held_bytes += len(data)
                self._wake()
        except OSError:
            self._link.cut(Cut.RESET)  # as the sender ended it
        self._ended = True
        self._wake()

    async def empty(self, writer: asyncio.StreamWriter) -> None:
        """Pass on what is due, until the sender's end has come through too."""
        writer.transport.set_write_buffer_limits(0)  # what is not sent yet is in our queue, and counted there
        try:
            while True:
                await self._until(lambda: (self._queue and not self._way.hold) or (self._ended and not self._queue))
                if not self._queue:
                    break
                due_s, data = self._queue[0]
                wait_s = due_s - self._proxy.monotonic()
                if wait_s > 0:
                    await self._proxy.sleep(wait_s)
                    continue
                if self._link.is_over:
                    return
                piece = data if self._way.bytes_per_s is None else data[: max(1, int(self._way.bytes_per_s * _SLICE_S))]
                await self._pass_on(writer, piece)
                self._queue[0] = (due_s, data[len(piece) :])
                self._held_bytes -= len(piece)
                if len(piece) == len(data):
                    self._queue.popleft()
                self._wake()
            if not (self._way.swallow or self._link.is_over):
                writer.write_eof()
        except OSError:
            self._link.cut(Cut.RESET)

    async def _pass_on(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self._way.bytes_per_s is not None:
            await self._proxy.sleep(len(data) / self._way.bytes_per_s)
        if self._way.swallow:
            self._lost = True
            self._proxy.counts["swallowed_bytes"] += len(data)
            return
        is_last = self._until_cut is not None and len(data) >= self._until_cut
        data = self._damaged(data[: self._until_cut] if is_last else data)
        writer.write(data)
        await writer.drain()
        self._proxy.counts[f"bytes_{self._name}"] += len(data)
        if is_last:
            self._link.cut(self._way.cut)
        elif self._until_cut is not None:
            self._until_cut -= len(data)

    def _damaged(self, data: bytes) -> bytes:
        """The data with a bit flipped at each place that was drawn."""
        if self._until_flip is None:
            return data
        changed = bytearray(data)
        while self._until_flip < len(changed):
            changed[self._until_flip] ^= 1 << self._dice.randrange(8)
            self._proxy.counts["flips"] += 1
            self._until_flip += self._draw_flip() or 1
        self._until_flip -= len(changed)
        return bytes(changed)

    def _draw_flip(self) -> int | None:
        every = self._way.flip_every_bytes
        return None if every is None else self._dice.randrange(1, 2 * every + 1)

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _until(self, holds: Callable[[], object]) -> None:
        while not holds():
            await self._changed.wait()


def _end(writer: asyncio.StreamWriter, how: Cut) -> None:
    """End one end of a connection."""
    if how is Cut.CLOSE:
        writer.close()
        return
    found = writer.get_extra_info("socket")
    if found is not None:
        with suppress(OSError):  # it is closed already
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
