"""Actions that keep a store small."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import asdict, dataclass

from crdt_sync.cli.actions.base import Action, Json
from crdt_sync.replica import Replica

watcher: ContextVar[Callable[[int, int], None] | None] = ContextVar("watcher", default=None)
"""Told of (rows done, rows in total), where the work is done in this process."""

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactParams:
    """What to compact.

    Args:
        retention_days: devices that told nothing for so long are not waited for; None waits for all.
        dry_run: only say what would be done.
    """

    retention_days: float | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetParams:
    """Args: device_id: which device is not waited for any more."""

    device_id: str


def _compact(replica: Replica, params: CompactParams) -> Json:
    retention_s = None if params.retention_days is None else params.retention_days * DAY_S
    names = {"device_names": dict(sorted(replica.device_names.items()))}
    if params.dry_run:
        return {"dry_run": True, **asdict(replica.compaction_outlook(retention_s=retention_s)), **names}
    return {"dry_run": False, **asdict(replica.compact(retention_s=retention_s, progress=watcher.get())), **names}


def _forget(replica: Replica, params: ForgetParams) -> Json:
    replica.forget_device(params.device_id)
    return {"forgotten": params.device_id}


COMPACT = Action(name="compact", params=CompactParams, work=_compact, writes=True)
FORGET = Action(name="forget", params=ForgetParams, work=_forget, writes=True)
