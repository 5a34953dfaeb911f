"""Actions on the past: a record as it was, why a value is shown, undo and redo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crdt_sync.cli.actions.base import Action, Json, model_of, readable
from crdt_sync.cli.actions.conflicts import device_time
from crdt_sync.cli.actions.journal import NoParams
from crdt_sync.cli.values import json_of_value
from crdt_sync.core.ids import record_id
from crdt_sync.core.model import spec_of
from crdt_sync.errors import InputError
from crdt_sync.replica import Replica
from crdt_sync.replica.undo import UndoReport


@dataclass(frozen=True, slots=True, kw_only=True)
class AtParams:
    """Args: model: its name; record_id: a UUID; time: in ISO format with a zone, or a timestamp."""

    model: str
    record_id: str
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainParams:
    """Args: model: its name; record_id: a UUID; field: its name, or None for the record's life."""

    model: str
    record_id: str
    field: str | None = None


def show_at(replica: Replica, params: AtParams) -> Json:
    """One record as it was."""
    model = model_of(replica, params.model)
    then = replica.at(model, params.record_id, _time(params.time))
    fields = {name: json_of_value(kind, getattr(then, name)) for name, kind in spec_of(model).fields.items()}
    return {"model": spec_of(model).name, "id": record_id(params.record_id), "at": params.time, "fields": fields}


def explain(replica: Replica, params: ExplainParams) -> Json:
    """Why a field, or a record's life, is as it is."""
    found = replica.explain(model_of(replica, params.model), params.record_id, params.field)
    causes = [
        {
            "number": cause.number,
            "what": cause.what,
            "value": readable(cause.value),
            "device_id": cause.device_id,
            "device_name": cause.device_name or None,
            **({} if cause.timestamp is None else device_time(cause.timestamp)),
            "register": cause.register,
            "saw": list(cause.saw),
            "note": cause.note,
            "record_ids": list(cause.record_ids),
        }
        for cause in found.causes
    ]
    return {
        "model": found.model,
        "id": found.record_id,
        "field": found.field or None,
        "kind": found.kind,
        "value": readable(found.value),
        "rule": found.rule,
        "causes": causes,
        "notes": list(found.notes),
        "text": str(found),
    }


def undo(replica: Replica, params: NoParams) -> Json:
    """Take back the latest transaction of this store."""
    del params
    return _report(replica.undo(), what="undo")


def redo(replica: Replica, params: NoParams) -> Json:
    """Take back the latest undo."""
    del params
    return _report(replica.redo(), what="redo")


def _report(report: UndoReport | None, *, what: str) -> Json:
    if report is None:
        raise InputError(f"there is nothing to {what}", hint="See `crdt-sync log`.")
    items = [
        {"model": item.model, "id": item.record_id, "field": item.field or None, "reason": item.reason or None}
        for item in (*report.done, *report.skipped)
    ]
    return {**device_time(report.timestamp), "items": items}


def _time(text: str) -> datetime | int:
    """A time as the command gives it (`time_until`)."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is no time", hint="Give it in ISO format with a zone.") from None


SHOW_AT = Action(name="show_at", params=AtParams, work=show_at, writes=False)
EXPLAIN = Action(name="explain", params=ExplainParams, work=explain, writes=False)
UNDO = Action(name="undo", params=NoParams, work=undo, writes=True)
REDO = Action(name="redo", params=NoParams, work=redo, writes=True)
