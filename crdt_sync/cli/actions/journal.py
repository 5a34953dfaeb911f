"""Actions that tell what happened and how things stand: log, history, status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from crdt_sync.cli.actions.base import Action, Json, device_json, history_at, readable
from crdt_sync.cli.actions.conflicts import device_time
from crdt_sync.cli.values import json_of_value
from crdt_sync.core.ids import DeviceId, device_id, record_id
from crdt_sync.core.kinds import FieldKind
from crdt_sync.core.model import Model, spec_of
from crdt_sync.core.records import SpaceRecord, decode_record
from crdt_sync.errors import InputError, RecordNotFoundError
from crdt_sync.replica import HistoryItem, Replica, SetAside, SyncLog, SyncOperation
from crdt_sync.replica.synclog import HLC_COUNTER_BITS

LOG_LIMIT_MAX = 10_000
"""Operations that one `log` shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogParams:
    """Args: status: only of this status; limit: how many of the latest; since: changed since then, in ISO format."""

    status: str | None = None
    limit: int = 50
    since: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryParams:
    """Args: record_id: a UUID; limit: how many of the latest."""

    record_id: str
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsParams:
    """Args: limit: how many of the latest; result: success or failure; since: noted since this time, in ISO format."""

    limit: int = 50
    result: str | None = None
    since: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoParams:
    """An action without parameters."""


def log(replica: Replica, params: LogParams) -> Json:
    """The latest local operations, oldest first."""
    _check_limit(params.limit)
    since = _time(params.since)
    found = replica.operations(status=params.status, since=since, latest_first=True)
    latest = list(islice(found, params.limit))[::-1]
    total = replica.operation_count(status=params.status, since=since)
    return {"total": total, "operations": [operation_json(operation) for operation in latest]}


def history(replica: Replica, params: HistoryParams) -> Json:
    """What was done to a record, by whom, oldest first; also of a deleted one."""
    _check_limit(params.limit)
    wanted = record_id(params.record_id)
    for model in replica.models:
        items = history_at(replica, model, wanted, latest=params.limit + 1)
        if items:
            names = replica.device_names
            shown = [_item_json(model, item, names) for item in items[-params.limit :]]
            earlier = len(items) > params.limit
            return {"model": spec_of(model).name, "id": wanted, "earlier": earlier, "history": shown}
    raise RecordNotFoundError(f"there never was a record {wanted} here", record_id=wanted)


def results(replica: Replica, params: ResultsParams) -> Json:
    """What peers said of local changes, oldest first."""
    _check_limit(params.limit)
    names = replica.device_names
    found = replica.sync_log(limit=params.limit, result=params.result, since=_time(params.since))
    return {"results": [_result_json(item, names) for item in found]}


def status(replica: Replica, params: NoParams) -> Json:
    """How a store stands."""
    del params
    own, names = own_device(replica), replica.device_names
    ends = [position.sequence for held in replica.port.vector().values() for position in held.values()]
    return {
        "replica_id": replica.replica_id,
        "epoch": replica.port.epoch.hex(),
        "device_id": own,
        "device_name": None if own is None else names.get(DeviceId(own)),
        "devices": sorted({name for name, _ in _devices(replica)}),
        "device_names": dict(sorted(names.items())),
        "models": [_model_json(replica, model) for model in replica.models],
        "entries": sum(ends),
        "authors": len(ends),
        "clock_offset_s": replica.metrics().clock_offset_s,
        "home": [
            {"address": peer.address, **device_json(names, peer.device_id or ""), "device_id": peer.device_id}
            for peer in replica.home_peers()
        ],
        "pending": replica.pending_count(),
        "failed": replica.operation_count(status="failed"),
        "set_aside": [_aside_json(item, names) for item in replica.set_aside()],
        "kept_content": _content_only_here(replica),
        "conflicts": len(replica.conflicts()),
        "forks": [{**device_json(names, item.device_id or ""), "is_own": item.is_own} for item in replica.forks()],
    }


def _content_only_here(replica: Replica) -> int:
    """Records with content that is in no entry, where no other device is known to have it."""
    safety = replica.safe_to_wipe()
    return safety.kept_content if all(item.lacks_content for item in safety.devices) else 0


def _aside_json(item: SetAside, names: Mapping[DeviceId, str]) -> Json:
    due = {"time": None} if item.due_ms is None else device_time(item.due_ms << HLC_COUNTER_BITS)
    return {
        **device_json(names, item.device_id),
        "author": item.author,
        "sequence": item.sequence,
        "tries": item.tries,
        "reason": item.reason,
        "due": due["time"],
    }


def own_device(replica: Replica) -> str | None:
    """This device, also where the replica was opened read-only: then it is the one that last bound an author here."""
    return replica.device_id or next((name for name, is_own in reversed(list(_devices(replica))) if is_own), None)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _check_limit(limit: int) -> None:
    if not 0 < limit <= LOG_LIMIT_MAX:
        raise InputError(f"--limit is 1 to {LOG_LIMIT_MAX}")


def _devices(replica: Replica) -> Iterator[tuple[str, bool]]:
    """The device of every binding in order of arrival, and whether this store wrote under the record's author."""
    own = replica.port.own_authors()
    records, cursor = replica.port.space_records(0)
    while records:
        for record in map(decode_record, records):
            if isinstance(record, SpaceRecord):
                yield device_id(record.public_key), record.author in own
        records, cursor = replica.port.space_records(cursor)


def _model_json(replica: Replica, model: type[Model]) -> Json:
    spec = spec_of(model)
    kinds = {name: _kind_name(kind) for name, kind in spec.fields.items()}
    return {"name": spec.name, "version": spec.version, "records": replica.count(model), "fields": kinds}


def _kind_name(kind: FieldKind) -> str:
    return type(kind).__name__.removesuffix("Kind").removesuffix("Register").lower()


def operation_json(operation: SyncOperation) -> Json:
    """A local change, with what it wrote."""
    return {
        "id": operation.id,
        "type": operation.type.value,
        "model": operation.model,
        "record_id": operation.record_id,
        "data": readable(operation.data),
        **device_time(operation.timestamp),
        "status": operation.status.value,
        "attempts": operation.attempts,
        "error": operation.error,
    }


def _result_json(item: SyncLog, names: Mapping[DeviceId, str]) -> Json:
    return {
        "id": item.id,
        "operation": item.operation,
        "result": item.result,
        "error": item.error,
        **device_time(item.timestamp),
        "peer": item.peer,
        "peer_name": names.get(DeviceId(item.peer)),
    }


def _item_json(model: type[Model], item: HistoryItem, names: Mapping[DeviceId, str]) -> Json:
    fields = spec_of(model).fields
    changes = [
        {
            "field": change.field or None,
            "old": _json_of(fields.get(change.field), change.old),
            "new": _json_of(fields.get(change.field), change.new),
            "conflict": change.conflict or None,
        }
        for change in item.changes
    ]
    return {
        "type": item.type.value,
        **device_json(names, item.device_id),
        **device_time(item.timestamp),
        "live": item.live,
        "fields": list(item.fields),
        "changes": changes,
        "record_ids": list(item.record_ids),
    }


def _json_of(kind: FieldKind | None, value: Any) -> Any:
    """A field's value as JSON; without a field, whether the record was live."""
    return value if kind is None or value is None else json_of_value(kind, value)


LOG = Action(name="log", params=LogParams, work=log, writes=False)
HISTORY = Action(name="history", params=HistoryParams, work=history, writes=False)
RESULTS = Action(name="results", params=ResultsParams, work=results, writes=False)
STATUS = Action(name="status", params=NoParams, work=status, writes=False)
