"""Actions on records: create, show, list, set, delete, restore."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from crdt_sync.cli.actions.base import Action, Json, device_json, model_of, record_json
from crdt_sync.cli.actions.conflicts import conflict_json, device_time
from crdt_sync.cli.values import (
    Assignment,
    Operator,
    element_of_text,
    held_element,
    json_of_value,
    parse_assignment,
    parse_json,
    value_of_json,
    value_of_text,
)
from crdt_sync.core.kinds import CounterKind, FieldKind, ListKind, MapKind, SetKind, TextKind
from crdt_sync.core.model import Model, ModelSpec, spec_of
from crdt_sync.errors import InputError, InvalidValueError
from crdt_sync.replica import Replica

LIST_LIMIT_MAX = 10_000
"""Records that one `list` shows; `export` gives all."""

Change = Callable[[Model], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateParams:
    """Args: model: its name; assignments: as typed."""

    model: str
    assignments: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordParams:
    """Args: model: its name; record_id: a UUID."""

    model: str
    record_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetParams:
    """Args: model: its name; record_id: a UUID; assignments: as typed."""

    model: str
    record_id: str
    assignments: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListParams:
    """Args: model: its name; where: conditions; order_by: fields, descending with `-`; limit, offset; invalid: only."""

    model: str
    where: Sequence[str] = ()
    order_by: Sequence[str] = ()
    limit: int = 100
    offset: int = 0
    invalid: bool = False


@dataclass(slots=True)
class _Plan:
    """What assignments come to: values to write, then changes of counters, sets and texts."""

    values: dict[str, Any] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


def create(replica: Replica, params: CreateParams) -> Json:
    """Create a record."""
    model = model_of(replica, params.model)
    plan = _plan(spec_of(model), params.assignments, creating=True)
    with replica.transaction():
        record = replica.create(model, **plan.values)
        for change in plan.changes:
            change(record)
    return record_json(record)


def show(replica: Replica, params: RecordParams) -> Json:
    """One record, with concurrent values and open conflicts."""
    model = model_of(replica, params.model)
    record = replica.get(model, params.record_id)
    shown = record_json(record)
    concurrent, names = {}, replica.device_names
    for name, kind in spec_of(model).fields.items():
        candidates = replica.candidates(record, name)
        if len(candidates) > 1:
            concurrent[name] = [
                {
                    "value": json_of_value(kind, item.value),
                    **device_json(names, item.device_id),
                    **device_time(item.timestamp),
                }
                for item in candidates
            ]
    conflicts = [conflict_json(replica, conflict) for conflict in replica.conflicts(record=record)]
    aliases = replica.also_known_as(record)
    known_as = {"also_known_as": list(aliases)} if aliases else {}
    return {**_marked(replica, record, shown), **known_as, "concurrent": concurrent, "conflicts": conflicts}


def list_records(replica: Replica, params: ListParams) -> Json:
    """Records that match, in order."""
    if not 0 < params.limit <= LIST_LIMIT_MAX:
        raise InputError(f"--limit is 1 to {LIST_LIMIT_MAX}", hint="`crdt-sync export` gives all records.")
    model = model_of(replica, params.model)
    spec = spec_of(model)
    filters: dict[str, Any] = {}
    for text in params.where:
        keyword, value = _condition(spec, parse_assignment(text))
        if keyword in filters:
            raise InputError(f"two conditions {keyword!r}", hint="Use field__in:='[…]' for one of several values.")
        filters[keyword] = value
    order_by = list(params.order_by)
    if params.invalid:
        wanted = {item.record_id for item in replica.invalid(model)}
        matching = [record for record in replica.find(model, order_by=order_by, **filters) if record.id in wanted]
        found, total = matching[params.offset : params.offset + params.limit], len(matching)
    else:
        found = replica.find(model, order_by=order_by, limit=params.limit, offset=params.offset, **filters)
        total = replica.count(model, **filters)
    return {
        "model": spec.name,
        "fields": list(spec.fields),
        "total": total,
        "offset": params.offset,
        "records": [_marked(replica, record, record_json(record)) for record in found],
    }


def _marked(replica: Replica, record: Model, shown: Json) -> Json:
    """A record with what is wrong with its values, where something is."""
    reasons = {item.field: item.reason for item in replica.invalid(record)}
    return {**shown, "invalid": reasons} if reasons else shown


def set_fields(replica: Replica, params: SetParams) -> Json:
    """Change fields of a record, as one transaction."""
    model = model_of(replica, params.model)
    if not params.assignments:
        raise InputError("nothing to set", hint="Give at least one field=value.")
    plan = _plan(spec_of(model), params.assignments, creating=False)
    record = replica.get(model, params.record_id)
    with replica.transaction():
        if plan.values:
            replica.update(record, **plan.values)
        for change in plan.changes:
            change(record)
    return record_json(record)


def delete(replica: Replica, params: RecordParams) -> Json:
    """Delete a record."""
    model = model_of(replica, params.model)
    record = replica.get(model, params.record_id)
    name = record.id
    replica.delete(record)
    return {"model": spec_of(model).name, "id": name, "deleted": True}


def restore(replica: Replica, params: RecordParams) -> Json:
    """Bring a deleted record back."""
    model = model_of(replica, params.model)
    return record_json(replica.restore(model, params.record_id))


def _plan(spec: ModelSpec, assignments: Sequence[str], *, creating: bool) -> _Plan:
    """Read all assignments before anything is written."""
    plan = _Plan()
    for item in map(parse_assignment, assignments):
        kind = spec.field(item.field)
        if item.operator in (Operator.ADD, Operator.REMOVE):
            plan.changes.append(_step(spec, kind, item))
            continue
        if item.field in plan.values:
            raise InputError(f"field {item.field!r} is given twice", hint="Give each field once.")
        if isinstance(kind, CounterKind) and not creating:
            raise InvalidValueError(
                f"{spec.name}.{kind.name} is a counter and cannot be set",
                field=kind.name,
                hint=f"Use {kind.name}+=2 or {kind.name}-=1, so that counting on several devices adds up.",
            )
        plan.values[item.field] = _value(spec, kind, item)
    return plan


def _value(spec: ModelSpec, kind: FieldKind, item: Assignment) -> Any:
    if item.operator is Operator.JSON:
        return value_of_json(kind, parse_json(item.text, what=f"the value of {item.field!r}"), model=spec.name)
    return value_of_text(kind, item.text, model=spec.name)


def _step(spec: ModelSpec, kind: FieldKind, item: Assignment) -> Change:
    """The change that `field+=…` or `field-=…` stands for."""
    name, adds = item.field, item.operator is Operator.ADD
    match kind:
        case CounterKind():
            step: int = value_of_text(kind, item.text, model=spec.name)
            return lambda record: getattr(record, name).increment(step if adds else -step)
        case SetKind():
            if not adds:
                return lambda record: getattr(record, name).discard(_held(spec, kind, item, record))
            element = element_of_text(kind, item.text, model=spec.name)
            return lambda record: getattr(record, name).add(element)
        case ListKind():
            if not adds:
                return lambda record: getattr(record, name).remove(_held(spec, kind, item, record))
            value = element_of_text(kind, item.text, model=spec.name)
            return lambda record: getattr(record, name).append(value)
        case MapKind():
            if not adds:
                return lambda record: getattr(record, name).pop(item.text)
            entries = value_of_json(kind, parse_json(item.text, what=f"what {name!r} takes"), model=spec.name)
            return lambda record: getattr(record, name).update(entries)
        case TextKind() if adds:
            return lambda record: getattr(record, name).append(item.text)
        case _:
            raise InvalidValueError(
                f"{spec.name}.{name} cannot be changed with {item.operator.value}",
                field=name,
                hint="Counters, sets, lists and maps take += and -=, texts take +=; other fields take = and :=.",
            )


def _held(spec: ModelSpec, kind: SetKind | ListKind, item: Assignment, record: Model) -> Any:
    """The element that `field-=…` takes out."""
    return held_element(kind, getattr(record, item.field), item.text, model=spec.name)


def _condition(spec: ModelSpec, item: Assignment) -> tuple[str, Any]:
    """A condition of `list`, as `Replica.find` takes it."""
    name, _, comparison = item.field.partition("__")
    if item.operator in (Operator.ADD, Operator.REMOVE):
        raise InputError(f"{item.operator.value} is no condition", hint="Write field=value or field__lt=value.")
    if name == "id":
        is_list = comparison == "in"
        return item.field, parse_json(item.text, what="the list of ids") if is_list else item.text
    kind = spec.field(name)
    if comparison == "in":
        listed = parse_json(item.text, what=f"the list of values for {name!r}")
        if not isinstance(listed, list):
            raise InputError(f"{item.field} takes a JSON list", hint=f'Write {item.field}=\'["a", "b"]\'.')
        return item.field, [value_of_json(kind, value, model=spec.name) for value in listed]
    if comparison == "contains" and item.operator is Operator.TEXT:
        if isinstance(kind, SetKind | ListKind):
            return item.field, element_of_text(kind, item.text, model=spec.name)
        return item.field, item.text
    return item.field, _value(spec, kind, item)


CREATE = Action(name="create", params=CreateParams, work=create, writes=True)
SHOW = Action(name="show", params=RecordParams, work=show, writes=False)
LIST = Action(name="list", params=ListParams, work=list_records, writes=False)
SET = Action(name="set", params=SetParams, work=set_fields, writes=True)
DELETE = Action(name="delete", params=RecordParams, work=delete, writes=True)
RESTORE = Action(name="restore", params=RecordParams, work=restore, writes=True)
