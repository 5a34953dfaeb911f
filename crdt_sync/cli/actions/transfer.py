"""Actions behind import and export: one bounded chunk or page at a time.

Importing is idempotent: every line has an id, its own or one that its place in the file gives, and a record that exists
is never created again. So an import that was cut short is simply done again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from crdt_sync.cli.actions.base import Action, Json, history_at, model_of, record_json
from crdt_sync.cli.cells import ID, check_header, row_of, values_of_row
from crdt_sync.cli.values import json_of_value, parse_json, value_of_json
from crdt_sync.core.conflict import Conflict
from crdt_sync.core.ids import RecordId, record_id
from crdt_sync.core.kinds import CounterKind, FieldKind, MapKind, TextKind
from crdt_sync.core.limits import TEXT_INSERT_CHARS_MAX
from crdt_sync.core.model import Model, ModelSpec, document_key_of, host_of, spec_of
from crdt_sync.core.validating import validate_creation
from crdt_sync.errors import CRDTSyncError, InputError, InvalidValueError, RecordNotFoundError
from crdt_sync.replica import Replica, Sources

CHUNK_LINES_MAX = 5_000
PAGE_RECORDS_MAX = 1_000
_MARK = "import "
"""Beginning of the names in local storage under which imports note how far they came."""

_chosen_id: ContextVar[str | None] = ContextVar("_chosen_id", default=None)


def sources() -> Sources:
    """What the command line opens replicas with: new records get the id that an import chose for them."""
    fresh = Sources().new_record_id
    return Sources(new_record_id=lambda: _chosen_id.get() or fresh())


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of an import.

    Args:
        number: in its file, from 1.
        text: the line.
        record_id: the id that its record gets if it brings none.
    """

    number: int
    text: str
    record_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkParams:
    """Lines to apply as one transaction.

    Args:
        lines: in order.
        model: of all lines; None where each line names its own.
        columns: of rows of CSV, whose lines are JSON lists of cells; none for JSON Lines.
        update: write the fields of records that exist, instead of passing over them.
        mark: names the import; empty where it cannot be resumed.
        digest: of the file up to the end of the last line.
    """

    lines: Sequence[Line]
    model: str | None = None
    columns: Sequence[str] = ()
    update: bool = False
    mark: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkParams:
    """Args: mark: names the import; model: of all lines, or None where each names its own."""

    mark: str
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParams:
    """Args: model: its name; after: the previous page's last id, or empty; limit: at most so many; cells: for CSV."""

    model: str
    after: str = ""
    limit: int = PAGE_RECORDS_MAX
    cells: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderParams:
    """Args: model: its name; columns: as the first line of a CSV file names them."""

    model: str
    columns: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """One line, understood.

    Args:
        model: of the record.
        spec: what it declares.
        record_id: the record's id.
        values: of its fields; of a long text, as much as can be written at once.
        rests: what follows in the texts that are longer.
    """

    model: type[Model]
    spec: ModelSpec
    record_id: RecordId
    values: dict[str, Any]
    rests: dict[str, str]


def import_chunk(replica: Replica, params: ChunkParams) -> Json:
    """Apply lines as one transaction, or none of them."""
    if len(params.lines) > CHUNK_LINES_MAX:
        raise InputError(f"a chunk has at most {CHUNK_LINES_MAX} lines")
    done = {"created": 0, "updated": 0, "existing": 0, "settled": 0}
    with replica.transaction():
        for line in params.lines:
            with _naming_line(line.number):
                what, settled = _apply(replica, _read(replica, line, params), update=params.update)
                done[what] += 1
                done["settled"] += settled
    if params.lines and params.mark:
        replica.local.save(_MARK + params.mark, [params.lines[-1].number, params.digest])
    return dict(done)


def import_mark(replica: Replica, params: MarkParams) -> Json:
    """How far an import came: lines applied, and the digest of the file up to there. An unknown model is refused."""
    if params.model is not None:
        model_of(replica, params.model)
    lines, digest = replica.local.load(_MARK + params.mark, [0, ""])
    return {"lines": lines, "digest": digest}


def export_page(replica: Replica, params: PageParams) -> Json:
    """Records of a model in the order of their ids."""
    if not 0 < params.limit <= PAGE_RECORDS_MAX:
        raise InputError(f"a page has 1 to {PAGE_RECORDS_MAX} records")
    model = model_of(replica, params.model)
    found = replica.find(model, order_by="id", limit=params.limit, id__gt=params.after)
    if not params.cells:
        return {"records": [record_json(record) for record in found]}
    spec = spec_of(model)
    rows = [{"id": record.id, "cells": row_of(spec, record.id, _values(record))} for record in found]
    return {"columns": [ID, *spec.fields], "records": rows}


def csv_header(replica: Replica, params: HeaderParams) -> Json:
    """Check the header of a CSV file."""
    check_header(spec_of(model_of(replica, params.model)), params.columns)
    return {}


def _values(record: Model) -> dict[str, Any]:
    host = host_of(record)
    return {} if host is None else host.read_record(document_key_of(record), spec_of(type(record)))


def _read(replica: Replica, line: Line, params: ChunkParams) -> _Item:
    if params.columns:
        model = model_of(replica, params.model or "")
        cells = [str(cell) for cell in parse_json(line.text, what="the row")]
        values = values_of_row(spec_of(model), params.columns, cells)
        given_id = next((cell for name, cell in zip(params.columns, cells, strict=True) if name == ID and cell), None)
        return _item(model, values, own_id=given_id, line=line)
    model_name = params.model
    data = parse_json(
        line.text, what="the line", hint="The file must be JSON Lines: one whole JSON object on each line."
    )
    if not isinstance(data, dict):
        raise InputError("the line is no JSON object", hint='Write {"model": …, "id": …, "fields": {…}}.')
    if model_name is None:
        unknown = data.keys() - {"model", "id", "fields"}
        if unknown or not isinstance(data.get("model"), str) or not isinstance(data.get("fields"), dict):
            raise InputError(
                "a line is an object with model, fields and, if it has one, id",
                hint="Give --model where each line holds the fields themselves.",
            )
        model_name, given, own_id = data["model"], data["fields"], data.get("id")
    else:
        own_id = data.pop("id", None)
        given = data
    model = model_of(replica, model_name)
    spec = spec_of(model)
    values = {name: value_of_json(spec.field(name), value, model=spec.name) for name, value in given.items()}
    return _item(model, values, own_id=own_id, line=line)


def _item(model: type[Model], values: dict[str, Any], *, own_id: Any, line: Line) -> _Item:
    spec = spec_of(model)
    rests = {name: value[TEXT_INSERT_CHARS_MAX:] for name, value in values.items() if _is_long(spec, name, value)}
    values.update({name: values[name][:TEXT_INSERT_CHARS_MAX] for name in rests})
    name = record_id(line.record_id if own_id is None else own_id)
    if spec.key:
        natural = spec.natural_id(validate_creation(model, values))
        if own_id is not None and name != natural:
            raise InvalidValueError(f"{spec.name}: this id does not belong to this natural key", field="id")
        name = natural
    return _Item(model=model, spec=spec, record_id=name, values=values, rests=rests)


def _is_long(spec: ModelSpec, name: str, value: Any) -> bool:
    """Whether a value is a text that cannot be written at once."""
    return isinstance(spec.fields[name], TextKind) and isinstance(value, str) and len(value) > TEXT_INSERT_CHARS_MAX


def _apply(replica: Replica, item: _Item, *, update: bool) -> tuple[str, int]:
    """Create a record, or leave or update it where it exists; gives which, and how many conflicts that settled."""
    record = _existing(replica, item)
    if record is None:
        _create(replica, item)
        return "created", 0
    if not update or record is _DELETED:
        return "existing", 0
    return "updated", _update(replica, item, record)


_DELETED = object()


def _existing(replica: Replica, item: _Item) -> Any:
    """The record of this id; `_DELETED`, or None where there never was one."""
    try:
        return replica.get(item.model, item.record_id)
    except RecordNotFoundError:
        return _DELETED if history_at(replica, item.model, item.record_id, latest=1) else None


def _create(replica: Replica, item: _Item) -> None:
    token = _chosen_id.set(item.record_id)
    try:
        record = replica.create(item.model, **item.values)
    finally:
        _chosen_id.reset(token)
    if record.id != item.record_id:
        raise InputError("this replica was not opened by the command line, so imported records cannot keep their ids")
    _append_rests(record, item)


def _append_rests(record: Any, item: _Item) -> None:
    for name, rest in item.rests.items():
        for start in range(0, len(rest), TEXT_INSERT_CHARS_MAX):
            getattr(record, name).append(rest[start : start + TEXT_INSERT_CHARS_MAX])


def _update(replica: Replica, item: _Item, record: Any) -> int:
    """Write what differs from what is shown; gives how many conflicts that settled."""
    open_before = replica.conflicts(record=record)
    if open_before:
        _leave_conflicts(item, record, open_before)
    values = {name: value for name, value in item.values.items() if name not in item.spec.key}
    for name in list(values):
        if isinstance(item.spec.fields[name], CounterKind):
            counter = getattr(record, name)
            counter.increment(values.pop(name) - int(counter))
    same = [name for name, rest in item.rests.items() if str(getattr(record, name)) == values[name] + rest]
    for name in same:
        del values[name], item.rests[name]
    if values:
        replica.update(record, **values)
    _append_rests(record, item)
    if not open_before:
        return 0
    return len({conflict.id for conflict in open_before} - {left.id for left in replica.conflicts(record=record)})


def _leave_conflicts(item: _Item, record: Any, conflicts: Sequence[Conflict]) -> None:
    """Write nothing over fields in conflict where a line has what is shown: nobody who wrote the line decided that."""
    shown = _values(record)
    for name in {conflict.field for conflict in conflicts} & item.values.keys():
        kind, given = item.spec.fields[name], item.values[name]
        if isinstance(kind, MapKind):
            entries = getattr(record, name)
            del item.values[name]
            for key in shown[name].keys() - given.keys():
                del entries[key]
            before = {key: _told(kind, {key: value}) for key, value in shown[name].items()}
            entries.update({key: value for key, value in given.items() if _told(kind, {key: value}) != before.get(key)})
        elif _told(kind, given) == _told(kind, shown[name]):
            del item.values[name]


def _told(kind: FieldKind, value: Any) -> str:
    """A value as an export writes it."""
    return json.dumps(json_of_value(kind, value))


@contextmanager
def _naming_line(number: int) -> Iterator[None]:
    """Say in which line of the file an error lies."""
    try:
        yield
    except CRDTSyncError as error:
        error.message = f"line {number}: {error.message}"
        error.args = (error.message,)
        raise


IMPORT_CHUNK = Action(name="import_chunk", params=ChunkParams, work=import_chunk, writes=True)
IMPORT_MARK = Action(name="import_mark", params=MarkParams, work=import_mark, writes=False)
CSV_HEADER = Action(name="csv_header", params=HeaderParams, work=csv_header, writes=False)
EXPORT_PAGE = Action(name="export_page", params=PageParams, work=export_page, writes=False)
