"""Actions about how sync is going: metrics, and another try for what failed, or its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from crdt_sync.cli.actions.base import Action, Json
from crdt_sync.cli.actions.journal import NoParams, operation_json
from crdt_sync.replica import Replica


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryParams:
    """Args: operation: the id of one; None for all that failed."""

    operation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevertParams:
    """Args: operation: the id of one that failed."""

    operation: str


def _metrics(replica: Replica, params: NoParams) -> Json:
    del params
    return asdict(replica.metrics())


def _retry(replica: Replica, params: RetryParams) -> Json:
    operation = None if params.operation is None else replica.operation(params.operation)
    count = replica.retry(operation)
    return {"retried": count, "pending": replica.pending_count(), "failed": replica.operation_count(status="failed")}


def _revert(replica: Replica, params: RevertParams) -> Json:
    taken = [operation_json(operation) for operation in replica.revert(replica.operation(params.operation))]
    return {"total": len(taken), "operations": taken, "pending": replica.pending_count()}


METRICS = Action(name="metrics", params=NoParams, work=_metrics, writes=False)
RETRY = Action(name="retry", params=RetryParams, work=_retry, writes=True)
REVERT = Action(name="revert", params=RevertParams, work=_revert, writes=True)
