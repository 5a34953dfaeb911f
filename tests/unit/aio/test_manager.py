"""SyncManager: operations from data, rounds with many peers, and bad input. Real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crdt_sync import Replica, SyncManager, connect, serve
from crdt_sync.errors import (
    CRDTSyncError,
    InputError,
    InvalidValueError,
    LocalProtocolError,
    RecordNotFoundError,
    ScreeningError,
    StoreFullError,
    TransactionError,
    UnknownFieldError,
)
from crdt_sync.replica import accept
from crdt_sync.replica.operations import OperationStatus
from tests.unit.aio.network import PATIENCE_S, QUICK, Clock, Task, fill, titles, until

UNUSED = "ws://127.0.0.1:9"


async def test_operations_from_data_reach_the_peer(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server, SyncManager(one, [server.url]) as sync:
        made = sync.queue_operation("create", Task, {"title": "a"})
        assert made.status is OperationStatus.PENDING
        changed = sync.queue_operation("update", Task, {"id": made.record_id, "title": "b"})
        report = await sync.sync(timeout_s=PATIENCE_S)
        assert (report.completed, report.proven_equal, dict(report.errors)) == (2, True, {})
        assert report.url == server.url
        assert report.traffic.bytes_out > 0
        assert dict(report.fingerprints) == {"": hub.port.fingerprint("").hex()}
        assert titles(hub) == {"b"}
        gone = sync.queue_operation("delete", Task, {"id": made.record_id})
        done = await sync.execute_operation(gone, timeout_s=PATIENCE_S)
        assert (done.id, done.status) == (gone.id, OperationStatus.COMPLETED)
        assert titles(hub) == set()
        assert (await sync.execute_operation(changed)).status is OperationStatus.COMPLETED
        assert repr(sync) == "<SyncManager 1 of 1 peers, 0 pending>"


async def test_a_round_counts_what_became_completed(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server, SyncManager(one, [server.url]) as sync:
        await sync.sync(timeout_s=PATIENCE_S)
        fill(one, 3, size=10)
        round_ = asyncio.create_task(sync.sync(timeout_s=PATIENCE_S))
        await asyncio.sleep(0)
        fill(one, 5, size=10)  # meanwhile
        report = await round_
        assert report.completed == one.operation_count(status="completed") > 0
    assert one.port.completed == one.operation_count(status="completed")


async def test_what_failed_is_not_counted_as_completed(
    hub: Replica, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept, "_screen_entry", lambda *_, **__: (_ for _ in ()).throw(ScreeningError("no")))
    async with serve(hub) as server, SyncManager(one, [server.url], policy=QUICK) as sync:
        operation = sync.queue_operation("create", Task, {"title": "a"})
        report = await sync.sync(timeout_s=1)
        assert (one.operation(operation.id).status, report.completed) == (OperationStatus.FAILED, 0)


async def test_an_operation_with_a_result_waits_for_no_peer_that_is_away(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server, SyncManager(one, [UNUSED, server.url], policy=QUICK) as sync:
        operation = sync.queue_operation("create", Task, {"title": "a"})
        async with asyncio.timeout(PATIENCE_S):
            done = await sync.execute_operation(operation, timeout_s=1e6)
        assert done.status is OperationStatus.COMPLETED


async def test_an_operation_of_another_replica_is_not_executed(hub: Replica, one: Replica) -> None:
    hub.create(Task, title="a")
    one.create(Task, title="b")
    async with SyncManager(one, []) as sync:
        with pytest.raises(InputError, match="operation 1 is another one here"):
            await sync.execute_operation(hub.last_operation())


async def test_the_peers_of_a_manager_are_home_and_visitors_are_not(hub: Replica, one: Replica, two: Replica) -> None:
    async with serve(hub) as server:
        url = server.url
        async with SyncManager(one, [url], policy=QUICK) as sync:
            await sync.sync(timeout_s=PATIENCE_S)
    assert [(peer.address, peer.device_id) for peer in one.home_peers()] == [(url, hub.device_id)]
    async with SyncManager(one, [url], policy=QUICK) as sync, serve(one) as server:
        operation = sync.queue_operation("create", Task, {"title": "a"})
        async with connect(two, server.url) as peer:
            await peer.caught_up(timeout_s=PATIENCE_S)
        assert titles(two) == {"a"}
        assert one.operation(operation.id).status is OperationStatus.PENDING, "the hub has not got it"
        assert two.device_id in one.durability(operation)
    async with SyncManager(one, []):
        assert one.home_peers() == ()
        assert one.operation(operation.id).status is OperationStatus.COMPLETED, "now every peer is home"


async def test_a_round_reports_its_own_traffic(hub: Replica, one: Replica) -> None:
    fill(one, 20, size=2_000)
    async with serve(hub) as server, SyncManager(one, [server.url]) as sync:
        first = await sync.sync(timeout_s=PATIENCE_S)
        again = await sync.sync(timeout_s=PATIENCE_S)
    assert first.traffic.bytes_out > 20_000
    assert 0 < again.traffic.bytes_out < 1_000


async def test_leave_is_taken_at_the_end_of_the_block(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server:
        async with SyncManager(one, [server.url]) as sync:
            await sync.sync(timeout_s=PATIENCE_S)
            (pump,) = server._pumps.values()
        await pump.over()
        assert pump.conversation.end is not None
        assert pump.conversation.end.code == "bye"


@pytest.mark.parametrize(
    ("kind", "data", "error"),
    [
        ("destroy", {}, InputError),
        ("", {}, InputError),
        ("create", None, InputError),
        ("create", [("title", "a")], InputError),
        ("create", {1: "a"}, InputError),
        ("create", {"colour": "red"}, UnknownFieldError),
        ("create", {"title": 5}, InvalidValueError),
        ("update", {"title": "a"}, InputError),
        ("update", {"id": 5, "title": "a"}, InputError),
        ("update", {"id": "00000000-0000-7000-8000-000000000000", "title": "a"}, RecordNotFoundError),
        ("update", {"id": "nonsense", "title": "a"}, CRDTSyncError),
        ("update", {"id": "the record"}, InputError),
        ("update", {"id": "the record", "tags": {"a"}}, InputError),
        ("update", {"id": "the record", "colour": "red"}, UnknownFieldError),
        ("delete", {}, InputError),
        ("delete", {"id": "the record", "title": "a"}, InputError),
    ],
)
async def test_bad_input_is_a_typed_error_and_changes_nothing(
    one: Replica, kind: str, data: Any, error: type[Exception]
) -> None:
    record = one.create(Task, title="a", tags=["a"])
    sync = SyncManager(one, [UNUSED])
    if isinstance(data, dict) and data.get("id") == "the record":
        data = {**data, "id": record.id}
    with pytest.raises(error):
        sync.queue_operation(kind, Task, data)
    assert len(list(one.operations())) == 1
    assert titles(one) == {"a"}


async def test_an_operation_amid_a_transaction_is_refused(one: Replica) -> None:
    sync = SyncManager(one, [UNUSED])
    with one.transaction(), pytest.raises(TransactionError):
        sync.queue_operation("create", Task, {"title": "a"})
    assert titles(one) == set()


@pytest.mark.parametrize("peers", [UNUSED, ["nonsense"], ["http://127.0.0.1"]])
def test_peers_that_are_no_urls_are_bad_input(one: Replica, peers: Any) -> None:
    with pytest.raises(InputError):
        SyncManager(one, peers)


async def test_it_works_inside_of_its_block_only_and_once(one: Replica) -> None:
    sync = SyncManager(one, [])
    operation = sync.queue_operation("create", Task, {"title": "a"})
    with pytest.raises(LocalProtocolError, match="not running"):
        await sync.sync()
    async with sync:
        assert not (await sync.sync()).proven_equal
    with pytest.raises(LocalProtocolError, match="not running"):
        await sync.execute_operation(operation)
    with pytest.raises(LocalProtocolError, match="once"):
        async with sync:
            pytest.fail("a second time")


async def test_a_round_names_the_peers_that_are_away_and_syncs_with_the_others(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server, SyncManager(one, [server.url, UNUSED, server.url], policy=QUICK) as sync:
        assert len(sync.peers) == 2
        one.create(Task, title="a")
        await until(lambda: sync.peers[1].last_error is not None)
        report = await sync.sync(timeout_s=3)
        assert not report.proven_equal
        assert list(report.errors) == [UNUSED]
        assert "cannot be reached" in report.errors[UNUSED]
        assert titles(hub) == {"a"}
        assert report.completed == 1


async def test_an_operation_stays_pending_while_nobody_is_there(one: Replica) -> None:
    async with SyncManager(one, [UNUSED], policy=QUICK) as sync:
        operation = sync.queue_operation("create", Task, {"title": "a"})
        assert (await sync.execute_operation(operation, timeout_s=0.05)).status is OperationStatus.PENDING


async def test_it_syncs_in_the_background_once_the_peer_comes_up(hub: Replica, one: Replica) -> None:
    clock = Clock()
    async with serve(hub) as server:
        port = server.port
    url = f"ws://127.0.0.1:{port}"
    async with SyncManager(one, [url], shell=clock.shell) as sync:
        sync.queue_operation("create", Task, {"title": "a"})
        await until(lambda: clock.asked_s)
        async with serve(hub, port=port):
            clock.advance(60)
            await until(lambda: one.pending_count() == 0)
            assert titles(hub) == {"a"}


async def test_many_peers(hub: Replica, one: Replica, two: Replica) -> None:
    two.create(Task, title="two")
    hub.create(Task, title="hub")
    one.create(Task, title="one")
    async with serve(hub) as first, serve(two) as second, SyncManager(one, [first.url, second.url]) as sync:
        report = await sync.sync(timeout_s=PATIENCE_S)
        assert report.proven_equal
        await until(lambda: titles(hub) == titles(one) == titles(two) == {"one", "two", "hub"})


async def test_the_own_store_failing_fails_the_round(
    hub: Replica, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise StoreFullError("the disk is full")

    async with serve(hub) as server, SyncManager(one, [server.url, UNUSED], policy=QUICK) as sync:
        await until(lambda: sync.peers[0].connected)
        monkeypatch.setattr(one.port, "accept_runs", full)
        hub.create(Task)
        with pytest.raises(StoreFullError):
            await sync.sync(timeout_s=0.3)


async def test_an_exception_in_the_block_comes_out_as_itself(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server:
        with pytest.raises(KeyError, match="mine"):  # noqa: PT012  # what raises is the block's end
            async with SyncManager(one, [server.url, UNUSED]) as sync:
                await until(lambda: sync.peers[0].connected)
                raise KeyError("mine")


async def test_cancelling_inside_of_the_block(hub: Replica, one: Replica) -> None:
    async with serve(hub) as server:
        inside = asyncio.Event()

        async def app() -> None:
            async with SyncManager(one, [server.url, UNUSED]):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(app())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
