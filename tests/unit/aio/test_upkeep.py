"""The tables stay current for other readers while an event loop runs the replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from crdt_sync import Replica, SyncManager, connect, serve
from crdt_sync.aio import upkeep
from crdt_sync.storage.base import Table
from tests.unit.aio.network import Task


@asynccontextmanager
async def running(name: str, replica: Replica, other: Replica) -> AsyncIterator[None]:
    """A replica that serves, is connected, or looks for a peer that is not there."""
    if name == "serve":
        async with serve(replica):
            yield
    elif name == "connect":
        async with serve(other) as server, connect(replica, server.url):
            yield
    else:
        async with SyncManager(replica, ["ws://127.0.0.1:1"]):
            yield


def marks(replica: Replica) -> int:
    return replica._state.store.count(Table.DIRTY)


@pytest.mark.parametrize("name", ["serve", "connect", "manager"])
async def test_a_large_text_is_in_the_table_soon_without_any_call(
    name: str, one: Replica, two: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "UPKEEP_INTERVAL_S", 0.05)
    monkeypatch.setattr("crdt_sync.replica.upkeep.TEXT_DERIVE_INTERVAL_MS", 50)
    async with running(name, one, two):
        task = one.create(Task, notes="x" * 40_000)
        one.find(Task, notes__contains="x")
        with one.transaction():
            task.notes.insert(0, "new")
            await asyncio.sleep(0.1)
        assert marks(one) == 1
        async with asyncio.timeout(5):
            while marks(one):  # noqa: ASYNC110  (a table rings no bell)
                await asyncio.sleep(0.01)


async def test_closing_the_replica_ends_it_quietly(one: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "UPKEEP_INTERVAL_S", 0.01)
    async with asyncio.timeout(5):
        task = asyncio.create_task(upkeep.keep_current(one))
        await asyncio.sleep(0.03)
        one.close()
        await task
