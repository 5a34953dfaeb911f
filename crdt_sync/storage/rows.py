"""What a view may be called, and how values become the cells of its rows; the same for every store."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import lru_cache
from typing import assert_never

from crdt_sync.errors import (
    CorruptStoreError,
    InvalidValueError,
    SchemaError,
    UnknownFieldError,
    UnknownModelError,
)
from crdt_sync.storage.base import STORE_LIMITS, Column, ColumnKind, Filter, FilterOp, Query, View, ViewValue
from crdt_sync.storage.ordering import (
    INTEGER_MAX,
    INTEGER_MIN,
    NAN_TEXT,
    Cell,
    decimal_cell_key,
    is_wide_text,
    number_key,
    value_key,
    wide_text,
)

ID = "id"
_ID_COLUMN = Column(name=ID)
_NAME = re.compile(rf"[A-Za-z_][A-Za-z0-9_]{{0,{STORE_LIMITS.name_chars_max - 1}}}\Z")
_RESERVED_PREFIXES = ("sqlite_", "_crdt_")
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewDefinition:
    """A view as a store keeps it."""

    view: View
    wide: frozenset[str] = frozenset()
    """VALUE columns that hold, or held, an integer beyond 64 bits."""

    def column(self, name: str) -> Column:
        """Find a column, `id` among them.

        Raises:
            UnknownFieldError: there is none of this name.
        """
        if name == ID:
            return _ID_COLUMN
        for column in self.view.columns:
            if column.name == name:
                return column
        known = ", ".join([ID, *(column.name for column in self.view.columns)])
        raise UnknownFieldError(f"{self.view.name} has no field {name!r}", hint=f"Its fields are {known}.")

    def to_bytes(self) -> bytes:
        """Encode, to be kept in the store."""
        content = {
            "name": self.view.name,
            "columns": [[column.name, column.kind.value] for column in self.view.columns],
            "indexes": self.view.indexes,
            "wide": sorted(self.wide),
        }
        return json.dumps(content).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> ViewDefinition:
        """Decode.

        Raises:
            CorruptStoreError: the bytes are no definition.
        """
        try:
            content = json.loads(data)
            columns = tuple(Column(name=name, kind=ColumnKind(kind)) for name, kind in content["columns"])
            indexes = tuple(tuple(index) for index in content["indexes"])
            view = View(name=content["name"], columns=columns, indexes=indexes)
            return cls(view=view, wide=frozenset(content["wide"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptStoreError(f"a view's definition cannot be read: {error}") from error


def check_view(view: View, *, taken: Iterable[str]) -> None:
    """Refuse a view that some SQLite tool could not read, or that would shadow another.

    Args:
        view: the definition.
        taken: names of the views there are; its own may be among them.

    Raises:
        SchemaError: what is wrong with it.
    """
    _check_name(view.name, what="view")
    if view.name.lower().startswith(_RESERVED_PREFIXES):
        raise SchemaError(f"the name {view.name!r} is reserved", hint="Choose a name that begins otherwise.")
    for other in taken:
        if other != view.name and other.lower() == view.name.lower():
            raise SchemaError(f"the views {other!r} and {view.name!r} differ in upper and lower case only")
    limits = STORE_LIMITS
    if len(view.columns) > limits.view_columns_max or len(view.indexes) > limits.view_indexes_max:
        raise SchemaError(f"a view has at most {limits.view_columns_max} columns and {limits.view_indexes_max} indexes")
    seen = {ID}
    for column in view.columns:
        _check_name(column.name, what="column")
        if column.name.lower() in seen:
            raise SchemaError(f"{view.name} has two columns {column.name!r} (upper and lower case are one)")
        seen.add(column.name.lower())
    names = {column.name for column in view.columns}
    for index in view.indexes:
        if not index or len(set(index)) != len(index) or not names.issuperset(index):
            raise SchemaError(f"an index of {view.name} must name its columns, each once: {', '.join(index)}")
    if len(set(view.indexes)) != len(view.indexes):
        raise SchemaError(f"{view.name} declares an index twice")


def unknown_view(name: str, *, known: Iterable[str]) -> UnknownModelError:
    """The error for a view that was never defined."""
    return UnknownModelError(f"the store has no view {name!r}", hint=f"Its views are {', '.join(sorted(known))}.")


def _check_name(name: str, *, what: str) -> None:
    if not _NAME.match(name):
        raise SchemaError(
            f"{name!r} cannot name a {what}",
            hint=f"Use a letter or _, then letters, digits and _; at most {STORE_LIMITS.name_chars_max} characters.",
        )


def json_text(value: object, *, field: str = "") -> str:
    """Write a value as the one JSON text that equal values have: sorted keys, no spaces.

    Raises:
        InvalidValueError: JSON cannot hold it.
    """
    try:
        try:
            text = _JSON.encode(value)
        except ValueError:  # NaN, an infinity, or an integer of more digits than `str` writes
            text = _JSON.encode(_within_json(value))
        text.encode()  # refuses lone surrogates, which SQLite cannot keep
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValueError(f"{field or 'a value'} cannot be kept as JSON: {error}", field=field) from error


def _within_json(value: object) -> object:
    """Write as text the numbers that JSON has no way to write."""
    if isinstance(value, float) and not math.isfinite(value):
        return NAN_TEXT if math.isnan(value) else str(value)
    if isinstance(value, int) and not isinstance(value, bool) and not INTEGER_MIN <= value <= INTEGER_MAX:
        return wide_text(value)
    if isinstance(value, Mapping):
        return {key: _within_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_within_json(item) for item in value]
    return value


def json_contains(cell: Cell, needle_text: Cell) -> bool:
    """Whether JSON text holds an element (of a list), a key (of a mapping) or a substring (of text), given as JSON."""
    if not isinstance(cell, str) or not isinstance(needle_text, str):
        return False
    content = json.loads(cell)
    needle = _needle(needle_text)
    if isinstance(content, list):
        return needle in content
    return isinstance(content, dict | str) and isinstance(needle, str) and needle in content


@lru_cache(maxsize=16)
def _needle(text: str) -> object:
    return json.loads(text)


def cell_makers(view: View, *, on_wide: Callable[[str], None]) -> tuple[Callable[[object], Cell], ...]:
    """The functions that turn the values of a row, after its id, into cells.

    Args:
        view: its definition.
        on_wide: called with a column's name for each integer in it that SQLite cannot hold.

    The functions raise InvalidValueError.
    """
    return tuple(_cell_maker(column, on_wide=on_wide) for column in view.columns)


def _cell_maker(column: Column, *, on_wide: Callable[[str], None]) -> Callable[[object], Cell]:
    name = column.name

    def make_value(value: object) -> Cell:
        kind = type(value)
        if kind is str or value is None or kind is bytes:
            return value  # type: ignore[return-value]  # narrowed by `kind`, for speed
        if kind is int and INTEGER_MIN <= value <= INTEGER_MAX:  # type: ignore[operator]  # narrowed by `kind`
            return value  # type: ignore[return-value]  # narrowed by `kind`
        cell = value_cell(value, field=name)
        if isinstance(cell, str) and isinstance(value, int):
            on_wide(name)
        return cell

    def make_decimal(value: object) -> Cell:
        return decimal_cell(value, field=name)

    def make_json(value: object) -> Cell:
        return None if value is None else json_text(value, field=name)

    match column.kind:
        case ColumnKind.VALUE:
            return make_value
        case ColumnKind.DECIMAL:
            return make_decimal
        case ColumnKind.JSON:
            return make_json
        case _:
            assert_never(column.kind)


def value_cell(value: object, *, field: str) -> Cell:
    """Turn a value into the cell that a VALUE column keeps: subclasses into plain types, what has no type into text.

    Raises:
        InvalidValueError: of another type than None, bool, int, float, str or bytes.
    """
    if isinstance(value, Enum):
        value = value.value
    match value:
        case None:
            return None
        case bool() | int():
            return int(value) if INTEGER_MIN <= value <= INTEGER_MAX else wide_text(value)
        case float():
            return NAN_TEXT if math.isnan(value) else float(value)
        case str():
            try:
                return value.encode().decode()
            except UnicodeEncodeError as error:
                raise InvalidValueError(f"{field} cannot keep lone surrogates: {error}", field=field) from error
        case bytes():
            return bytes(value)
        case _:
            raise InvalidValueError(f"{field} cannot keep a {type(value).__name__} as a value", field=field)


def decimal_cell(value: object, *, field: str) -> Cell:
    """Turn a number into decimal text.

    Raises:
        InvalidValueError: it is no number.
    """
    if value is None:
        return None
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, int):
        return wide_text(value)
    try:
        return str(Decimal(repr(value) if isinstance(value, float) else str(value)))
    except InvalidOperation:
        raise InvalidValueError(f"{field} keeps numbers, not {value!r:.80}", field=field) from None


def values(definition: ViewDefinition, cells: Iterable[Cell]) -> Iterator[ViewValue]:
    """The values that become these cells when they are put."""
    for column, cell in zip(definition.view.columns, cells, strict=True):
        if column.kind is ColumnKind.JSON and isinstance(cell, str):
            yield json.loads(cell)
        elif column.name in definition.wide and isinstance(cell, str) and is_wide_text(cell):
            yield int(Decimal(cell))
        else:
            yield cell


def check_query(query: Query) -> None:
    """Refuse a query that asks for more than a store promises to answer.

    Raises:
        InvalidValueError: too many filters or values in them, or a negative limit or offset.
    """
    if query.offset < 0 or (query.limit is not None and query.limit < 0):
        raise InvalidValueError("limit and offset of a query are at least 0")
    if len(query.filters) > STORE_LIMITS.query_filters_max:
        raise InvalidValueError(f"a query has at most {STORE_LIMITS.query_filters_max} filters")
    several = (filter_values(item) for item in query.filters if item.op is FilterOp.IN)
    if sum(map(len, several)) + len(query.filters) > STORE_LIMITS.query_values_max:
        raise InvalidValueError(f"the filters of a query have at most {STORE_LIMITS.query_values_max:,} values")


def filter_values(item: Filter) -> Sequence[object]:
    """The values of a filter with `FilterOp.IN` or `FilterOp.CONTAINS_ANY`.

    Raises:
        InvalidValueError: no sequence, or too many values.
    """
    values, most = item.value, STORE_LIMITS.filter_values_max
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or len(values) > most:
        raise InvalidValueError(
            f"{item.op.name} on {item.column} takes a list of at most {most:,} values", field=item.column
        )
    return values


def filter_key(column: Column, value: object) -> bytes:
    """The key of the value of a filter, never None.

    Raises:
        InvalidValueError: a value that this column's values cannot be compared with.
    """
    if column.kind is ColumnKind.DECIMAL:
        key = decimal_cell_key(decimal_cell(value, field=column.name))
    elif isinstance(value, Decimal | int):
        key = number_key(value)
    else:
        key = value_key(value_cell(value, field=column.name))
    if key is None:
        raise InvalidValueError(f"{column.name} cannot be compared with None", field=column.name)
    return key
