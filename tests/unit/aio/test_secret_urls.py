"""What is secret in a peer's address is in no log, in no name and not in the store."""

from __future__ import annotations

import asyncio
import logging

import pytest

from crdt_sync import Replica, SyncManager, connect, serve
from crdt_sync.core.logs import shown_url
from crdt_sync.errors import SyncError
from crdt_sync.storage.base import Table
from tests.unit.aio.network import PATIENCE_S, QUICK, until
from tests.unit.replica.devices import store_of

CANARIES = ("canary-user", "canary-password", "canary-token")


async def test_an_address_leaves_its_secrets_nowhere(
    hub: Replica, one: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(1, logger="crdt_sync")
    said = list[str]()
    async with serve(hub) as server:
        url = server.url.replace("ws://", "ws://canary-user:canary-password@") + "/?token=canary-token"
        async with connect(one, url, policy=QUICK) as peer:
            await peer.caught_up(timeout_s=PATIENCE_S)
            said += [repr(peer), *(task.get_name() for task in asyncio.all_tasks())]
        async with SyncManager(one, [url], policy=QUICK) as manager:
            said.append(repr(await manager.sync(timeout_s=PATIENCE_S)))
        with pytest.raises(SyncError) as left:
            await peer.caught_up(timeout_s=PATIENCE_S)
        said.append(str(left.value))
    async with SyncManager(one, [url], policy=QUICK) as manager:
        await until(lambda: manager.peers[0].last_error is not None and "tried again" in caplog.text)
        report = await manager.sync(timeout_s=0.2)
        assert list(report.errors) == [shown_url(url)]
        said += [
            repr(report),
            repr(manager),
            str(manager.peers[0].last_error),
            *(task.get_name() for task in asyncio.all_tasks()),
        ]
    kept = [repr(row) for table in Table for row in store_of(one).scan(table)]
    records = [repr(vars(record)) + record.getMessage() for record in caplog.records]
    assert any(server.url in row for row in kept), "the address itself is kept"
    assert logging.getLogger("crdt_sync").isEnabledFor(1)
    for text in (*said, *kept, *records):
        assert not [word for word in CANARIES if word in text], text
