"""What the tests of the shells share: replicas, a line that can be cut or held, a clock that a test moves."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from crdt_sync import Model, Replica, Set, Text
from crdt_sync.aio.backoff import BackoffPolicy
from crdt_sync.aio.pump import Pump
from crdt_sync.aio.shell import Shell
from crdt_sync.replica.conversation import Conversation
from crdt_sync.transport.base import Channel

PATIENCE_S = 20.0
"""A test that waits longer hangs."""
QUICK = BackoffPolicy(floor_s=0.001, base_s=0.002, cap_s=0.005, retry_after_s_max=0.005)


class Task(Model):
    title: str = ""
    done: bool = False
    notes: Text
    tags: Set[str]


def memory() -> Replica:
    return Replica.open(":memory:", [Task])


def titles(replica: Replica) -> set[str]:
    return {task.title for task in replica.find(Task)}


async def until(holds: Callable[[], object]) -> None:
    """Let everybody else go on until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  not every thing that a test waits for tells of itself
            await asyncio.sleep(0)


@dataclass
class Clock:
    """Sleeping that ends when the test says so."""

    now_s: float = 0.0
    asked_s: list[float] = field(default_factory=list)
    _sleepers: list[tuple[float, asyncio.Event]] = field(default_factory=list)

    async def sleep(self, delay_s: float) -> None:
        event = asyncio.Event()
        self.asked_s.append(delay_s)
        self._sleepers.append((self.now_s + delay_s, event))
        await event.wait()

    @property
    def waiting_s(self) -> list[float]:
        """How long those who sleep now have left."""
        return [due_s - self.now_s for due_s, event in self._sleepers if not event.is_set()]

    def advance(self, by_s: float) -> None:
        self.now_s += by_s
        for due_s, event in self._sleepers:
            if due_s <= self.now_s:
                event.set()

    @property
    def shell(self) -> Shell:
        return Shell(sleep=self.sleep, chance=lambda: 0.999, monotonic=lambda: self.now_s)


class Line:
    """A TCP relay in front of a port: it counts, it holds back, and it cuts."""

    def __init__(self, to_port: int) -> None:
        self.to_port = to_port
        self.port = 0
        self.dialled = 0
        self.carried_bytes = 0
        self.cut_after_bytes: int | None = None
        """Cut everything that is open when so many more bytes went through; once."""
        self._passing = asyncio.Event()
        self._passing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def hold(self) -> None:
        """Nothing passes until `release`; both ends stay open."""
        self._passing.clear()

    def release(self) -> None:
        self._passing.set()

    def cut(self) -> None:
        """Both ends of everything that is open see a reset."""
        for writer in self._writers:
            writer.transport.abort()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Line]:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for writer in self._writers:
                with contextlib.suppress(OSError):  # the reset that `cut` made
                    await writer.wait_closed()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialled += 1
        self._writers.add(writer)
        try:
            there, there_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(there_writer)
        for source, target in ((reader, there_writer), (there, writer)):
            self._tasks.add(asyncio.create_task(self._copy(source, target)))

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(16_384):
                await self._passing.wait()
                self.carried_bytes += len(data)
                if self.cut_after_bytes is not None:
                    self.cut_after_bytes -= len(data)
                    if self.cut_after_bytes <= 0:
                        self.cut_after_bytes = None
                        self.cut()
                        return
                target.write(data)
                await target.drain()
        except OSError:
            return  # cut
        finally:
            target.transport.abort() if target.transport.is_closing() else target.close()


class Noted:
    """A channel that notes what is done with it."""

    def __init__(self, channel: Channel, log: list[str], *, name: str = "sent") -> None:
        self._channel = channel
        self._log = log
        self._name = name

    @property
    def remote(self) -> str:
        return self._channel.remote

    async def send(self, data: bytes) -> None:
        self._log.append(self._name)
        await self._channel.send(data)

    async def receive(self) -> bytes:
        return await self._channel.receive()

    async def close(self, *, code: int = 1000, reason: str = "") -> None:
        await self._channel.close(code=code, reason=reason)


def pump_of(replica: Replica, channel: Channel, *, initiator: bool = True, shell: Shell | None = None) -> Pump:
    conversation = Conversation(replica.port, initiator=initiator)
    return Pump(conversation, channel=channel, port=replica.port, shell=shell or Shell())


@asynccontextmanager
async def pumping(left: tuple[Replica, Channel], right: tuple[Replica, Channel]) -> AsyncIterator[tuple[Pump, Pump]]:
    """Two pumps at the ends of a line; what they raise is raised here."""
    pumps = pump_of(*left), pump_of(*right, initiator=False)
    tasks = [asyncio.create_task(pump.run()) for pump in pumps]
    try:
        await until(lambda: all(pump.connected for pump in pumps))
        yield pumps
    finally:
        for pump in pumps:
            pump.close()
        async with asyncio.timeout(PATIENCE_S):
            results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def fill(replica: Replica, count: int, *, name: str = "task", size: int = 0) -> None:
    """Records that do not compress to nothing."""
    made = random.Random(count)
    for number in range(count):
        replica.create(Task, title=f"{name} {number}", notes=made.randbytes(size // 2).hex())


def close_all(things: Iterable[Replica]) -> None:
    for thing in things:
        thing.close()
