"""`serve`: where it listens, whom it admits, one session for each device, and how it shuts down. Real sockets."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from crdt_sync import Replica, connect, serve
from crdt_sync.aio.pump import HANDSHAKE_TIMEOUT_S, Pump
from crdt_sync.aio.server import Server, is_loopback
from crdt_sync.aio.shell import Shell
from crdt_sync.errors import (
    AddressInUseError,
    AdmissionError,
    HandshakeError,
    InputError,
    RemoteProtocolError,
    StoreClosedError,
    StoreReadOnlyError,
    WrongThreadError,
)
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.security.handshake import Handshake
from crdt_sync.transport.memory import MemoryChannel, memory_pair
from crdt_sync.transport.websocket import dial
from tests.unit.aio.network import PATIENCE_S, QUICK, Clock, Line, Task, memory, pump_of, titles, until

EVERYWHERE = "0.0.0.0"  # noqa: S104  what must not be listened on without more ado


async def test_port_0_picks_a_port(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server:
        assert server.port > 0
        assert server.url == f"ws://127.0.0.1:{server.port}"
        async with connect(one, server.url) as peer:
            one.create(Task, title="hello")
            await peer.caught_up(timeout_s=PATIENCE_S)
            assert titles(hub) == {"hello"}
            assert server.devices == (one.device_id,)
            assert peer.device_id == hub.device_id
            assert repr(server) == f"<Server {server.url} 1 connected>"
        await until(lambda: server.devices == ())


async def test_a_port_in_use(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server:
        with pytest.raises(AddressInUseError):
            async with serve(one, port=server.port):
                pytest.fail("the port is taken")


@pytest.mark.parametrize("host", [EVERYWHERE, "", "::", "192.0.2.7", "example.org"])
async def test_other_hosts_than_loopback_need_open_space(hub: Replica, host: str) -> None:
    with pytest.raises(AdmissionError, match="would admit"):
        async with serve(hub, host):
            pytest.fail("not without open_space")


async def test_open_space_listens_elsewhere_with_a_warning(
    hub: Replica, one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(hub, EVERYWHERE, open_space=True) as server:
        assert "open space" in caplog.text
        async with connect(one, f"ws://127.0.0.1:{server.port}") as peer:
            await peer.caught_up(timeout_s=PATIENCE_S)


async def test_an_address_of_another_machine_cannot_be_listened_on(hub: Replica) -> None:
    with pytest.raises(InputError):
        async with serve(hub, "192.0.2.7", open_space=True):
            pytest.fail("not ours")


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:80", True),
        ("127.8.9.10:80", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]:80", True),
        ("::ffff:127.0.0.1", True),
        ("[::ffff:127.0.0.1]:80", True),
        ("[fe80::1%eth0]:80", False),
        ("::ffff:192.0.2.7", False),
        ("192.0.2.7:80", False),
        (EVERYWHERE, False),
        ("localhost.example.org", False),
        ("", False),
        ("a peer that left", False),
    ],
)
def test_what_loopback_is(address: str, is_here: bool) -> None:
    assert is_loopback(address) is is_here


class FromElsewhere:
    """A channel whose peer seems to come from another machine."""

    def __init__(self, channel: MemoryChannel) -> None:
        self.remote = "192.0.2.7:4711"
        self.send, self.receive, self.close = channel.send, channel.receive, channel.close


@pytest.mark.parametrize("open_space", [False, True])
async def test_devices_of_other_machines_come_in_only_to_an_open_space(
    hub: Replica, one: Replica, open_space: bool, caplog: pytest.LogCaptureFixture
) -> None:
    left, right = memory_pair()
    server = Server(hub, open_space=open_space, shell=Shell())
    pump = pump_of(one, left)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.talk(FromElsewhere(right)))
        running = group.create_task(pump.run())
        await until(lambda: pump.connected and (not open_space or server.devices))
        if open_space:
            assert await pump.proven()
            pump.close()
        await running
    assert pump.conversation.end is not None
    assert pump.conversation.end.code == ("bye" if open_space else "refused")
    if not open_space:
        assert isinstance(pump.conversation.end.error(), AdmissionError)
        assert "192.0.2.7" in caplog.text


async def test_a_read_only_or_closed_replica_or_another_thread_is_refused_at_once(tmp_path: Path, hub: Replica) -> None:
    Replica.open(tmp_path / "a.db", [Task], state_dir=tmp_path / "state").close()
    with Replica.open(tmp_path / "a.db", [Task], read_only=True) as reader, pytest.raises(StoreReadOnlyError):
        async with serve(reader):
            pytest.fail("read-only")
    with pytest.raises(StoreClosedError):
        async with serve(reader):
            pytest.fail("closed")

    async def elsewhere() -> None:
        async with serve(hub):
            pytest.fail("another thread")

    with pytest.raises(WrongThreadError):
        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))


async def test_the_newest_session_of_a_device_holds_and_the_older_comes_back_after_it(
    hub: Replica, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crdt_sync.aio.server.REPLACED_RETRY_AFTER_S", 1.0)
    async with serve(hub) as server, connect(one, server.url, policy=QUICK) as older:
        await older.caught_up(timeout_s=PATIENCE_S)
        async with connect(one, server.url, policy=QUICK) as newer:
            await newer.caught_up(timeout_s=PATIENCE_S)
            await until(lambda: older.last_error is not None)
            assert isinstance(older.last_error, RemoteProtocolError)
            assert older.last_error.code == "replaced"
            assert older.failure is None
            assert server.devices == (one.device_id,)
            one.create(Task, title="through the newer")
            await newer.caught_up(timeout_s=PATIENCE_S)
        await older.caught_up(timeout_s=PATIENCE_S)
        assert older.reconnects >= 1
        one.create(Task, title="through the older again")
        await older.caught_up(timeout_s=PATIENCE_S)
    assert titles(hub) == {"through the newer", "through the older again"}


async def connected(pump: Pump) -> bool:
    """Whether a pump, once it is connected, is proven equal to its peer."""
    await until(lambda: pump.connected)
    return await pump.proven()


async def test_the_end_of_the_older_session_does_not_take_the_newer_off_the_list(hub: Replica, one: Replica) -> None:
    server = Server(hub, open_space=True, shell=Shell())
    lines = [memory_pair(), memory_pair()]
    pumps = [pump_of(one, left) for left, _ in lines]
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
        talks = []
        for pump, (_, right) in zip(pumps, lines, strict=True):
            talks.append(group.create_task(server.talk(right)))
            group.create_task(pump.run())
            assert await connected(pump)
        await talks[0]
        assert list(server.devices) == [one.device_id]
        pumps[1].close()
        await talks[1]
        assert list(server.devices) == []


async def test_a_device_that_lost_its_line_replaces_its_own_dead_session(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server, Line(server.port).open() as line, connect(one, line.url, policy=QUICK) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)
        line.hold()  # the hub does not see that the line is dead
        for writer in list(line._writers)[:1]:
            writer.transport.abort()
        line.release()
        await until(lambda: peer.reconnects == 1 and peer.connected)
        await peer.caught_up(timeout_s=PATIENCE_S)
        assert peer.reconnects == 1
        assert server.devices == (one.device_id,)


async def test_a_copy_of_the_same_device_is_refused_for_good(hub: Replica) -> None:
    async with serve(hub) as server, connect(hub, server.url, policy=QUICK) as peer:
        with pytest.raises(AdmissionError, match="same device"):
            await peer.caught_up(timeout_s=PATIENCE_S)
        assert peer.reconnects == 0
        assert server.devices == ()


async def test_another_space_fails_the_handshake_with_its_code_and_hint(
    hub: Replica, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one._state, "space", bytes(32))
    async with serve(hub) as server, connect(one, server.url, policy=QUICK) as peer:
        with pytest.raises(HandshakeError) as caught:
            await peer.caught_up(timeout_s=PATIENCE_S)
        assert caught.value.code == "wrong_space"
        assert "Pair the devices" in caught.value.hint


async def test_shutting_down_tells_every_session_and_leaves_nothing(hub: Replica, one: Replica, two: Replica) -> None:
    async with asyncio.timeout(PATIENCE_S):
        async with serve(hub) as server:
            channels = [await dial(server.url) for _ in range(2)]
            pumps = [pump_of(replica, channel) for replica, channel in zip((one, two), channels, strict=True)]
            tasks = [asyncio.create_task(pump.run()) for pump in pumps]
            silent = await dial(server.url)  # never finishes its handshake
            await until(lambda: len(server.devices) == 2)
            began_s = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began_s < 2
        await asyncio.gather(*tasks)
        await silent.close()
    for pump in pumps:
        assert pump.conversation.end is not None
        assert pump.conversation.end.code == "shutdown"
        assert not pump.conversation.end.permanent


async def test_nobody_is_admitted_while_shutting_down(hub: Replica) -> None:
    server = Server(hub, open_space=True, shell=Shell())
    await server.close()
    left, right = memory_pair()
    await server.talk(right)
    assert left.line.ended == (1001, "")


async def test_a_peer_that_never_finishes_the_handshake_is_let_go(hub: Replica, one: Replica) -> None:
    clock = Clock()
    async with serve(hub, shell=clock.shell) as server:
        silent = await dial(server.url)
        await until(lambda: clock.asked_s)
        async with connect(one, server.url) as peer:  # another one is served meanwhile
            await peer.caught_up(timeout_s=PATIENCE_S)
            clock.advance(HANDSHAKE_TIMEOUT_S)
            async with asyncio.timeout(PATIENCE_S):
                await silent.receive()  # its preamble
                with pytest.raises(Exception, match="ended with code 1000"):
                    await silent.receive()
            await peer.caught_up(timeout_s=PATIENCE_S)


async def test_a_peer_that_stays_silent_after_the_handshake_is_let_go(one: Replica) -> None:
    """The session's own deadline, which the pump has to keep: the peer's hello never comes."""
    now_ms = [1_000_000]
    one._state.now_ms = lambda: now_ms[0]
    left, right = memory_pair()
    pump = pump_of(one, left)
    with memory() as other:
        silent = Handshake(initiator=False, key=other.port.key, space=other.port.space, secret=bytes(32))
        task = asyncio.create_task(pump.run())
        for message in silent.start():
            await right.send(message)
        while silent.peer is None:
            for answer in silent.receive(await right.receive()):
                await right.send(answer)
        await until(lambda: pump.connected)
    now_ms[0] += 11_000
    pump._nudge()
    async with asyncio.timeout(PATIENCE_S):
        await task
    assert pump.conversation.end is not None
    assert pump.conversation.end.code == ErrorCode.TIMEOUT.value


async def test_the_app_may_close_its_replica_first(one: Replica, caplog: pytest.LogCaptureFixture) -> None:
    hub = memory()
    async with serve(hub) as server, connect(one, server.url, policy=QUICK) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)
        hub.close()
        one.create(Task, title="x")
        await until(lambda: peer.last_error is not None)
        assert titles(one) == {"x"}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
