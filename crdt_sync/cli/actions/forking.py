"""The action that tells of forks that stay apart."""

from __future__ import annotations

from crdt_sync.cli.actions.base import Action, Json, device_json
from crdt_sync.cli.actions.conflicts import device_time
from crdt_sync.cli.actions.journal import NoParams
from crdt_sync.core.clock import COUNTER_BITS
from crdt_sync.replica import Fork, Replica


def forks(replica: Replica, params: NoParams) -> Json:
    """Whose branches stay apart, since when, where the others are, and which records that affects."""
    del params
    return {"forks": [_fork_json(replica, fork) for fork in replica.forks()]}


def _fork_json(replica: Replica, fork: Fork) -> Json:
    names = replica.device_names
    return {
        **device_json(names, fork.device_id or ""),
        "author": fork.author,
        "is_own": fork.is_own,
        "first_seen": device_time(fork.first_seen_ms << COUNTER_BITS)["time"],
        "last_seen": device_time(fork.last_seen_ms << COUNTER_BITS)["time"],
        "shared": fork.shared,
        "differs_at": fork.differs_at,
        "devices": [device_json(names, item) for item in fork.devices],
        "kept": fork.kept,
        "records": [
            {"model": item.model, "id": item.record_id, "here": item.here, "kept": item.kept}
            for item in replica.forked_records(fork)
        ],
    }


FORKS = Action(name="forks", params=NoParams, work=forks, writes=False)
