"""A change that a peer dies of, over real sockets: found by the connection itself, while everything else goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crdt_sync import Replica, SyncManager, connect, serve
from crdt_sync.core.entry import decode_run
from crdt_sync.errors import EntryError, SyncError
from crdt_sync.replica.accept import Batch
from crdt_sync.replica.port import Port
from tests.unit.aio.network import PATIENCE_S, QUICK, Task, titles, until


def malformed() -> None:
    raise EntryError("it cannot be")


def broken() -> None:
    raise RuntimeError("a mistake in the peer")


@pytest.mark.parametrize("die", [malformed, broken])
async def test_a_change_at_which_a_peer_closes_is_set_aside_and_the_rest_goes_on(
    hub: Replica, one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch, die: Callable[[], None]
) -> None:
    accept = Port.accept_runs
    (author,) = one.port.own_authors()

    def taking(port: Port, runs: list[bytes]) -> Batch:
        if port is hub.port and any(run.author == author for run in map(decode_run, runs)):
            die()
        return accept(port, runs)

    monkeypatch.setattr(Port, "accept_runs", taking)
    async with (
        serve(hub) as server,
        connect(two, server.url, policy=QUICK) as other,
        connect(one, server.url, policy=QUICK) as peer,
    ):
        one.create(Task, title="poison")
        two.create(Task, title="of another device")
        await until(lambda: one.operation_count(status="failed") == 1)
        await until(lambda: titles(one) == {"poison", "of another device"})
        assert peer.failure is None
        assert one.operation("1").attempts == 5
        assert [item.device_id for item in one.set_aside()] == [hub.device_id]
        await other.caught_up(timeout_s=PATIENCE_S)
        monkeypatch.setattr(Port, "accept_runs", accept)
        assert one.retry() == 1
        await peer.caught_up(timeout_s=PATIENCE_S)
        assert titles(hub) == {"poison", "of another device"}


async def test_a_round_says_that_all_else_went_through_and_what_is_set_aside(
    hub: Replica, one: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = Port.accept_runs

    def taking(port: Port, runs: list[bytes]) -> Batch:
        if port is hub.port and any(b"poison" in run for run in runs):
            raise EntryError("it cannot be")
        return accept(port, runs)

    monkeypatch.setattr(Port, "accept_runs", taking)
    for title in ("before", "poison", "after"):
        one.create(Task, title=title)
    async with serve(hub) as server, SyncManager(one, [server.url], policy=QUICK) as manager:
        await until(lambda: one.operation_count(status="failed") == 1)
        later = manager.queue_operation("create", Task, {"title": "later"})
        report = await manager.sync(timeout_s=PATIENCE_S)
        assert report.errors == {}
        assert not report.proven_equal
        assert list(report.set_aside) == [server.url]
        assert report.set_aside[server.url].startswith("operation 2 is set aside (the peer ended the session")
        assert one.operation(later.id).status == "completed"
        assert titles(hub) == {"before", "after", "later"}
        with pytest.raises(SyncError, match="all else went through: operation 2 is set aside"):
            await manager.peers[0].caught_up(timeout_s=PATIENCE_S)
