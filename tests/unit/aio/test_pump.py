"""The pump: order of persist, acknowledge, publish; local transactions; cuts, failures and time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest

from crdt_sync import Change, Replica
from crdt_sync.aio.pump import HANDSHAKE_TIMEOUT_S, LIVE_PAUSE_S
from crdt_sync.errors import ChannelClosed, StoreFullError
from crdt_sync.protocol.codes import ErrorCode
from crdt_sync.transport.memory import Fate, Frame, memory_pair
from tests.unit.aio.network import PATIENCE_S, Clock, Noted, Task, fill, memory, pump_of, pumping, titles, until


async def test_what_comes_in_is_durable_then_acknowledged_then_published(
    one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    accept = two.port.accept_runs

    def accept_and_note(runs: Any) -> Any:
        batch = accept(runs)
        log.append("persisted")
        return batch

    monkeypatch.setattr(two.port, "accept_runs", accept_and_note)
    two.observe(lambda change: log.append("published"))
    left, right = memory_pair()
    async with pumping((one, left), (two, Noted(right, log))) as (pump, _):
        assert await pump.proven()
        log.clear()
        one.create(Task, title="new")
        await until(lambda: "published" in log)
    assert log[:3] == ["persisted", "sent", "published"]


async def test_observers_hear_of_what_came_before_a_cut_though_it_was_not_acknowledged(
    one: Replica, two: Replica
) -> None:
    cut = False

    def fates(frame: Frame) -> Fate:
        return Fate.CUT if cut and frame.sender.value == "listener" else Fate.DELIVER

    left, right = memory_pair(fates=fates)
    seen: list[Change] = []
    woken: list[str] = []
    two.observe(seen.append)
    async with pumping((one, left), (two, right)) as (pump, other):
        assert await pump.proven()
        cut = True
        with two.port.on_commit(lambda: woken.append("relay")):
            one.create(Task, title="durable")
            await other.over()
    assert titles(two) == {"durable"}
    assert [change.origin for change in seen] == ["remote"]
    assert woken
    assert one.pending_count() == 1


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_a_transaction_held_across_an_await_delays_and_loses_nothing(
    one: Replica, two: Replica, ending: str
) -> None:
    left, right = memory_pair()
    async with pumping((one, left), (two, right)) as (pump, _):
        assert await pump.proven()
        try:
            with two.transaction():
                two.create(Task, title="mine")
                one.create(Task, title="yours")
                await until(lambda: right.line.unread(right._end) == 0 and pump.conversation.session is not None)
                for _ in range(50):
                    await asyncio.sleep(0)
                assert titles(two) <= {"mine"}
                if ending == "rollback":
                    raise KeyError
        except KeyError:
            assert ending == "rollback"
        async with asyncio.timeout(PATIENCE_S):
            assert await pump.proven()
    expected = {"yours"} | ({"mine"} if ending == "commit" else set())
    assert titles(one) == titles(two) == expected


async def test_a_rollback_lets_go_on_what_waited_for_it(
    one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else does: the next tick is an hour away."""
    monkeypatch.setattr("crdt_sync.replica.conversation.TICK_S", 3600.0)
    left, right = memory_pair()
    async with pumping((one, left), (two, right)) as (pump, _):
        assert await pump.proven()
        sent = pump.conversation.traffic.messages_out
        with contextlib.suppress(KeyError), two.transaction():
            two.create(Task, title="mine")
            one.create(Task, title="yours")
            await until(lambda: pump.conversation.traffic.messages_out > sent and not right.line.unread(right._end))
            raise KeyError
        await until(lambda: titles(two) == {"yours"})


async def test_a_transaction_that_opens_while_a_message_goes_out_is_waited_for(one: Replica, two: Replica) -> None:
    left, right = memory_pair()
    sending, sent = asyncio.Event(), asyncio.Event()
    send = right.send

    async def send_amid_a_transaction(data: bytes) -> None:
        sending.set()
        await until(lambda: two._records.in_transaction)
        await send(data)
        sent.set()

    async with pumping((one, left), (two, right)) as (pump, other):
        assert await pump.proven()
        right.send = send_amid_a_transaction  # type: ignore[method-assign]  # the test takes a method's place
        one.create(Task, title="yours")
        await sending.wait()
        with two.transaction():
            two.create(Task, title="mine")
            await sent.wait()
            right.send = send  # type: ignore[method-assign]  # the test takes a method's place
            for _ in range(5):
                await asyncio.sleep(0)  # the writer goes on, if it does not wait
            assert not other.failed
        assert await pump.proven()
    assert titles(one) == titles(two) == {"mine", "yours"}


async def test_a_goodbye_does_not_wait_for_the_end_of_a_transaction(one: Replica, two: Replica) -> None:
    left, right = memory_pair()
    async with pumping((one, left), (two, right)) as (pump, other):
        assert await pump.proven()
        with two.transaction():
            other.close(ErrorCode.SHUTDOWN, "going down")
            async with asyncio.timeout(PATIENCE_S):
                await pump.over()
        assert pump.conversation.end is not None
        assert pump.conversation.end.code == "shutdown"


async def test_a_session_that_ends_amid_a_transaction_tells_observers_after_it(one: Replica, two: Replica) -> None:
    left, right = memory_pair()
    wakers = len(two._observers._wakers)
    seen: list[str] = []
    two.observe(lambda change: seen.append("amid" if two._records.in_transaction else "after"))
    answering = asyncio.Event()
    async with pumping((one, left), (two, right)) as (pump, other):
        assert await pump.proven()
        send = other._channel.send

        async def send_amid_a_transaction(data: bytes) -> None:
            answering.set()
            await until(lambda: two._records.in_transaction)
            await send(data)

        other._channel.send = send_amid_a_transaction  # type: ignore[method-assign]  # the test takes a method's place
        one.create(Task, title="news")
        await answering.wait()
        with two.transaction():
            right.line.cut()
            await other.over()
            assert seen == []
        assert seen == ["after"]
        assert len(two._observers._wakers) == wakers, "it listens to commits though nothing is left to tell"


async def test_observers_that_raise_do_not_end_the_session(
    one: Replica, two: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Change] = []

    def fail(change: Change) -> None:
        raise RuntimeError("observer")

    two.observe(fail)
    two.observe(seen.append)
    left, right = memory_pair()
    async with pumping((one, left), (two, right)) as (pump, _):
        one.create(Task, title="a")
        assert await pump.proven()
        one.create(Task, title="b")
        assert await pump.proven()
        await until(lambda: len(seen) == 2)
    assert "an observer failed" in caplog.text


async def test_an_observer_that_writes_is_synced(one: Replica, two: Replica) -> None:
    def answer(change: Change) -> None:
        if change.origin == "remote" and two.count(Task, title="answer") == 0:
            two.create(Task, title="answer")

    two.observe(answer)
    left, right = memory_pair()
    async with pumping((one, left), (two, right)) as (pump, _):
        one.create(Task, title="question")
        await until(lambda: titles(one) == {"question", "answer"})
        assert await pump.proven()


async def test_rapid_edits_are_sent_together(one: Replica, two: Replica) -> None:
    loop = asyncio.get_running_loop()
    left, right = memory_pair()
    async with pumping((one, left), (two, right)) as (pump, _):
        assert await pump.proven()
        before, began_s = pump.conversation.traffic.messages_out, loop.time()
        for number in range(300):
            one.create(Task, title=str(number))
            await asyncio.sleep(0)
        await until(lambda: two.count(Task) == 300)
        pauses = (loop.time() - began_s) / LIVE_PAUSE_S  # a slow machine has time for more
        assert pump.conversation.traffic.messages_out - before <= pauses + 5


async def test_an_edit_on_an_idle_line_is_sent_at_once(one: Replica, two: Replica) -> None:
    loop = asyncio.get_running_loop()
    left, right = memory_pair()
    async with pumping((one, left), (two, right)) as (pump, _):
        assert await pump.proven()
        await until(lambda: pump._timer is None and pump._commits_told_s + 2 * LIVE_PAUSE_S < loop.time())
        one.create(Task, title="now")
        assert pump._timer is None
        await until(lambda: two.count(Task) == 1)


async def test_whoever_waits_for_proof_does_not_wait_for_more_edits(
    one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crdt_sync.aio.pump.LIVE_PAUSE_S", 3600.0)
    left, right = memory_pair()
    async with pumping((one, left), (two, right)) as (pump, _):
        assert await pump.proven()
        pump._commits_told_s = asyncio.get_running_loop().time()
        one.create(Task, title="within the pause")
        pause = pump._timer
        assert pause is not None
        proving = asyncio.create_task(pump.proven())
        await asyncio.sleep(0)  # lets the task begin
        assert pause.cancelled()
        assert await proving
    assert titles(two) == {"within the pause"}


async def test_a_full_disk_ends_the_session_and_acknowledges_nothing(
    one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = memory_pair()
    pumps = pump_of(one, left), pump_of(two, right, initiator=False)
    tasks = [asyncio.create_task(pump.run()) for pump in pumps]
    async with asyncio.timeout(PATIENCE_S):
        await until(lambda: pumps[0].conversation.peer is not None)
        assert await pumps[0].proven()

        def full(*_: Any) -> None:
            raise StoreFullError("the disk is full")

        put, store = two._state.store.put, two._state.store
        monkeypatch.setattr(store, "put", full)
        monkeypatch.setattr(store, "put_many", full)
        one.create(Task, title="too much")
        results = await asyncio.gather(*tasks, return_exceptions=True)
        monkeypatch.setattr(store, "put", put)
    assert results[0] is None
    assert isinstance(results[1], StoreFullError)
    end = pumps[0].conversation.end
    assert end is not None
    assert (end.code, end.by_peer, end.permanent) == ("internal", True, False)
    assert one.pending_count() == 1
    assert titles(two) == set()


@pytest.mark.parametrize("error", [ValueError("a bug"), StoreFullError("full")])
async def test_a_failure_while_sending_is_told_and_raised_as_itself(
    one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    left, right = memory_pair()
    pumps = pump_of(one, left), pump_of(two, right, initiator=False)
    tasks = [asyncio.create_task(pump.run()) for pump in pumps]
    await until(lambda: pumps[1].connected)

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(two.port, "runs_after", fail)
    two.create(Task, title="x")
    async with asyncio.timeout(PATIENCE_S):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results == [None, error]
    end = pumps[0].conversation.end
    assert end is not None
    assert end.code == "internal"


async def test_a_peer_that_never_finishes_the_handshake_is_let_go(one: Replica) -> None:
    clock = Clock()
    left, right = memory_pair()
    pump = pump_of(one, left, shell=clock.shell)
    task = asyncio.create_task(pump.run())
    await until(lambda: clock.asked_s == [HANDSHAKE_TIMEOUT_S])
    clock.advance(HANDSHAKE_TIMEOUT_S)
    await task
    assert pump.conversation.end is not None
    assert pump.conversation.end.code == "timeout"
    assert right.line.ended is not None


async def test_the_end_that_a_peer_announced_is_read_though_sending_fails(one: Replica, two: Replica) -> None:
    left, right = memory_pair()
    async with pumping((one, left), (two, right)) as (pump, other):
        assert await pump.proven()
        other.close(ErrorCode.REPLACED, "newer")
        for _ in range(100):  # so that this side is always about to send
            one.create(Task)
            if pump.finished:
                break
            await asyncio.sleep(0)
        await pump.over()
        assert pump.conversation.end is not None
        assert pump.conversation.end.code == "replaced"


async def test_a_writer_that_fails_leaves_the_reader_time_to_find_out_why(one: Replica, two: Replica) -> None:
    left, right = memory_pair()
    reading, failed = asyncio.Event(), asyncio.Event()
    reading.set()
    receive, send = left.receive, left.send

    async def receive_when_told() -> bytes:
        await reading.wait()
        return await receive()

    async def send_and_note(data: bytes) -> None:
        try:
            await send(data)
        except ChannelClosed:
            failed.set()
            raise

    async with pumping((one, left), (two, right)) as (pump, other):
        assert await pump.proven()
        left.receive, left.send = receive_when_told, send_and_note  # type: ignore[method-assign]  # the test takes a method's place
        reading.clear()
        two.create(Task)  # the read that is under way takes this, the next one waits
        await until(lambda: one.count(Task) == 1)
        other.close(ErrorCode.REPLACED, "newer")
        await until(lambda: right.line.ended is not None)
        one.create(Task)
        await failed.wait()
        reading.set()
        await pump.over()
        assert pump.conversation.end is not None
        assert pump.conversation.end.code == "replaced"


async def test_a_closed_replica_ends_its_session_quietly(two: Replica) -> None:
    one = memory()
    left, right = memory_pair()
    pumps = pump_of(one, left), pump_of(two, right, initiator=False)
    tasks = [asyncio.create_task(pump.run()) for pump in pumps]
    await until(lambda: pumps[1].connected)
    one.close()
    two.create(Task, title="x")
    async with asyncio.timeout(PATIENCE_S):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["StoreClosedError", "NoneType"]


async def test_cancelling_closes_the_channel(one: Replica) -> None:
    left, right = memory_pair()
    task = asyncio.create_task(pump_of(one, left).run())
    await until(lambda: right.line.unread(right._end))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert right.line.ended is not None


async def test_a_long_transfer_holds_no_more_than_its_window(one: Replica, two: Replica) -> None:
    fill(one, 600, size=20_000)
    left, right = memory_pair()
    waiting: list[int] = []
    async with pumping((one, left), (two, right)) as (pump, _):
        line = left.line
        line.observe(lambda: waiting.append(line.unread(right._end)))
        await until(lambda: pump.connected)
        assert await pump.proven()
    assert max(waiting) <= line.limits.queue_messages_max
    assert two.count(Task) == 600


async def test_nothing_of_records_is_logged(one: Replica, two: Replica, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    left, right = memory_pair()
    async with pumping((one, left), (two, right)) as (pump, _):
        one.create(Task, title="very secret")
        await until(lambda: pump.connected)
        assert await pump.proven()
    assert "secret" not in caplog.text
