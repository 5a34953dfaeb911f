"""Field values as cells of a CSV file, and back without loss."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from crdt_sync.cli.values import EXACT, json_of_value, parse_json, value_of_json, value_of_text
from crdt_sync.core import codec
from crdt_sync.core.kinds import FieldKind, TextKind
from crdt_sync.core.kinds.plain import PlainRegister, members_of
from crdt_sync.core.model import ModelSpec
from crdt_sync.errors import CRDTSyncError, InputError, InvalidValueError

ID = "id"
"""The column of the records' ids."""


def values_of_row(spec: ModelSpec, columns: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    """The values of a row's fields; those of which an empty cell says nothing are left out.

    Raises:
        InputError, InvalidValueError: a cell too many or too few, or one that does not fit its field.
    """
    if len(cells) != len(columns):
        raise InputError(f"the row has {len(cells)} cells, the header {len(columns)}", hint="Is a comma not quoted?")
    values: dict[str, Any] = {}
    for name, cell in zip(columns, cells, strict=True):
        if name == ID:
            continue
        kind = spec.field(name)
        if cell:
            values[name] = _value(kind, cell, model=spec.name)
        elif isinstance(kind, TextKind | PlainRegister) and (takes := _empty(kind)) is not _NOTHING:
            values[name] = takes
    return values


def row_of(spec: ModelSpec, record_id: str, values: dict[str, Any]) -> list[str]:
    """A record's row: its id, then a cell for each field."""
    return [record_id, *(_cell(kind, values[name], model=spec.name) for name, kind in spec.fields.items())]


def check_header(spec: ModelSpec, columns: Sequence[str]) -> None:
    """Check that a header names fields of a model.

    Raises:
        UnknownFieldError: one that it does not have.
        InputError: no column, or one twice.
    """
    for at, name in enumerate(columns):
        if name in columns[:at]:
            raise InputError(f"the header names the column {name!r} twice", hint="Name each field once.")
        if name != ID:
            spec.field(name)
    if not columns:
        raise InputError("the file has no header", hint=f"The first line names the fields: {','.join(spec.fields)}.")


_NOTHING = object()


def _empty(kind: FieldKind) -> Any:
    """What an empty cell means: None where the field takes it, else an empty text, else nothing."""
    members = members_of(kind.info.annotation) if isinstance(kind, PlainRegister) else {str}
    if not members.isdisjoint((None, type(None))):
        return None
    return "" if str in members else _NOTHING


def _value(kind: FieldKind, cell: str, *, model: str) -> Any:
    """JSON where the cell is JSON of such a field, or else what somebody means who types it."""
    if cell[0] in '[{"' or cell == "null":
        found = _value_of_json(kind, cell, model=model)
        if found is not _NOTHING:
            return found
    return value_of_text(kind, cell, model=model)


def _value_of_json(kind: FieldKind, cell: str, *, model: str) -> Any:
    """What a cell holds as JSON; nothing where it is a text that only begins as JSON does."""
    try:
        return value_of_json(kind, parse_json(cell, what="the cell"), model=model)
    except (InputError, InvalidValueError):
        return _NOTHING


def _cell(kind: FieldKind, value: Any, *, model: str) -> str:
    """The plainest cell that `values_of_row` reads as this value."""
    data = json_of_value(kind, value)
    plain = "" if data is None else data if isinstance(data, str) else None
    wanted = _bytes(value)
    for cell in (plain, json.dumps(data, ensure_ascii=False)):
        if cell is None:
            continue
        try:
            read = _value(kind, cell, model=model) if cell else _empty(kind)
            if read is not _NOTHING and _bytes(read) == wanted:
                return cell
        except CRDTSyncError:
            continue  # it would not be taken
    # It does not fit the field, or it is like no text that somebody types.
    return json.dumps(data if isinstance(value, set) else {EXACT: codec.encode(value).hex()}, ensure_ascii=False)


def _bytes(value: Any) -> Any:
    """What tells values of different types apart."""
    return {codec.encode(item) for item in value} if isinstance(value, set) else codec.encode(value)
