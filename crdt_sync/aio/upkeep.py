"""Keeps the tables of a replica current for other readers of its file, while an event loop runs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crdt_sync.errors import StoreClosedError
from crdt_sync.replica.facade import Replica

UPKEEP_INTERVAL_S = 1.0


async def keep_current(replica: Replica) -> None:
    """Bring the tables up to date once a second, until cancelled or the replica is closed."""
    while True:
        await asyncio.sleep(UPKEEP_INTERVAL_S)
        try:
            replica.bring_up_to_date()
        except StoreClosedError:
            return  # the tables were brought up to date when it was closed


@asynccontextmanager
async def kept_current(replica: Replica) -> AsyncIterator[None]:
    """Keep the tables current until the block is left."""
    task = asyncio.create_task(keep_current(replica), name="crdt_sync upkeep")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
