"""Turns a query on a view into SQL with the meaning that `base.FilterOp` promises.

Where SQLite compares as Python does, the column itself is compared, so that indexes serve. Elsewhere (DECIMAL columns,
integers beyond 64 bits) the column's key is, which the functions of `FUNCTIONS` compute; they are registered with the
connection and appear in no schema, so every SQLite tool can read the file.
"""

# ruff: noqa: S608  # names are checked and quoted, values bound

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, assert_never

from crdt_sync.errors import InvalidValueError
from crdt_sync.storage.base import Column, ColumnKind, Filter, FilterOp, Query
from crdt_sync.storage.ordering import (
    BYTES,
    NUMBER,
    TEXT,
    Cell,
    decimal_cell_key,
    is_wide,
    value_key,
    wide_cell_key,
)
from crdt_sync.storage.rows import (
    ViewDefinition,
    check_query,
    filter_key,
    filter_values,
    json_contains,
    json_text,
    value_cell,
)

FUNCTIONS: Final[tuple[tuple[str, int, Callable[..., object]], ...]] = (
    ("crdt_decimal_key", 1, decimal_cell_key),
    ("crdt_wide_key", 1, wide_cell_key),
    ("crdt_value_key", 1, value_key),
    ("crdt_json_contains", 2, json_contains),
)
"""Name, number of arguments and implementation of what the SQL made here calls."""

_ALWAYS, _NEVER = "1", "0"
_COMPARATORS = {FilterOp.LT: "<", FilterOp.LE: "<=", FilterOp.GT: ">", FilterOp.GE: ">="}
# The least value of the type after this one, in SQLite's order: numbers, text, bytes.
_NATIVE_END = {NUMBER: "''", TEXT: "x''"}
_NATIVE_START = {TEXT: "''", BYTES: "x''"}

_Condition = tuple[str, list[Cell]]


def quoted(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def select_ids(definition: ViewDefinition, query: Query) -> tuple[str, list[Cell]]:
    """Write a query as SQL that gives one id a row, with its arguments.

    Raises:
        UnknownFieldError: the view has no such column.
        InvalidValueError: a value that the operation cannot compare with.
    """
    check_query(query)
    where, arguments = _where(definition, query.filters)
    terms = []
    for order in query.order_by:
        column = definition.column(order.column)
        if column.kind is ColumnKind.JSON:
            raise InvalidValueError(f"{column.name} has no order to sort by", field=column.name)
        expression = _key_expression(definition, column) if _by_key(definition, column) else quoted(column.name)
        terms.append(f"{expression} DESC" if order.descending else expression)
    sql = f'SELECT "id" FROM {quoted(definition.view.name)}{where} ORDER BY {", ".join([*terms, quoted("id")])}'
    if query.limit is not None or query.offset:
        sql += " LIMIT ? OFFSET ?"
        arguments += [-1 if query.limit is None else query.limit, query.offset]
    return sql, arguments


def select_count(definition: ViewDefinition, query: Query) -> tuple[str, list[Cell]]:
    """Write SQL that counts the rows for which a query's filters hold. Raises what `select_ids` does."""
    check_query(query)
    where, arguments = _where(definition, query.filters)
    return f"SELECT COUNT(*) FROM {quoted(definition.view.name)}{where}", arguments


def _where(definition: ViewDefinition, filters: Sequence[Filter]) -> _Condition:
    conditions, arguments = [], []
    for item in filters:
        condition, values = _condition(definition, definition.column(item.column), item)
        conditions.append(f"({condition})")
        arguments += values
    return (" WHERE " + " AND ".join(conditions) if conditions else ""), arguments


def _by_key(definition: ViewDefinition, column: Column) -> bool:
    """Whether SQLite's own order of the column's cells is not the order of its values."""
    return column.kind is ColumnKind.DECIMAL or column.name in definition.wide


def _key_expression(definition: ViewDefinition, column: Column) -> str:
    if column.kind is ColumnKind.DECIMAL:
        function = "crdt_decimal_key"
    else:
        function = "crdt_wide_key" if column.name in definition.wide else "crdt_value_key"
    return f"{function}({quoted(column.name)})"


def _condition(definition: ViewDefinition, column: Column, item: Filter) -> _Condition:
    name, value = quoted(column.name), item.value
    match item.op:
        case FilterOp.IS_NULL:
            if not isinstance(value, bool):
                raise InvalidValueError(f"IS_NULL on {column.name} takes True or False", field=column.name)
            return f"{name} IS NULL" if value else f"{name} IS NOT NULL", []
        case FilterOp.EQ:
            return _among(definition, column, [value])
        case FilterOp.NE:
            condition, arguments = _among(definition, column, [value])
            return f"({condition}) IS NOT 1", arguments
        case FilterOp.IN:
            return _among(definition, column, filter_values(item))
        case FilterOp.CONTAINS:
            return _contains(column, value)
        case FilterOp.CONTAINS_ANY:
            found = [_contains(column, part) for part in filter_values(item)]
            return " OR ".join(sql for sql, _ in found) or _NEVER, [cell for _, cells in found for cell in cells]
        case FilterOp.LT | FilterOp.LE | FilterOp.GT | FilterOp.GE:
            return _compared(definition, column, item)
        case _:
            assert_never(item.op)


def _among(definition: ViewDefinition, column: Column, values: Sequence[object]) -> _Condition:
    """The column equals one of the values."""
    name = quoted(column.name)
    conditions = [f"{name} IS NULL"] if any(value is None for value in values) else []
    comparable = [value for value in values if value is not None and value == value]  # noqa: PLR0124  # NaN equals nothing
    arguments: list[Cell] = []
    if comparable:
        left = name
        if column.kind is ColumnKind.JSON:
            arguments = [json_text(value, field=column.name) for value in comparable]
        elif _by_key(definition, column) or any(map(_beyond_sqlite, comparable)):
            left = _key_expression(definition, column)
            arguments = [filter_key(column, value) for value in comparable]
        else:
            arguments = [value_cell(value, field=column.name) for value in comparable]
        conditions.append(f"{left} = ?" if len(arguments) == 1 else f"{left} IN ({','.join('?' * len(arguments))})")
    return " OR ".join(conditions) or _NEVER, arguments


def _beyond_sqlite(value: object) -> bool:
    return is_wide(value) or isinstance(value, Decimal)


def _compared(definition: ViewDefinition, column: Column, item: Filter) -> _Condition:
    """The column is less, or greater, than a value of the same type."""
    value, comparator = item.value, _COMPARATORS[item.op]
    if value is None or column.kind is ColumnKind.JSON:
        raise InvalidValueError(f"{column.name} cannot be less or greater than {value!r:.80}", field=column.name)
    key = filter_key(column, value)
    if value != value:  # noqa: PLR0124  # NaN is neither less nor greater than anything
        return _NEVER, []
    kind, downward = key[:1], item.op in {FilterOp.LT, FilterOp.LE}
    if _by_key(definition, column) or _beyond_sqlite(value):
        left = _key_expression(definition, column)
        # The other end is that of the value's type. Bytes have no end but are last.
        other = f" AND {left} >= ?" if downward else f" AND {left} < ?"
        bound = kind if downward else bytes((kind[0] + 1,))
        return f"{left} {comparator} ?{other}", [key, bound]
    name, ends = quoted(column.name), _NATIVE_START if downward else _NATIVE_END
    other = f" AND {name} {'>=' if downward else '<'} {ends[kind]}" if kind in ends else ""
    return f"{name} {comparator} ?{other}", [value_cell(value, field=column.name)]


def _contains(column: Column, value: object) -> _Condition:
    name = quoted(column.name)
    if column.kind is ColumnKind.JSON:
        needle = json_text(value, field=column.name)
        if not isinstance(value, str):
            return f"crdt_json_contains({name}, ?)", [needle]
        # Text stands in the JSON just as json_text writes it, so most rows can be passed over without parsing them.
        return f"instr({name}, ?) AND crdt_json_contains({name}, ?)", [needle[1:-1], needle]
    if column.kind is ColumnKind.VALUE and isinstance(value, str | bytes):
        kind = "text" if isinstance(value, str) else "blob"
        return f"typeof({name}) = '{kind}' AND instr({name}, ?) > 0", [value_cell(value, field=column.name)]
    raise InvalidValueError(f"{column.name} cannot contain {value!r:.80}", field=column.name)
