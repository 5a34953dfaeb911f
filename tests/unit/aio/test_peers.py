"""`connect`: reconnecting, resuming, leaving, cancelling, and what goes wrong. Real sockets."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from crdt_sync import Replica, connect, serve
from crdt_sync.aio.backoff import BackoffPolicy
from crdt_sync.aio.peers import Peer, finish
from crdt_sync.aio.pump import HANDSHAKE_TIMEOUT_S
from crdt_sync.aio.shell import Shell
from crdt_sync.errors import (
    InputError,
    PeerUnreachableError,
    StoreClosedError,
    StoreFullError,
    StoreReadOnlyError,
    SyncError,
    SyncTimeoutError,
)
from crdt_sync.protocol.codes import CODES, ErrorCode
from crdt_sync.protocol.source import ApplyOutcome, EntryStatus, RunPage, StatusKind
from crdt_sync.replica.accept import Batch
from crdt_sync.replica.ending import PERMANENT_CODES
from crdt_sync.replica.port import Port
from crdt_sync.transport.base import ChannelLimits
from crdt_sync.transport.memory import MemoryChannel, memory_pair
from crdt_sync.transport.websocket import listen
from tests.unit.aio.network import PATIENCE_S, QUICK, Clock, Line, Task, fill, memory, titles, until

UNUSED = "ws://127.0.0.1:9"


async def test_a_hub_that_is_not_there_is_an_error_at_once(one: Replica) -> None:
    with pytest.raises(PeerUnreachableError, match=r"127\.0\.0\.1:9 cannot be reached"):
        async with connect(one, UNUSED):
            pytest.fail("nobody listens there")


@pytest.mark.parametrize("url", ["", "nonsense", "http://127.0.0.1", "ws://", "ws://127.0.0.1:99999"])
async def test_what_is_not_a_url_is_bad_input(one: Replica, url: str) -> None:
    with pytest.raises(InputError):
        async with connect(one, url):
            pytest.fail("not a url")


async def test_a_read_only_replica_cannot_connect(tmp_path: Path, hub: Replica) -> None:
    Replica.open(tmp_path / "a.db", [Task], state_dir=tmp_path / "state").close()
    with Replica.open(tmp_path / "a.db", [Task], read_only=True) as reader:
        async with serve(hub) as server:
            with pytest.raises(StoreReadOnlyError):
                async with connect(reader, server.url):
                    pytest.fail("read-only")


async def pause(clock: Clock) -> None:
    """Wait until a peer has failed and waits for its next try."""
    await until(lambda: any(left < HANDSHAKE_TIMEOUT_S for left in clock.waiting_s))


async def test_a_lost_connection_is_dialled_again_with_growing_pauses(hub: Replica, one: Replica) -> None:
    clock, policy = Clock(), BackoffPolicy()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(AsyncExitStack())
        server = await first.enter_async_context(serve(hub, retry_after_s=0))
        line = await stack.enter_async_context(Line(server.port).open())
        peer = await stack.enter_async_context(connect(one, line.url, policy=policy, shell=clock.shell))
        await peer.caught_up(timeout_s=PATIENCE_S)
        await first.aclose()
        one.create(Task, title="written meanwhile")
        for _ in range(2):
            await pause(clock)
            clock.advance(60)
        await pause(clock)
        pauses_s = [asked for asked in clock.asked_s if asked < HANDSHAKE_TIMEOUT_S]
        assert pauses_s == pytest.approx([0.4995, 0.999, 1.998])
        assert isinstance(peer.last_error, SyncError)
        assert not peer.connected
        server = await stack.enter_async_context(serve(hub, port=server.port))
        clock.advance(60)
        await peer.caught_up(timeout_s=PATIENCE_S)
        assert titles(hub) == {"written meanwhile"}
        assert peer.failure is None


async def test_what_moved_and_was_proven_is_kept_after_a_loss(hub: Replica, one: Replica) -> None:
    clock = Clock()
    async with (
        serve(hub) as server,
        Line(server.port).open() as line,
        connect(one, line.url, shell=clock.shell) as peer,
    ):
        await peer.caught_up(timeout_s=PATIENCE_S)
        before, proven = peer.traffic, dict(peer.fingerprints)
        line.cut()
        await pause(clock)
        assert peer.traffic == before
        assert before.bytes_out > 0
        assert dict(peer.fingerprints) == proven != {}


async def test_after_a_connection_that_lasted_the_pauses_are_short_again(hub: Replica, one: Replica) -> None:
    clock, policy = Clock(), BackoffPolicy()
    async with (
        serve(hub) as server,
        Line(server.port).open() as line,
        connect(one, line.url, policy=policy, shell=clock.shell) as peer,
    ):
        for _ in range(2):
            await peer.caught_up(timeout_s=PATIENCE_S)
            clock.advance(policy.stable_after_s)
            line.cut()
            await pause(clock)
            assert clock.asked_s[-1] == pytest.approx(0.4995)
            clock.advance(1)


async def test_a_peer_that_asks_for_a_pause_is_given_it(hub: Replica, one: Replica) -> None:
    clock = Clock()
    async with serve(hub) as server, connect(one, server.url, shell=clock.shell) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)
        (pump,) = server._pumps.values()
        pump.close(ErrorCode.OVERLOADED, "too many", retry_after_s=4.0)
        await pause(clock)
        assert clock.asked_s[-1] == pytest.approx(4 + 0.999 * 4)


async def test_a_transfer_that_is_cut_goes_on_and_sends_little_twice(hub: Replica, one: Replica) -> None:
    fill(one, 300, size=8_000)
    async with serve(hub) as server, Line(server.port).open() as line:
        line.cut_after_bytes = 800_000
        async with connect(one, line.url, policy=QUICK) as peer:
            await peer.caught_up(timeout_s=PATIENCE_S)
            assert peer.reconnects >= 1
            assert line.dialled == peer.reconnects + 1
            assert line.carried_bytes < 300 * 8_000 * 1.3
    assert titles(hub) == titles(one)
    assert hub._state.totals.foreign_entries == 300
    assert one.pending_count() == 0


async def test_what_was_acknowledged_is_not_sent_again(hub: Replica, one: Replica) -> None:
    fill(one, 200, size=200)
    async with serve(hub) as server, Line(server.port).open() as line, connect(one, line.url, policy=QUICK) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)
        sent = line.carried_bytes
        line.cut()
        await until(lambda: peer.reconnects == 1 and peer.connected)
        await peer.caught_up(timeout_s=PATIENCE_S)
        assert line.carried_bytes - sent < 4_000 < sent


async def test_the_end_of_the_block_takes_leave(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server:
        async with connect(one, server.url) as peer:
            await peer.caught_up(timeout_s=PATIENCE_S)
        assert peer.last_error is not None
        assert "bye" in peer.last_error.message
        with pytest.raises(SyncError, match="was left"):
            await peer.caught_up(timeout_s=PATIENCE_S)


async def test_a_block_that_is_left_at_once_leaves_nothing(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server:
        for _ in range(3):
            async with connect(one, server.url):
                pass
        await until(lambda: server.devices == ())


async def test_a_block_that_is_left_before_the_session_began_closes_the_channel(
    one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing on the way out lets the session's task begin."""
    left, right = memory_pair()

    async def answer(*_: Any, **__: Any) -> MemoryChannel:
        return left

    monkeypatch.setattr("crdt_sync.aio.peers.kept_current", lambda _: nullcontext())
    async with connect(one, UNUSED, shell=Shell(dial=answer)):
        pass
    assert right.line.unread(right._end) == 0, "the session had begun"
    assert right.line.ended is not None


async def test_an_exception_in_the_block_comes_out_as_itself(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server:
        with pytest.raises(KeyError, match="mine"):  # noqa: PT012  # what raises is the block's end
            async with connect(one, server.url) as peer:
                await peer.caught_up(timeout_s=PATIENCE_S)
                raise KeyError("mine")
    with pytest.raises(KeyError, match="mine"):
        async with serve(hub) as server, connect(one, server.url):
            raise KeyError("mine")


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_cancelling_inside_of_the_block(hub: Replica, one: Replica, times: int) -> None:
    async with serve(hub) as server:
        inside = asyncio.Event()

        async def app() -> None:
            async with connect(one, server.url) as peer:
                await peer.caught_up()
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(app())
        await inside.wait()
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: server.devices == ())


async def test_a_timeout_around_the_block_is_a_timeout(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), connect(one, server.url):
                await asyncio.Event().wait()


async def test_leaving_while_the_hub_is_away(hub: Replica, one: Replica) -> None:
    clock = Clock()
    async with serve(hub) as server, Line(server.port).open() as line:
        async with connect(one, line.url, shell=clock.shell) as peer:
            await peer.caught_up(timeout_s=PATIENCE_S)
            line.cut()
            await pause(clock)
            waiting = asyncio.create_task(peer.caught_up())
            await asyncio.sleep(0)
        with pytest.raises(SyncError, match="was left"):
            await waiting


async def test_leaving_a_peer_that_takes_nothing_in_does_not_take_long(hub: Replica, one: Replica) -> None:
    limits = ChannelLimits(close_timeout_s=0.05)
    async with serve(hub, limits=limits) as server, Line(server.port).open() as line:
        async with connect(one, line.url, limits=limits, leave_timeout_s=0.05) as peer:
            await peer.caught_up(timeout_s=PATIENCE_S)
            line.hold()
            fill(one, 200, size=20_000)
        line.cut()


async def test_catching_up_in_vain_ends_with_what_is_in_the_way(hub: Replica, one: Replica) -> None:
    clock = Clock()
    async with (
        serve(hub) as server,
        Line(server.port).open() as line,
        connect(one, line.url, shell=clock.shell) as peer,
    ):
        line.hold()
        with pytest.raises(SyncTimeoutError, match=r"longer than 0.05 s$"):
            await peer.caught_up(timeout_s=0.05)
        line.release()
        await peer.caught_up(timeout_s=PATIENCE_S)
        line.cut()
        await until(lambda: not peer.connected)
        with pytest.raises(SyncTimeoutError, match="connection was lost"):
            await peer.caught_up(timeout_s=0.05)


async def test_what_the_peer_did_not_take_is_named_by_whoever_waits_in_vain(
    hub: Replica, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(hub) as server, connect(one, server.url) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)
        (author,) = one.port.own_authors()
        status = EntryStatus(
            partition="", author=author, sequence=1, kind=StatusKind.PARKED, code="missing_cause", reason="not yet"
        )
        monkeypatch.setattr(hub.port, "accept_runs", lambda _: Batch(outcome=ApplyOutcome(statuses=(status,))))
        one.create(Task)
        assert peer._pump is not None
        conversation = peer._pump.conversation
        await until(lambda: conversation.obstacle)
        with pytest.raises(SyncTimeoutError, match=rf"0.05 s: entry 1 of author {author} was parked \(not yet\)"):
            await peer.caught_up(timeout_s=0.05)


async def test_closing_the_own_replica_is_the_end_and_no_mistake(
    hub: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    one = memory()
    async with serve(hub) as server, connect(one, server.url, policy=QUICK) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)
        one.close()
        hub.create(Task)
        await until(lambda: peer.failure is not None)
        assert isinstance(peer.failure, StoreClosedError)
        with pytest.raises(StoreClosedError):
            await peer.caught_up(timeout_s=PATIENCE_S)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_catching_up_again_and_again_by_many_at_once(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server, connect(one, server.url) as peer:
        for number in range(20):
            one.create(Task, title=f"one {number}")
            hub.create(Task, title=f"hub {number}")
            await asyncio.gather(*(peer.caught_up(timeout_s=PATIENCE_S) for _ in range(3)))
            assert titles(one) == titles(hub)
        assert dict(peer.fingerprints) == {"": one.port.fingerprint("").hex()}


async def test_catching_up_while_the_other_side_writes_all_the_time(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server, connect(one, server.url) as peer:
        stop = asyncio.Event()

        async def write() -> None:
            while not stop.is_set():
                hub.create(Task)
                await asyncio.sleep(0.003)  # a load, not a wait for anything

        task = asyncio.create_task(write())
        try:
            await until(lambda: one.count(Task) > 5)
            await peer.caught_up(timeout_s=PATIENCE_S)
        finally:
            stop.set()
            await task


async def test_a_connection_that_ends_while_one_waits_does_not_stop_the_loop(hub: Replica, one: Replica) -> None:
    """Waiting for proof on a session that has ended must not spin."""
    async with serve(hub) as server, Line(server.port).open() as line, connect(one, line.url, policy=QUICK) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)
        for _ in range(5):
            waiting = [asyncio.create_task(peer.caught_up(timeout_s=PATIENCE_S)) for _ in range(3)]
            line.cut()
            await asyncio.gather(*waiting)


async def test_a_full_disk_is_told_to_whoever_waits_and_tried_again(
    hub: Replica, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(hub) as server, connect(one, server.url, policy=QUICK) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)

        def full(*_: Any) -> Any:
            raise StoreFullError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(one.port, "accept_runs", full)
            hub.create(Task, title="too much")
            with pytest.raises(StoreFullError):
                await peer.caught_up(timeout_s=PATIENCE_S)
        await peer.caught_up(timeout_s=PATIENCE_S)
        assert titles(one) == {"too much"}
        assert peer.failure is None


async def test_a_full_disk_is_told_before_the_next_try(
    hub: Replica, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise StoreFullError("the disk is full")

    clock = Clock()  # that nobody moves: there is no next try
    async with serve(hub) as server, connect(one, server.url, shell=clock.shell) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)
        monkeypatch.setattr(one.port, "accept_runs", full)
        hub.create(Task, title="too much")
        with pytest.raises(StoreFullError):
            await peer.caught_up(timeout_s=PATIENCE_S)


async def test_a_full_disk_at_the_hub_is_tried_again_too(
    hub: Replica, one: Replica, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(hub) as server, connect(one, server.url, policy=QUICK) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)

        def full(*_: Any) -> Any:
            raise StoreFullError("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(hub.port, "accept_runs", full)
            one.create(Task, title="too much")
            await until(lambda: peer.reconnects > 1)
            assert peer.last_error is not None
            assert "internal" in peer.last_error.message
            assert one.pending_count() == 1
        await peer.caught_up(timeout_s=PATIENCE_S)
        assert titles(hub) == {"too much"}
    assert "the disk is full" in caplog.text


async def test_a_mistake_inside_is_a_failure_and_not_an_exception_group(
    hub: Replica, one: Replica, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def mistake(*_: Any) -> Any:
        raise ZeroDivisionError

    async with serve(hub) as server, connect(one, server.url, policy=QUICK) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)
        monkeypatch.setattr(one.port, "accept_runs", mistake)
        hub.create(Task)
        with pytest.raises(SyncError, match="failed inside") as caught:
            await peer.caught_up(timeout_s=PATIENCE_S)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "ZeroDivisionError" in caplog.text


async def test_a_websocket_that_speaks_something_else_fails_for_good(one: Replica) -> None:
    async def babble(channel: Any) -> None:
        await channel.send(b"hello, who is there?")
        await channel.receive()

    async with await listen(babble) as listener, connect(one, listener.url, policy=QUICK) as peer:
        with pytest.raises(SyncError, match="does not speak crdt_sync"):
            await peer.caught_up(timeout_s=PATIENCE_S)


async def test_finishing_ends_tasks_also_when_it_is_cancelled_itself() -> None:
    never = asyncio.create_task(asyncio.Event().wait())

    async def wait() -> None:
        await never

    task = asyncio.create_task(wait())
    finishing = asyncio.create_task(finish((task,), timeout_s=PATIENCE_S))
    await asyncio.sleep(0)
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    assert task.cancelled()


def test_permanent_codes_are_those_whose_receiver_stops_in_the_table() -> None:
    stays_away = ("stops", "the same")
    assert {facts.code for facts in CODES if facts.receiver.startswith(stays_away)} == PERMANENT_CODES


def test_the_repr_is_one_status_line(one: Replica) -> None:
    assert repr(Peer(one, UNUSED, policy=QUICK)) == f"<Peer {UNUSED} waiting>"


async def test_what_failed_is_sent_again_at_once_where_a_session_is_open(hub: Replica, one: Replica) -> None:
    """The session that is open has passed it by; so another one begins."""
    async with serve(hub) as server, connect(one, server.url, policy=QUICK) as peer:
        await peer.caught_up(timeout_s=PATIENCE_S)
        with patch.object(Port, "runs_after", return_value=RunPage(runs=(), cursor=0, more=False)) as looked:
            one.create(Task, title="refused")
            await until(lambda: looked.called)
        assert hub.device_id is not None
        (name,) = one.port.vector()[""]
        status = EntryStatus(
            partition="", author=name, sequence=1, kind=StatusKind.REFUSED, code="screening", reason="no"
        )
        one.port.acknowledged(hub.device_id, {}, [status])
        assert one.operation_count(status="failed") == 1
        assert one.retry(one.last_operation()) == 1
        await until(lambda: titles(hub) == {"refused"})
        await until(lambda: one.pending_count() == one.operation_count(status="failed") == 0)
        assert peer.reconnects == 1


async def test_a_hub_that_was_set_up_anew_at_its_address_holds_nothing_until_it_says_so(
    hub: Replica, one: Replica
) -> None:
    one.create(Task, title="mine")
    async with serve(hub) as server:
        port = server.port
        async with connect(one, server.url) as peer:
            await peer.caught_up(timeout_s=PATIENCE_S)
    assert one.pending_count() == 0
    with memory() as new:
        async with serve(new, port=port) as server, connect(one, server.url) as peer:
            await peer.caught_up(timeout_s=PATIENCE_S)
        assert titles(new) == {"mine"}
        assert [(item.result, item.peer) for item in one.sync_log()] == [
            ("success", hub.device_id),
            ("failure", hub.device_id),
            ("success", new.device_id),
        ]
        assert one.pending_count() == 0
