"""Actions on conflicts: list, show, resolve."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from crdt_sync.cli.actions.base import Action, Json, model_of, record_json
from crdt_sync.cli.values import json_of_value, parse_json, value_of_json, value_of_text
from crdt_sync.core.clock import physical_ms
from crdt_sync.core.conflict import DELETED, UNKNOWN, Candidate, Conflict, ConflictKind
from crdt_sync.core.ids import RecordId
from crdt_sync.core.kinds import TextKind
from crdt_sync.core.kinds.plain import PlainRegister
from crdt_sync.core.layout import ENTRY_SEPARATOR
from crdt_sync.core.model import Model, ModelSpec, spec_of
from crdt_sync.errors import ConflictNotFoundError, InputError, NotACandidateError
from crdt_sync.replica import Replica

CONFLICTS_MAX = 1_000
"""Conflicts that one `conflicts list` shows."""
TAKES = ("delete", "keep")
"""What may become of a record that was deleted and edited at once."""
TAKE_CHARS_MAX = 10
PREFIX_CHARS_MIN = 4
"""Of a conflict's id, which may be shortened as long as it names one conflict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictsParams:
    """Args: model: only of this model; record_id: only of this record."""

    model: str | None = None
    record_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictParams:
    """Args: conflict_id: its id, or the beginning of it."""

    conflict_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveParams:
    """Args: conflict_id: its id, or the beginning of it; then one of take: a number, delete or keep; value, latest."""

    conflict_id: str
    take: str | None = None
    value: str | None = None
    json_value: str | None = None
    latest: bool = False


def list_conflicts(replica: Replica, params: ConflictsParams) -> Json:
    """The open conflicts."""
    model = None if params.model is None else model_of(replica, params.model)
    found = [item for item in replica.conflicts(model=model) if params.record_id in (None, item.record_id)]
    shown = [conflict_json(replica, conflict) for conflict in found[:CONFLICTS_MAX]]
    return {"total": len(found), "conflicts": shown}


def show_conflict(replica: Replica, params: ConflictParams) -> Json:
    """One conflict."""
    return conflict_json(replica, find_conflict(replica, params.conflict_id))


def resolve(replica: Replica, params: ResolveParams) -> Json:
    """Settle a conflict."""
    given = [params.take is not None, params.value is not None, params.json_value is not None, params.latest]
    if sum(given) != 1:
        raise InputError(
            "give one of --take, --value, --json-value and --latest", hint="See `crdt-sync conflicts show PATH ID`."
        )
    conflict = find_conflict(replica, params.conflict_id)
    if conflict.kind is ConflictKind.EDIT_OF_DELETED:
        return _settle_deletion(replica, conflict, params)
    model = model_of(replica, conflict.model)
    kind = spec_of(model).field(conflict.field).register_kind(conflict.register)
    if params.latest:
        replica.resolve(conflict, take=conflict.candidates[0])
    elif params.take is not None:
        replica.resolve(conflict, take=_candidate(conflict, params.take))
    elif params.json_value is not None:
        data = parse_json(params.json_value, what="--json-value")
        replica.resolve(conflict, value=value_of_json(kind, data, model=conflict.model))
    else:
        replica.resolve(conflict, value=value_of_text(kind, params.value or "", model=conflict.model))
    value = getattr(replica.get(model, conflict.record_id), conflict.field)
    _, separator, entry = conflict.register.partition(ENTRY_SEPARATOR)
    if separator:
        value = value[entry]
    return _settled_json(replica, conflict, json_of_value(kind, value))


def _settle_deletion(replica: Replica, conflict: Conflict, params: ResolveParams) -> Json:
    if params.latest:
        chosen = conflict.candidates[0]
    elif params.take is None:
        raise InputError(
            "whether a record stays deleted is no value", hint="Give --take delete, --take keep or --latest."
        )
    elif params.take in TAKES:
        chosen = next(item for item in conflict.candidates if _take_of(item) == params.take)
    else:
        chosen = _candidate(conflict, params.take)
    replica.resolve(conflict, take=chosen)
    kept = _take_of(chosen) == "keep"
    value = record_json(replica.get(replica.model(conflict.model), conflict.record_id))["fields"] if kept else None
    return {**_settled_json(replica, conflict, value), "take": _take_of(chosen)}


def _settled_json(replica: Replica, conflict: Conflict, value: Any) -> Json:
    return {
        "id": conflict.id,
        "model": conflict.model,
        "record_id": conflict.record_id,
        "field": conflict.field,
        "value": value,
        "open_conflicts": len(replica.conflicts()),
    }


def find_conflict(replica: Replica, name: str) -> Conflict:
    """An open conflict by id, or by the beginning of its id.

    Raises:
        ConflictNotFoundError: none has this id.
        InputError: the beginning is too short, or names several.
    """
    wanted = name.lower()
    if len(wanted) < PREFIX_CHARS_MIN:
        raise InputError(f"an id of a conflict is given by {PREFIX_CHARS_MIN} characters or more")
    found = [conflict for conflict in replica.conflicts() if conflict.id.startswith(wanted)]
    if not found:
        raise ConflictNotFoundError(f"there is no open conflict {name}")
    if len(found) > 1:
        raise InputError(f"{len(found)} conflicts begin with {name}", hint="Give more of the id.")
    return found[0]


def conflict_json(replica: Replica, conflict: Conflict) -> Json:
    """A conflict as a person wants to see it."""
    model = replica.model(conflict.model)
    known = conflict.base is not UNKNOWN
    if conflict.kind is ConflictKind.EDIT_OF_DELETED:
        encode = partial(_record_or_none, spec_of(model))
    else:
        encode = partial(json_of_value, spec_of(model).field(conflict.field).register_kind(conflict.register))
    return {
        "id": conflict.id,
        "kind": conflict.kind.value,
        "model": conflict.model,
        "record_id": conflict.record_id,
        "title": title_of(replica, model, conflict.record_id),
        "field": conflict.field,
        "paths": list(conflict.paths),
        "base_known": known,
        "base": encode(conflict.base) if known else None,
        "candidates": [
            _candidate_json(conflict, encode(candidate.value), number)
            for number, candidate in enumerate(conflict.candidates, start=1)
        ],
        "value": encode(conflict.value),
    }


def title_of(replica: Replica, model: type[Model], record_id: RecordId) -> str:
    """What a person calls a record: its first field of text; empty where it has none."""
    spec = spec_of(model)
    for name, kind in spec.fields.items():
        if isinstance(kind, TextKind) or (isinstance(kind, PlainRegister) and kind.info.annotation is str):
            return str(getattr(replica.get(model, record_id), name))
    return ""


def device_time(timestamp: int) -> Json:
    """A packed timestamp, and the time in it (UTC) for people."""
    ms = physical_ms(timestamp)
    try:
        time = datetime.fromtimestamp(ms / 1000, tz=UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        time = ""  # a clock that was set beyond the year 9999
    return {"timestamp": timestamp, "time": time}


def _candidate(conflict: Conflict, take: str) -> Candidate:
    hint = f"Candidates are numbered 1 to {len(conflict.candidates)}."
    if not (take.isascii() and take.isdigit() and len(take) < TAKE_CHARS_MAX):
        raise InputError(f"--take {take}: no number of a candidate", hint=hint)
    if not 1 <= int(take) <= len(conflict.candidates):
        raise NotACandidateError(f"there is no candidate {take}", hint=hint)
    return conflict.candidates[int(take) - 1]


def _take_of(candidate: Candidate) -> str:
    return "delete" if candidate.value is DELETED else "keep"


def _record_or_none(spec: ModelSpec, value: Any) -> Json | None:
    """The values of a record, or None for its deletion."""
    if value is DELETED:
        return None
    return {name: json_of_value(kind, value[name]) for name, kind in spec.fields.items()}


def _candidate_json(conflict: Conflict, value: Any, number: int) -> Json:
    candidate = conflict.candidates[number - 1]
    take = {"take": _take_of(candidate)} if conflict.kind is ConflictKind.EDIT_OF_DELETED else {}
    return {
        "number": number,
        "value": value,
        **take,
        "device_id": candidate.device_id,
        **device_time(candidate.timestamp),
    }


CONFLICTS = Action(name="conflicts", params=ConflictsParams, work=list_conflicts, writes=False)
CONFLICT = Action(name="conflict", params=ConflictParams, work=show_conflict, writes=False)
RESOLVE = Action(name="resolve", params=ResolveParams, work=resolve, writes=True)
