"""The proxy with faults, on real sockets: what passes, what does not, and what each end is told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from crdt_sync.errors import InputError
from crdt_sync.testing import proxy as module
from crdt_sync.testing.proxy import BUFFER_BYTES, Cut, FaultProxy, Way
from tests.unit.aio.conftest import nothing_left_running
from tests.unit.aio.network import PATIENCE_S, Clock, until

__all__ = ["nothing_left_running"]

DATA = random.Random(1).randbytes(200_000)
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Target:
    """A server behind the proxy: it gives the connections that come in."""

    port: int = 0
    accepted: asyncio.Queue[Pair] = field(default_factory=asyncio.Queue)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        await self.accepted.put((reader, writer))


@asynccontextmanager
async def target() -> AsyncIterator[Target]:
    made = Target()
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield made
    finally:
        server.close()
        await closed(*made.writers)


async def closed(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
        with suppress(OSError):  # it was reset
            await writer.wait_closed()


@asynccontextmanager
async def through(proxy: FaultProxy, behind: Target) -> AsyncIterator[tuple[Pair, Pair]]:
    """The two ends of a connection: who dialled, and who was dialled."""
    near = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield near, await behind.accepted.get()
    finally:
        await closed(near[1])


async def rest(reader: asyncio.StreamReader) -> bytes | None:
    """What is left to read, or None where it ends by an error."""
    try:
        return await reader.read(-1)
    except ConnectionResetError:
        return None


async def test_bytes_and_ends_pass_both_ways() -> None:
    async with target() as behind, FaultProxy(behind.port) as proxy, through(proxy, behind) as (near, far):
        near[1].write(DATA)
        near[1].write_eof()
        assert await rest(far[0]) == DATA
        far[1].write(DATA[::-1])
        far[1].write_eof()
        assert await rest(near[0]) == DATA[::-1]
        await until(lambda: not proxy.open_connections)
        assert (proxy.counts["bytes_up"], proxy.counts["bytes_down"]) == (len(DATA), len(DATA))
        assert (proxy.counts["connections"], proxy.counts["cuts"]) == (1, 0)


@pytest.mark.parametrize(("how", "left"), [(Cut.RESET, None), (Cut.CLOSE, b"")])
async def test_both_ends_learn_of_a_cut(how: Cut, left: bytes | None) -> None:
    async with target() as behind, FaultProxy(behind.port) as proxy, through(proxy, behind) as (near, far):
        assert proxy.cut(how) == 1
        assert [await rest(near[0]), await rest(far[0])] == [left, left]
        await until(lambda: not proxy.open_connections)
        assert proxy.counts["cuts"] == 1
        assert proxy.cut() == 0


@pytest.mark.parametrize("after", [0, 1, 1_000, 70_001])
async def test_a_connection_is_cut_after_exactly_so_many_bytes(after: int) -> None:
    async with target() as behind, FaultProxy(behind.port) as proxy:
        proxy.up = Way(cut_after_bytes=after, cut=Cut.CLOSE)
        async with through(proxy, behind) as (near, far):
            near[1].write(DATA)
            assert await rest(far[0]) == DATA[:after]
        async with through(proxy, behind) as (near, far):  # each connection anew
            near[1].write(DATA)
            assert await rest(far[0]) == DATA[:after]


async def test_bytes_are_counted_from_when_it_is_asked() -> None:
    async with target() as behind, FaultProxy(behind.port) as proxy, through(proxy, behind) as (near, far):
        near[1].write(b"before")
        assert await far[0].readexactly(6) == b"before"
        proxy.up = Way(cut_after_bytes=3, cut=Cut.CLOSE)
        near[1].write(b"after")
        assert await rest(far[0]) == b"aft"


async def test_delay_holds_bytes_back_and_jitter_keeps_their_order() -> None:
    clock = Clock()
    async with target() as behind:
        proxy = FaultProxy(behind.port, sleep=clock.sleep, monotonic=lambda: clock.now_s, seed=5)
        async with proxy:
            proxy.up = Way(delay_s=2.0, jitter_s=3.0)
            async with through(proxy, behind) as (near, far):
                for number in range(10):
                    near[1].write(bytes([number]) * 10)
                    await near[1].drain()
                    await until(lambda: clock.waiting_s)
                assert 2.0 <= clock.waiting_s[0] < 5.0
                far[1].write(b"not delayed")
                assert await near[0].readexactly(11) == b"not delayed"
                assert not proxy.counts["bytes_up"]
                near[1].write_eof()
                reading = asyncio.create_task(rest(far[0]))
                while not reading.done():
                    clock.advance(0.5)
                    await asyncio.sleep(0)
                assert await reading == b"".join(bytes([number]) * 10 for number in range(10))


async def test_throttled_bytes_take_as_long_as_they_should() -> None:
    slept_s: list[float] = []

    async def sleep(delay_s: float) -> None:
        slept_s.append(delay_s)

    async with target() as behind, FaultProxy(behind.port, sleep=sleep) as proxy:
        proxy.up = Way(bytes_per_s=100_000)
        async with through(proxy, behind) as (near, far):
            near[1].write(DATA)
            near[1].write_eof()
            assert await rest(far[0]) == DATA
    assert sum(slept_s) == pytest.approx(len(DATA) / 100_000)
    assert max(slept_s) <= 0.05, "so that another setting need not wait for long"


async def test_what_is_swallowed_never_arrives_and_nobody_is_told() -> None:
    async with target() as behind, FaultProxy(behind.port) as proxy, through(proxy, behind) as (near, far):
        proxy.up = Way(swallow=True)
        near[1].write(DATA)
        await until(lambda: proxy.counts["swallowed_bytes"] == len(DATA))
        far[1].write(b"the other way is open")
        assert await near[0].readexactly(21) == b"the other way is open"
        near[1].write_eof()
        async with through(proxy, behind) as (later, behind_it):
            later[1].write(b"x")
            await until(lambda: proxy.counts["swallowed_bytes"] == len(DATA) + 1)
            proxy.clear()
            assert await rest(later[0]) is None
            assert await rest(behind_it[0]) is None
        assert await rest(far[0]) is None


@pytest.mark.parametrize("piece", [1, 777, len(DATA)])
async def test_the_seed_says_where_bits_are_flipped_however_bytes_are_grouped(piece: int) -> None:
    async def sent(seed: int, *, size: int) -> bytes:
        async with target() as behind, FaultProxy(behind.port, seed=seed) as proxy:
            proxy.up = Way(flip_every_bytes=100)
            async with through(proxy, behind) as (near, far):
                for at in range(0, 3_000, size):
                    near[1].write(DATA[at : min(at + size, 3_000)])
                    await near[1].drain()
                near[1].write_eof()
                got = await rest(far[0])
                assert got is not None
                assert proxy.counts["flips"] == sum(left != right for left, right in zip(got, DATA, strict=False))
                return got

    got, same, other = await sent(1, size=piece), await sent(1, size=3_000), await sent(2, size=3_000)
    assert got == same != other
    flipped = [left ^ right for left, right in zip(got, DATA, strict=False) if left != right]
    assert 15 < len(flipped) < 60
    assert all(bits.bit_count() == 1 for bits in flipped)


async def test_refused_and_unreachable() -> None:
    async with target() as behind, FaultProxy(behind.port) as proxy:
        proxy.refusing = True
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await rest(reader) is None
        proxy.clear()
        proxy.target = ("127.0.0.1", await nobody())
        reader, unheard = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await rest(reader) is None
        await until(lambda: not proxy.open_connections)
        assert (proxy.counts["refused"], proxy.counts["unreachable"]) == (1, 1)
        proxy.target = ("127.0.0.1", behind.port)
        async with through(proxy, behind) as (near, far):
            near[1].write(b"again")
            assert await far[0].readexactly(5) == b"again"
        await closed(writer, unheard)


async def nobody() -> int:
    """A port where nobody listens."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    return port


async def test_too_many_connections_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_MAX", 1)
    async with target() as behind, FaultProxy(behind.port) as proxy, through(proxy, behind):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await rest(reader) is None
        await closed(writer)


async def test_what_is_held_back_is_bounded_and_the_sender_waits() -> None:
    async with target() as behind, FaultProxy(behind.port) as proxy, through(proxy, behind) as (near, far):
        proxy.up = Way(hold=True)
        near[1].transport.set_write_buffer_limits(0)
        sending = asyncio.create_task(send(near[1], count=400))
        await until(lambda: held(proxy) == BUFFER_BYTES)
        assert not sending.done()
        reading = asyncio.create_task(far[0].readexactly(400 * len(DATA)))
        proxy.up = Way()
        most = 0
        while not reading.done():
            most = max(most, held(proxy))
            await asyncio.sleep(0)
        assert most <= BUFFER_BYTES
        assert len(await reading) == 400 * len(DATA)
        await sending


async def send(writer: asyncio.StreamWriter, *, count: int) -> None:
    for _ in range(count):
        writer.write(DATA)
        await writer.drain()


def held(proxy: FaultProxy) -> int:
    return sum(lane._held_bytes for link in proxy._links for lane in (link.up, link.down))


async def test_leaving_ends_what_is_open() -> None:
    async with target() as behind:
        proxy = FaultProxy(behind.port)
        async with proxy:
            proxy.up = Way(delay_s=1_000)
            near = await asyncio.open_connection("127.0.0.1", proxy.port)
            far = await behind.accepted.get()
            near[1].write(b"never comes")
            assert "1 open" in repr(proxy)
        assert await rest(near[0]) is None
        assert await rest(far[0]) is None
        await closed(near[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Way(delay_s=-1),
        lambda: Way(jitter_s=float("nan")),
        lambda: Way(bytes_per_s=0),
        lambda: Way(flip_every_bytes=0),
        lambda: Way(cut_after_bytes=-1),
    ],
    ids=["delay", "jitter", "rate", "flips", "cut"],
)
def test_numbers_that_cannot_be_are_refused(make: Callable[[], Way]) -> None:
    with pytest.raises(InputError):
        make()
