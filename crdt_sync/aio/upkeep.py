"""Keeps the tables of a replica current for other readers of its file, and its log short, while an event loop runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crdt_sync.core.logs import told
from crdt_sync.errors import CRDTSyncError, StoreClosedError
from crdt_sync.replica.facade import Replica

UPKEEP_INTERVAL_S = 1.0
COMPACTION_INTERVAL_S = 0.1
"""Between two steps of a compaction that is under way: sessions go first."""

log = logging.getLogger("crdt_sync.sync")


async def keep_current(replica: Replica) -> None:
    """Bring the tables up to date once a second, and compact a little, until cancelled or the replica is closed."""
    is_compacting = False
    while True:
        await asyncio.sleep(COMPACTION_INTERVAL_S if is_compacting else UPKEEP_INTERVAL_S)
        try:
            replica.bring_up_to_date()
            is_compacting = _compact(replica)
        except StoreClosedError:
            return  # the tables were brought up to date when it was closed


def _compact(replica: Replica) -> bool:
    """Compact a little; whether there is more to do soon. What fails is tried again at the next turn."""
    try:
        return replica.compact_some()
    except StoreClosedError:
        raise
    except CRDTSyncError as error:
        told(log, logging.WARNING, "compaction failed", reason=error.message)
        return False


@asynccontextmanager
async def kept_current(replica: Replica) -> AsyncIterator[None]:
    """Keep the tables current until the block is left."""
    task = asyncio.create_task(keep_current(replica), name="crdt_sync upkeep")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
