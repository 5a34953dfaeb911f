"""Actions on conflicts: list, show, resolve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from crdt_sync.cli.actions.base import Action, Json, device_json, model_of, readable, record_json
from crdt_sync.cli.values import json_of_value, parse_json, value_of_json, value_of_text
from crdt_sync.core import codec
from crdt_sync.core.clock import physical_ms
from crdt_sync.core.conflict import DELETED, KEEP_BOTH, UNKNOWN, Candidate, Choice, Conflict, ConflictKind, whole_path
from crdt_sync.core.explaining import time_text
from crdt_sync.core.ids import DeviceId, RecordId
from crdt_sync.core.kinds import FieldKind, TextKind
from crdt_sync.core.kinds.merge_with import MergeWithRegister, always_ask
from crdt_sync.core.kinds.plain import PlainRegister, members_of
from crdt_sync.core.layout import ENTRY_SEPARATOR
from crdt_sync.core.merging import overlaps
from crdt_sync.core.model import Model, ModelSpec, spec_of
from crdt_sync.core.naming import label_of
from crdt_sync.errors import ConflictNotFoundError, InputError, NotACandidateError
from crdt_sync.replica import Replica

CONFLICTS_MAX = 1_000
"""Conflicts that one `conflicts list` shows."""
TAKES = ("delete", "keep")
"""What may become of a record that was deleted and edited at once."""
BOTH = "both"
"""Keeps records apart that were created twice."""
TAKE_CHARS_MAX = 10
TITLE_FIELDS = ("title", "name", "label")
"""Fields by which people call a record, where they are texts."""
_WHAT = {ConflictKind.CONCURRENT_EDIT: "take", ConflictKind.DUPLICATE_CREATE: "merge with the values of"}
"""What taking a candidate does, where that does not hang on the candidate."""
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
    """Args: conflict_id: its id, or the beginning of it; then one of the rest.

    take: what `choices_of` offers; value, json_value: a value, as typed or as JSON; paths: ``path=number`` for each of
    the conflict's paths; latest: the latest candidate; proposal: what is shown meanwhile.
    """

    conflict_id: str
    take: str | None = None
    value: str | None = None
    json_value: str | None = None
    paths: Sequence[str] = ()
    latest: bool = False
    proposal: bool = False


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
    typed = [params.take is not None, params.value is not None, params.json_value is not None]
    if sum((*typed, bool(params.paths), params.latest, params.proposal)) != 1:
        raise InputError(
            "give one of --take, --value, --json-value, --path, --latest and --proposal",
            hint="See `crdt-sync conflicts show PATH ID`.",
        )
    conflict = find_conflict(replica, params.conflict_id)
    if conflict.kind is ConflictKind.EDIT_OF_DELETED:
        return _settle_deletion(replica, conflict, params)
    if conflict.kind is ConflictKind.DUPLICATE_CREATE:
        return _settle_duplicate(replica, conflict, params)
    model = model_of(replica, conflict.model)
    kind = register_of(replica, conflict)
    if params.latest:
        replica.resolve(conflict, take=conflict.candidates[0])
    elif params.take is not None:
        replica.resolve(conflict, take=_numbered(conflict, params.take))
    elif params.paths:
        replica.resolve(conflict, paths=_chosen_parts(conflict, params.paths))
    elif params.proposal:
        check_proposal(replica, conflict)
        replica.resolve(conflict, value=conflict.value)
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


def _chosen_parts(conflict: Conflict, paths: Sequence[str]) -> dict[str, Candidate]:
    """A candidate for each path, from ``path=number``."""
    chosen: dict[str, Candidate] = {}
    for text in paths:
        path, separator, take = text.rpartition("=")
        if not separator or path in chosen:
            raise InputError(
                f"--path {text}: a path is given once, as PATH=N", hint=f"Its paths: {', '.join(conflict.paths)}."
            )
        chosen[path] = _numbered(conflict, take)
    return chosen


def _settle_deletion(replica: Replica, conflict: Conflict, params: ResolveParams) -> Json:
    take = "keep" if params.proposal else params.take
    if params.latest:
        chosen = conflict.candidates[0]
    elif take is None:
        raise InputError(
            "whether a record stays deleted is no value", hint="Give --take delete, --take keep or --latest."
        )
    elif take in TAKES:
        chosen = next(item for item in conflict.candidates if _take_of(item) == take)
    else:
        chosen = _numbered(conflict, take)
    replica.resolve(conflict, take=chosen)
    kept = _take_of(chosen) == "keep"
    value = record_json(replica.get(replica.model(conflict.model), conflict.record_id))["fields"] if kept else None
    return {**_settled_json(replica, conflict, value), "take": _take_of(chosen)}


def _settle_duplicate(replica: Replica, conflict: Conflict, params: ResolveParams) -> Json:
    if params.paths:
        choice: Candidate | Choice = Choice(paths=_chosen_parts(conflict, params.paths))
    elif params.latest:
        choice = conflict.candidates[0]
    elif params.take is None:
        raise InputError(
            "what becomes of records that were created twice is no value, and nothing is proposed",
            hint="Give --take N, whose values are kept, --take both, --path PATH=N for each path, or --latest.",
        )
    else:
        choice = taken(conflict, params.take)
    if isinstance(choice, Candidate):
        replica.resolve(conflict, take=choice)
    elif choice.paths is not None:
        replica.resolve(conflict, paths=dict(choice.paths))
    else:
        replica.resolve(conflict, value=choice.value)
    kept_apart = isinstance(choice, Choice) and choice.paths is None
    value = record_json(replica.get(replica.model(conflict.model), conflict.record_id))["fields"]
    return {**_settled_json(replica, conflict, value), "take": BOTH if kept_apart else "merge"}


def _settled_json(replica: Replica, conflict: Conflict, value: Any) -> Json:
    return {
        "id": conflict.id,
        "model": conflict.model,
        "record_id": conflict.record_id,
        "field": conflict.field,
        "register": conflict.register,
        "value": value,
        "open_conflicts": len(replica.conflicts()),
    }


def find_conflict(replica: Replica, name: str) -> Conflict:
    """An open conflict by id, or by the beginning of its id.

    Raises:
        ConflictNotFoundError: none has this id; it tells of one that was settled.
        InputError: the beginning is too short, or names several.
    """
    wanted = name.lower()
    if len(wanted) < PREFIX_CHARS_MIN:
        raise InputError(f"an id of a conflict is given by {PREFIX_CHARS_MIN} characters or more")
    found = [conflict for conflict in replica.conflicts() if conflict.id.startswith(wanted)]
    if len(found) > 1:
        raise InputError(f"{len(found)} conflicts begin with {name}", hint="Give more of the id.")
    if found:
        return found[0]
    for item in replica.settled():
        if item.id.startswith(wanted):
            device = item.chosen.device_id
            who = label_of(device, replica.device_names.get(DeviceId(device)))
            raise ConflictNotFoundError(
                f"conflict {name} was settled already, by {who} at {time_text(item.chosen.timestamp)}",
                hint=f"`crdt-sync log PATH --record {item.record_id}` tells how; `conflicts list` shows what is open.",
            )
    raise ConflictNotFoundError(f"there is no open conflict {name}", hint="`crdt-sync conflicts list PATH` shows them.")


def conflict_json(replica: Replica, conflict: Conflict) -> Json:
    """A conflict as a person wants to see it."""
    model = replica.model(conflict.model)
    known = conflict.base is not UNKNOWN
    if conflict.kind is not ConflictKind.CONCURRENT_EDIT:
        encode = partial(_record_or_none, spec_of(model))
    else:
        encode = partial(json_of_value, register_of(replica, conflict))
    names = replica.device_names
    return {
        "id": conflict.id,
        "kind": conflict.kind.value,
        "model": conflict.model,
        "record_id": conflict.record_id,
        "title": title_of(replica, model, conflict.record_id),
        "field": conflict.field,
        "register": conflict.register,
        "paths": list(conflict.paths),
        "base_known": known,
        "base": encode(conflict.base) if known else None,
        "candidates": [
            _candidate_json(conflict, encode(candidate.value), number, names)
            for number, candidate in enumerate(conflict.candidates, start=1)
        ],
        "value": encode(conflict.value),
        "overlaps": list(overlaps_json(conflict)),
        "choices": list(choices_of(conflict)),
        "takes_value": conflict.kind is ConflictKind.CONCURRENT_EDIT,
        "needs_app": needs_app(replica, conflict),
    }


def choices_of(conflict: Conflict) -> Iterator[Json]:
    """What ``--take`` takes to settle a conflict: the key to press for it, and what it does."""
    for number, candidate in enumerate(conflict.candidates, start=1):
        what = _WHAT.get(conflict.kind) or _take_of(candidate)
        yield {"key": str(number), "take": str(number), "what": f"{what} {number}"}
    if conflict.kind is ConflictKind.EDIT_OF_DELETED:
        yield {"key": "d", "take": "delete", "what": "delete it"}
        yield {"key": "k", "take": "keep", "what": "keep it"}
    if conflict.kind is ConflictKind.DUPLICATE_CREATE:
        yield {"key": "b", "take": BOTH, "what": "keep both"}


def taken(conflict: Conflict, take: str) -> Candidate | Choice:
    """What a choice takes: a candidate, or what stands for none of them.

    Raises:
        InputError: no such choice.
        NotACandidateError: no candidate has this number.
    """
    if conflict.kind is ConflictKind.EDIT_OF_DELETED and take in TAKES:
        return next(item for item in conflict.candidates if _take_of(item) == take)
    if conflict.kind is ConflictKind.DUPLICATE_CREATE and take == BOTH:
        return Choice(value=KEEP_BOTH)
    return _numbered(conflict, take)


def _numbered(conflict: Conflict, take: str) -> Candidate:
    hint = f"Candidates are numbered 1 to {len(conflict.candidates)}."
    if not (take.isascii() and take.isdigit() and len(take) < TAKE_CHARS_MAX):
        raise InputError(f"{take!r} is no number of a candidate", hint=hint)
    if not 1 <= int(take) <= len(conflict.candidates):
        raise NotACandidateError(f"there is no candidate {take}", hint=hint)
    return conflict.candidates[int(take) - 1]


def register_of(replica: Replica, conflict: Conflict) -> FieldKind:
    """What a conflict is about: a field, or an entry of a map."""
    return spec_of(replica.model(conflict.model)).field(conflict.field).register_kind(conflict.register)


def needs_app(replica: Replica, conflict: Conflict) -> bool:
    """Whether a function merges the field that only the app has: there may be nothing to ask at all."""
    if not conflict.field:
        return False
    kind = register_of(replica, conflict)
    return isinstance(kind, MergeWithRegister) and kind.function is always_ask


def check_proposal(replica: Replica, conflict: Conflict) -> None:
    """Refuse the proposal for a field whose proposals the app alone can make.

    Raises:
        InputError: such a field.
    """
    if needs_app(replica, conflict):
        raise InputError(
            f"what {conflict.model}.{conflict.field} merges to needs the app's function",
            hint="Give --models FILE with the app's models, or take a candidate.",
        )


def title_of(replica: Replica, model: type[Model], record_id: RecordId) -> str:
    """What a person calls a record: its title, name or label, or else its natural key, or its first field of text."""
    spec, record = spec_of(model), replica.get(model, record_id)
    texts = [name for name, kind in spec.fields.items() if _is_text(kind)]
    ways = [*((name,) for name in TITLE_FIELDS if name in texts), spec.key, tuple(texts[:1])]
    shown = ([value for name in way if (value := getattr(record, name)) is not None] for way in ways)
    titles = (", ".join(map(str, values)) for values in shown)
    return next((title for title in titles if title), "")


def _is_text(kind: FieldKind) -> bool:
    return isinstance(kind, TextKind) or (
        isinstance(kind, PlainRegister) and members_of(kind.info.annotation) - {None, type(None)} == {str}
    )


def overlaps_json(conflict: Conflict) -> Iterator[Json]:
    """Where candidates overlap in part: what was there, and what each put there."""
    if not conflict.field or not conflict.paths:
        return
    base = conflict.base if conflict.base is UNKNOWN else codec.encode(conflict.base)
    found = overlaps(base, [codec.encode(candidate.value) for candidate in conflict.candidates])
    for item in found:
        path = whole_path(conflict.register) + item.path
        if path not in conflict.paths or not item.path:
            continue
        sides = [{"number": number, **_part_json(side)} for number, side in enumerate(item.sides, start=1)]
        known = {"base_known": False} if item.base is UNKNOWN else {"base_known": True, **_part_json(item.base)}
        yield {"path": path, **known, "sides": sides}


def _part_json(data: bytes | None) -> Json:
    """A part of a value; of nothing, nothing is said."""
    return {} if data is None else {"value": readable(codec.decode(data))}


def device_time(timestamp: int) -> Json:
    """A packed timestamp, and the time in it (UTC) for people."""
    ms = physical_ms(timestamp)
    try:
        time = datetime.fromtimestamp(ms / 1000, tz=UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        time = ""  # a clock that was set beyond the year 9999
    return {"timestamp": timestamp, "time": time}


def _take_of(candidate: Candidate) -> str:
    return "delete" if candidate.value is DELETED else "keep"


def _record_or_none(spec: ModelSpec, value: Any) -> Json | None:
    """The values of a record, or None for its deletion."""
    if value is DELETED:
        return None
    fields = {name: json_of_value(kind, value[name]) for name, kind in spec.fields.items()}
    return {"id": value["id"], **fields} if "id" in value else fields


def _candidate_json(conflict: Conflict, value: Any, number: int, names: Mapping[DeviceId, str]) -> Json:
    candidate = conflict.candidates[number - 1]
    what = None if conflict.kind is ConflictKind.CONCURRENT_EDIT else _WHAT.get(conflict.kind) or _take_of(candidate)
    take = {} if what is None else {"take": what}
    return {
        "number": number,
        "value": value,
        **take,
        **device_json(names, candidate.device_id),
        **device_time(candidate.timestamp),
    }


CONFLICTS = Action(name="conflicts", params=ConflictsParams, work=list_conflicts, writes=False)
CONFLICT = Action(name="conflict", params=ConflictParams, work=show_conflict, writes=False)
RESOLVE = Action(name="resolve", params=ResolveParams, work=resolve, writes=True)
